"""Escaped text for LaTeX, which prints every sign of a name."""

from __future__ import annotations

import re

MATHEMATICS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "ω": "omega", "ℓ": "ell", "±": "pm", "×": "times", "≤": "leq", "≥": "geq", "→": "rightarrow",
    "†": "dagger",
}  # fmt: skip
"""Signs that are commands in mathematical mode."""
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "—": "--", "<": "$<$", ">": "$>$", "|": r"\textbar{}", "…": r"\dots{}", "−": "$-$",
    "`": r"\textasciigrave{}", '"': "''",
    # After the end of a row they would be its length or its star.
    "[": "{[}", "*": "{*}",
    **{sign: rf"$\{name}$" for sign, name in MATHEMATICS.items()},
}  # fmt: skip
LETTER = r"\lbenchletter"
DEFINITION = (
    rf"\providecommand*{LETTER}[2]{{\ifcsname u8:\detokenize{{#1}}\endcsname\else"
    r"\expandafter\gdef\csname u8:\detokenize{#1}\endcsname{{\tiny U+#2}}\fi}"
)
"""A definition with which pdfLaTeX prints something for a letter that it does not know."""


def escape(text: str) -> str:
    """Return a text as LaTeX prints it, in one paragraph."""
    # An empty line would end a paragraph, which neither a cell nor a caption can do.
    joined = " ".join(text.split())
    escaped = "".join(
        SPECIAL.get(letter, letter if letter.isprintable() else "?") for letter in joined
    )
    # Two hyphens would become a dash.
    return re.sub(r"-(?=-)", "-{}", escaped)


def number(text: str) -> str:
    """Return a cell of numbers as LaTeX prints it: the sign of a negative one is a minus."""
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "$-$", escape(text))


def letters(text: str) -> list[str]:
    """Return definitions of letters that pdfLaTeX may not know: Cyrillic, Chinese, emoji.

    A letter that the document has a font for is printed with it, any other as its code. XeLaTeX
    and LuaLaTeX ignore them and use the document's font.
    """
    foreign = sorted({letter for letter in text if not letter.isascii()})
    if not foreign:
        return []
    return [DEFINITION, *(rf"{LETTER}{{{letter}}}{{{ord(letter):04X}}}" for letter in foreign)]
