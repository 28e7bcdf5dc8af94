"""Pictures of records: every bar beside what was measured, and the patches a second of every reader."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

__all__ = ["draw_bars", "draw_readers"]

_HELD, _SHORT, _LIMIT = "#0072B2", "#D55E00", "#222222"

_PACE = "patches_per_second_median"
_READ = {
    "warm": ("warm_", f"_{_PACE}", _HELD),
    "cold, at random": ("cold_", f"_at_random_{_PACE}", "#56B4E9"),
    "cold, in order": ("cold_", f"_in_order_{_PACE}", "#E69F00"),
}
"""How readers were measured: how such a figure's name begins and ends, and the colour of its bar."""


def draw_bars(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """How far each figure that the contract bounds is from its bound: right of the line it is held."""
    from matplotlib.figure import Figure

    rows = [
        (f"{record['benchmark']}: {bar['figure']}", _margin(bar), bar["met"])
        for record in records
        for bar in record["bars"]
    ]
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(10, 1 + 0.2 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, margin, met) in enumerate(rows):
            axes.barh(place, margin - 1, left=1, color=_HELD if met else _SHORT)
        axes.axvline(1, color=_LIMIT, linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.set_xlabel("times better than the bar asks (log scale; left of 1: not held)")
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120, metadata={"Software": None})


def _margin(bar: Mapping[str, Any]) -> float:
    """How many times better than asked a figure is, kept within what can be drawn."""
    value, limit = float(bar["value"]), float(bar["limit"])
    if limit == 0:
        return 1.5 if bar["met"] else 1 / 1.5
    margin = value / limit if bar["at_least"] else limit / max(value, 1e-9)
    return min(max(margin, 0.1), 10.0)


def draw_readers(record: Mapping[str, Any], path: Path) -> None:
    """Patches a second of every reader: warm, and cold at random and in order."""
    from matplotlib.figure import Figure

    found = {
        label: {
            name.removeprefix(begin).removesuffix(end): value
            for name, value in record["figures"].items()
            if name.startswith(begin) and name.endswith(end)
        }
        for label, (begin, end, _) in _READ.items()
    }
    names = sorted(found["warm"], key=lambda name: found["warm"][name])
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8, 1 + 0.4 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, (*_, color)) in enumerate(_READ.items()):
            bars = {place: found[label][name] for place, name in enumerate(names) if name in found[label]}
            axes.barh(
                [place + 0.25 * (1 - number) for place in bars], list(bars.values()), 0.25, color=color, label=label
            )
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("patches a second (345,600 bytes each; log scale), every byte looked at")
        axes.legend()
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120, metadata={"Software": None})
