"""Colours and matplotlib's parameters of all figures of a report."""

from typing import Any

__all__ = ["MUTED_COLOUR", "STYLE", "TEXT_COLOUR"]

TEXT_COLOUR, MUTED_COLOUR = "#1f2a33", "#6b7780"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR, "figure.dpi": 110,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e8ea", "grid.linewidth": 0.8,
    "figure.facecolor": "#ffffff", "savefig.facecolor": "#ffffff",
}  # fmt: skip
"""Parameters for `mpl.rc_context`, within which figures are drawn and saved."""
