"""SVG as a part of a page: in the page's colours, with ids that no other figure has."""

from __future__ import annotations

import html
import re

from lbench.report.figures.figure import INK, PAPER, Figure


def inline(svg: str, figure: Figure) -> str:
    """Return the ``<svg>`` element of a file that matplotlib wrote.

    Args:
        svg: the text of the file.
        figure: its name begins every id, because a page has several figures.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # In HTML the element needs no namespaces, which look like addresses.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{figure.name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{figure.name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{figure.name}-\1)", text)
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    # As wide as drawn, and narrower where the page is.
    width = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    if width:
        text = text.replace(width[0], f'style="width:{width[1]}pt"', 1)
    label = html.escape(figure.title, quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
