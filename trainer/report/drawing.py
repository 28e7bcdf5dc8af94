"""Figures of runs: curves, classes, scaling. Each function gives a figure, or None where the runs hold no data."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from trainer.report import paper
from trainer.report.runs import PastRun
from trainer.report.scaling import Series, perfect

__all__ = [
    "INK",
    "PAGE",
    "QUIET",
    "f1_by_class",
    "f1_by_epoch",
    "f1_by_workers",
    "loss_by_epoch",
    "loss_by_step",
    "times",
]

INK, QUIET, PAGE = "#1f2a33", "#6b7780", "#ffffff"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a")
"""Told apart with any colour vision. Source: Okabe and Ito 2008; the last is ours."""

_STROKES = ("-", "--", ":", "-.")
_MOST_POINTS = 500
_NAME_CHARACTERS = 46
_LOG_FROM = 30
_MOST_WITHIN = 8


def loss_by_step(runs: Sequence[PastRun]) -> Figure | None:
    """Training loss of every step; of many steps the mean of a few at a time, with their range behind it."""
    shown = [(run, run.losses) for run in runs if np.isfinite(run.losses).any()]
    if not shown:
        return None
    figure, axes = _one("step", "training loss (binary cross-entropy)")
    for number, (run, losses) in enumerate(shown):
        step, low, mean, high = _thinned(losses)
        axes.plot(step, mean, label=run.label, **_stroke(number), marker="." if len(step) < 30 else None)
        if len(step) < len(losses):
            axes.fill_between(step, low, high, color=_stroke(number)["color"], alpha=0.15, linewidth=0)
    _close_losses(axes, np.concatenate([losses for _, losses in shown]))
    return figure


def loss_by_epoch(runs: Sequence[PastRun]) -> Figure | None:
    """Mean training loss of every epoch."""
    figure, axes = _one("epoch", "training loss (binary cross-entropy)")
    values = _curves(axes, [(run.label, run.by_epoch("loss")) for run in runs])
    if not values:
        return None
    _close_losses(axes, np.array(values))
    return figure


def f1_by_epoch(runs: Sequence[PastRun]) -> Figure | None:
    """Micro F1 on validation after every epoch, and the paper's on its test set."""
    figure, axes = _one("epoch", "micro F1 on validation")
    if not _curves(axes, [(run.label, run.by_epoch("val", "micro", "f1")) for run in runs]):
        return None
    for (name, score), stroke in zip(paper.SCORES.items(), (":", "--"), strict=True):
        label = f"paper, test, {name} ({score.f1:.2f})"
        axes.axhline(score.f1, color=QUIET, linewidth=1, linestyle=stroke, label=label)
    axes.set_ylim(0, 1)
    _legend(axes)
    return figure


