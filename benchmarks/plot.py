"""Pictures of records: figures relative to their bars, and patches per second of each reader."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

__all__ = ["draw_bars", "draw_readers"]

_MET, _MISSED, _LIMIT = "#0072B2", "#D55E00", "#222222"

_RATE = "patches_per_second_median"
_READ = {
    "warm": ("warm_", f"_{_RATE}", _MET),
    "cold, at random": ("cold_", f"_at_random_{_RATE}", "#56B4E9"),
    "cold, in order": ("cold_", f"_in_order_{_RATE}", "#E69F00"),
}
"""By state of the page cache and order: begin and end of the figures' names, and colour."""


def draw_bars(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw how many times better than its bar each figure is; right of the line the bar is met."""
    from matplotlib.figure import Figure

    rows = [
        (f"{record['benchmark']}: {bar['figure']}", _margin(bar), bar["met"])
        for record in records
        for bar in record["bars"]
    ]
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(10, 1 + 0.2 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for row, (_, margin, met) in enumerate(rows):
            axes.barh(row, margin - 1, left=1, color=_MET if met else _MISSED)
        axes.axvline(1, color=_LIMIT, linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.set_xlabel("times better than the bar (log scale; left of 1: not met)")
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120, metadata={"Software": None})


def _margin(bar: Mapping[str, Any]) -> float:
    """How many times better than its bar a figure is, clipped to [0.1, 10]."""
    value, limit = float(bar["value"]), float(bar["limit"])
    if limit == 0:
        return 1.5 if bar["met"] else 1 / 1.5
    margin = value / limit if bar["at_least"] else limit / max(value, 1e-9)
    return min(max(margin, 0.1), 10.0)


def draw_readers(record: Mapping[str, Any], path: Path) -> None:
    """Draw the patches per second of each reader: warm, cold at random, and cold in order."""
    from matplotlib.figure import Figure

    rates = {
        label: {
            name.removeprefix(begin).removesuffix(end): value
            for name, value in record["figures"].items()
            if name.startswith(begin) and name.endswith(end)
        }
        for label, (begin, end, _) in _READ.items()
    }
    names = sorted(rates["warm"], key=lambda name: rates["warm"][name])
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8, 1 + 0.4 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, (*_, color)) in enumerate(_READ.items()):
            bars = {row: rates[label][name] for row, name in enumerate(names) if name in rates[label]}
            axes.barh([row + 0.25 * (1 - number) for row in bars], list(bars.values()), 0.25, color=color, label=label)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("patches per second (345,600 bytes each; log scale), every byte read")
        axes.legend()
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120, metadata={"Software": None})
