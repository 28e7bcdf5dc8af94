"""Colours and matplotlib's parameters of all figures of a report."""

from typing import Any

__all__ = ["MUTED_COLOUR", "STYLE", "TEXT_COLOUR", "stroke"]

TEXT_COLOUR, MUTED_COLOUR = "#1f2a33", "#6b7780"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a")
"""Colours that can be told apart with any colour vision. Source: Okabe and Ito 2008, except for the last."""

_STROKES = ("-", "--", ":", "-.")

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR, "figure.dpi": 110,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e8ea", "grid.linewidth": 0.8,
    "figure.facecolor": "#ffffff", "savefig.facecolor": "#ffffff",
}  # fmt: skip
"""Parameters for `mpl.rc_context`, within which figures are drawn and saved."""


def stroke(number: int) -> dict[str, Any]:
    """Colour, style and width of the lines of the run of this number, the same in all figures."""
    linestyle = _STROKES[number // len(_COLOURS) % len(_STROKES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": linestyle, "linewidth": 1.6}
