"""Pictures of records: every bar beside what was measured, and the patches a second of every reader."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

__all__ = ["draw_bars", "draw_readers"]

_HELD, _SHORT, _LIMIT = "#0072B2", "#D55E00", "#222222"


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
    """Patches a second of every reader, warm and cold."""
    from matplotlib.figure import Figure

    end = "_patches_per_second_median"
    found = {
        case: {
            name.removeprefix(f"{case}_").removesuffix(end): value
            for name, value in record["figures"].items()
            if name.startswith(f"{case}_") and name.endswith(end)
        }
        for case in ("warm", "cold")
    }
    names = sorted(found["warm"], key=lambda name: found["warm"][name])
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8, 1 + 0.32 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for shift, (case, color) in zip((0.2, -0.2), (("warm", _HELD), ("cold", "#56B4E9")), strict=True):
            places = [place + shift for place, name in enumerate(names) if name in found[case]]
            axes.barh(
                places, [found[case][name] for name in names if name in found[case]], 0.4, color=color, label=case
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("patches a second (345,600 bytes each), every byte looked at")
        axes.legend()
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120, metadata={"Software": None})
