"""SVG as a part of a page: in the page's own colours, with ids that nobody else has."""

from __future__ import annotations

import re

from lbench.report.figures.figure import INK, PAPER


def inline(svg: str, name: str, title: str) -> str:
    """The ``<svg>`` element of a file that matplotlib wrote.

    Args:
        name: begins every id, for a page holds several figures.
        title: what it shows, for who cannot see it.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # In HTML the element needs no namespaces, which look like addresses.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    # As wide as drawn, and narrower where the page is.
    width = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    if width:
        text = text.replace(width[0], f'style="width:{width[1]}pt"', 1)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