def f1_by_class(columns: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure | None:
    """F1 of every class that has rows beside its support, most first; `columns` are (label, what `scores` gave).

    The paper's values stand beside ours where all classes are the paper's. None where no class has rows.
    """
    found = [{one["name"]: one for one in scores["classes"]} for _, scores in columns]
    supported = [name for name in found[0] if any(_value(c, name, "support") for c in found)] if found else []
    if not supported:
        return None
    names = sorted(supported, key=lambda name: -found[0][name]["support"])
    thick = 0.8 / len(columns)
    height = 1.3 + len(names) * max(0.27, 0.11 + 0.13 * len(columns))
    figure = Figure(figsize=(10, height), dpi=110, facecolor=PAGE, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for number, ((label, _), classes) in enumerate(zip(columns, found, strict=True)):
        rows = np.arange(len(names)) + (number - (len(columns) - 1) / 2) * thick
        looks: dict[str, Any] = {"height": thick * 0.9, "color": _stroke(number)["color"]}
        for axes, kind in ((left, "f1"), (right, "support")):
            axes.barh(rows, [_value(classes, name, kind) for name in names], **looks, label=label)
        for row, name in zip(rows, names, strict=True):
            if not _value(classes, name, "support"):
                left.text(0.01, row, "no row", fontsize=6, va="center", color=QUIET)
    if set(names) <= set(paper.CLASS_SCORES):
        _mark_paper(left, right, names)
    _finish_classes(left, right, names)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def times(series: Sequence[Series], what: str, published: Mapping[int, float]) -> Figure | None:
    """Seconds over workers with mean and deviation, perfect scaling, and the paper's seconds by nodes beside them.

    None unless a series has different numbers of workers.
    """
    if not any(len(one.points) > 1 for one in series):
        return None
    figure = Figure(figsize=(10, 4.6), dpi=110, facecolor=PAGE, layout="constrained")
    ours, theirs = figure.subplots(1, 2)
    for number, one in enumerate(series):
        _times(
            ours,
            [(p.workers, p.mean, p.deviation) for p in one.points],
            perfect(one),
            one.label,
            _stroke(number)["color"],
        )
    each = [(nodes * paper.GPUS_A_NODE, seconds) for nodes, seconds in sorted(published.items())]
    line = [(gpus, each[0][1] * each[0][0] / gpus) for gpus, _ in each]
    _times(theirs, [(gpus, seconds, 0.0) for gpus, seconds in each], line, "JUWELS, V100", INK)
    for axes, title in ((ours, "here"), (theirs, "paper, one worker a GPU")):
        axes.set_title(title, fontsize=11, loc="left", weight="bold", color=INK)
        axes.set_ylabel(f"seconds of {what}")
        axes.set_xlabel("workers")
        _log_axes(axes)
        _legend(axes)
    return figure


def f1_by_workers(series: Sequence[Series], split: str) -> Figure | None:
    """Micro F1 over workers, mean and deviation over repeats.

    None unless there are different numbers of workers or kinds of upsampling.
    """
    counts = {point.workers for one in series for point in one.points}
    if len(counts) < 2 and len({one.upsample for one in series}) < 2:
        return None
    figure, axes = _one("workers", f"micro F1 on {split}")
    for number, one in enumerate(series):
        workers, means, deviations = zip(*((p.workers, p.mean, p.deviation) for p in one.points), strict=True)
        axes.errorbar(workers, means, deviations, label=one.label, **_stroke(number), marker="o", capsize=4)
    axes.set_xscale("log", base=2)
    _ticks(axes.xaxis, counts)
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 0.05) / 2 * 1.1
    axes.set_ylim(max(0, middle - half), min(1, middle + half))
    _legend(axes)
    return figure


def _one(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(9, 4.4), dpi=110, facecolor=PAGE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e6e8ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _stroke(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _STROKES[number // len(_COLOURS) % len(_STROKES)],
        "linewidth": 1.6,
    }


def _thinned(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """(step from 1, least, mean, most) of at most `_MOST_POINTS` groups of following steps, of what is finite."""
    groups = np.array_split(values, min(len(values), _MOST_POINTS))
    ends = np.cumsum([len(group) for group in groups])
    middle = ends - np.array([(len(group) - 1) / 2 for group in groups])
    finite = [group[np.isfinite(group)] for group in groups]
    rows = [(g.min(), g.mean(), g.max()) if len(g) else (np.nan,) * 3 for g in finite]
    return middle, *np.array(rows, np.float64).T


def _curves(axes: Any, curves: Sequence[tuple[str, list[tuple[int, float]]]]) -> list[float]:
    """Draw curves of (epoch, value) that hold any; returns all values."""
    values: list[float] = []
    for number, (label, curve) in enumerate([one for one in curves if one[1]]):
        epochs, heights = zip(*curve, strict=True)
        axes.plot(
            epochs, heights, label=label, **_stroke(number), marker="o" if len(epochs) < 30 else None, markersize=4
        )
        values.extend(heights)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return values


def _close_losses(axes: Any, values: npt.NDArray[np.float64]) -> None:
    """From 0, or by powers of ten where the loss exploded."""
    finite = values[np.isfinite(values) & (values > 0)]
    if len(finite) and finite.max() > _LOG_FROM * finite.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _legend(axes)


def _legend(axes: Any) -> None:
    """Within the axes; of many curves beside them, on a taller figure."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= _MOST_WITHIN:
        axes.legend(frameon=False, fontsize=8)
        return
    figure = axes.figure
    figure.set_figheight(max(figure.get_figheight(), 0.5 + 0.18 * len(labels)))
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=7)


def _value(classes: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> float:
    return float(classes.get(name, {}).get(kind) or 0)


def _mark_paper(left: Any, right: Any, names: Sequence[str]) -> None:
    each = [paper.CLASS_SCORES[name] for name in names]
    rows = np.arange(len(names))
    looks: dict[str, Any] = {"linestyle": "none", "color": INK, "markersize": 5.5, "markeredgewidth": 1.1}
    left.plot([one.f1_all for one in each], rows, "D", **looks, label="paper, all bands")
    left.plot([one.f1_rgb for one in each], rows, "D", **looks, markerfacecolor="white", label="paper, rgb")
    right.plot([one.support for one in each], rows, "|", **{**looks, "markersize": 11, "markeredgewidth": 2})


def _finish_classes(left: Any, right: Any, names: Sequence[str]) -> None:
    wrapped = ["\n".join(textwrap.wrap(name, _NAME_CHARACTERS)) for name in names]
    left.set_yticks(range(len(names)), wrapped, fontsize=8)
    left.set_ylim(len(names) - 0.4, -0.6)
    left.set_xlim(0, 1)
    left.set_xlabel("F1")
    right.set_xscale("symlog", linthresh=1)
    right.set_xlim(left=0)
    right.set_xlabel("rows with the label (paper: |)")
    for axes in (left, right):
        axes.grid(axis="x", color="#e6e8ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)


def _times(
    axes: Any, points: Sequence[tuple[int, float, float]], line: Sequence[tuple[int, float]], label: str, colour: str
) -> None:
    """Points of (workers, seconds, deviation) with the values of the first, and the line of perfect scaling."""
    workers, seconds, deviations = zip(*points, strict=True)
    first = not axes.get_lines()
    once = "perfect scaling" if first else None
    axes.plot(*zip(*line, strict=True), color=colour, linestyle="--", linewidth=1, label=once)
    axes.errorbar(workers, seconds, deviations, color=colour, marker="o", linewidth=1.6, capsize=4, label=label)
    for x, y, _ in points if first else ():  # of more, they would hide each other
        axes.annotate(f"{y:,.3g}" if y < 100 else f"{y:,.0f}", (x, y), (5, 5), textcoords="offset points", fontsize=8)


def _log_axes(axes: Any) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    marked = {round(float(x)) for line in axes.get_lines() for x in line.get_xdata() if math.isfinite(x)}
    _ticks(axes.xaxis, marked)
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(color="#e6e8ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axis: Any, workers: set[int]) -> None:
    axis.set_ticks(sorted(workers), [str(count) for count in sorted(workers)])
    axis.set_minor_locator(NullLocator())
