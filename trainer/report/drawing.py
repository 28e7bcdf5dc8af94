"""Figures of runs: curves, classes, scaling. Each function returns a figure, or None if the runs hold no data.

Call them within `mpl.rc_context(style.STYLE)`.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from trainer.report import paper
from trainer.report.runs import ClassScores, RecordedRun
from trainer.report.scaling import ScalingPoint, ScalingSeries, perfect_scaling
from trainer.report.style import MUTED_COLOUR, TEXT_COLOUR, stroke

__all__ = ["f1_by_class", "f1_by_epoch", "f1_by_workers", "loss_by_epoch", "loss_by_step", "seconds_by_workers"]

_MAX_POINTS = 500
"""Most points of one curve; longer curves are averaged."""
_LOG_FROM = 30
"""Ratio of the largest to the smallest loss above which the axis is logarithmic."""
_MAX_LEGEND_INSIDE = 8
"""Most curves whose legend fits within the axes."""


def loss_by_step(runs: Sequence[RecordedRun]) -> Figure | None:
    """Training loss, shape (step,), of each run; long curves show mean and range of groups of successive steps."""
    shown = [run for run in runs if np.isfinite(run.losses).any()]
    if not shown:
        return None
    figure, axes = _figure("step", "training loss (binary cross-entropy)")
    for run in shown:
        step, low, mean, high = _thinned(run.losses)
        axes.plot(step, mean, label=run.label, **stroke(run.number), marker="." if len(step) < 30 else None)
        if len(step) < len(run.losses):
            axes.fill_between(step, low, high, color=stroke(run.number)["color"], alpha=0.15, linewidth=0)
    _finish_losses(axes, np.concatenate([run.losses for run in shown]))
    return figure


def loss_by_epoch(runs: Sequence[RecordedRun]) -> Figure | None:
    """Mean training loss by epoch."""
    figure, axes = _figure("epoch", "training loss (binary cross-entropy)")
    losses = _draw_curves(axes, [(run, run.by_epoch("loss")) for run in runs])
    if not losses:
        return None
    _finish_losses(axes, np.array(losses))
    return figure


def f1_by_epoch(runs: Sequence[RecordedRun], with_paper: bool) -> Figure | None:
    """Micro F1 on split val by epoch, and if `with_paper` the paper's on its test set."""
    figure, axes = _figure("epoch", "micro F1 on validation")
    if not _draw_curves(axes, [(run, run.by_epoch("val", "micro", "f1")) for run in runs]):
        return None
    if with_paper:
        for (name, score), linestyle in zip(paper.SCORES.items(), (":", "--"), strict=True):
            label = f"paper, its own test, {name} ({score.f1:.2f})"
            axes.axhline(score.f1, color=MUTED_COLOUR, linewidth=1, linestyle=linestyle, label=label)
    axes.set_ylim(0, 1)
    _legend(axes)
    return figure


def f1_by_class(columns: Mapping[str, ClassScores], numbers: Sequence[int], with_paper: bool) -> Figure | None:
    """F1 and support of each class that has rows, largest support first; None if no class has rows.

    `columns`: scores by label of the run; `numbers`: the runs' numbers; `with_paper`: draw the paper's values as well,
    if all classes are in the paper.
    """
    scores = list(columns.values())
    supported = [name for name in scores[0] if any(_score(c, name, "support") for c in scores)] if scores else []
    if not supported:
        return None
    names = sorted(supported, key=lambda name: -scores[0][name]["support"])
    bar = 0.8 / len(columns)
    height = 1.3 + len(names) * max(0.27, 0.11 + 0.13 * len(columns))
    figure = Figure(figsize=(10, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for number, (label, classes) in enumerate(columns.items()):
        rows = np.arange(len(names)) + (number - (len(columns) - 1) / 2) * bar
        for axes, kind in ((left, "f1"), (right, "support")):
            lengths, colour = [_score(classes, name, kind) for name in names], stroke(numbers[number])["color"]
            axes.barh(rows, lengths, height=bar * 0.9, color=colour, label=label)
        for row, name in zip(rows, names, strict=True):
            if not _score(classes, name, "support"):  # an empty bar would look like an F1 of 0
                left.text(0.01, row, "no row", fontsize=6, va="center", color=MUTED_COLOUR)
    if with_paper and set(names) <= set(paper.CLASS_SCORES):
        _mark_paper(left, right, names)
    right.set_xlabel("rows with the label" + (" (paper: |)" if with_paper else ""))
    _finish_classes(left, right, names)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def seconds_by_workers(series: Sequence[ScalingSeries], what: str, published: Mapping[int, float]) -> Figure | None:
    """Mean and standard deviation of seconds by number of workers, with perfect scaling; beside it the paper's.

    `published`: the paper's seconds by number of nodes; empty to leave them out. None unless a series has different
    numbers of workers.
    """
    if not any(len(line.points) > 1 for line in series):
        return None
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2 if published else 1, squeeze=False)[0]
    for line in series:
        _draw_scaling(panels[0], line, stroke(line.number)["color"])
    points = [ScalingPoint(nodes * paper.GPUS_A_NODE, (seconds,)) for nodes, seconds in sorted(published.items())]
    if points:
        _draw_scaling(panels[1], ScalingSeries("JUWELS, V100", "", tuple(points)), TEXT_COLOUR)
    for axes, title in zip(panels, ("here", "paper, one worker a GPU"), strict=False):
        axes.set_title(title, fontsize=11, loc="left", weight="bold", color=TEXT_COLOUR)
        axes.set(xlabel="workers", ylabel=f"seconds of {what}", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        _mark_workers(axes)
        _legend(axes)
    return figure


def f1_by_workers(series: Sequence[ScalingSeries], split: str) -> Figure | None:
    """Micro F1 by number of workers, mean and standard deviation over repeats.

    None unless there are different numbers of workers or upsampling methods.
    """
    counts = {point.workers for line in series for point in line.points}
    if len(counts) < 2 and len({line.upsample for line in series}) < 2:
        return None
    figure, axes = _figure("workers", f"micro F1 on {split}")
    for line in series:
        _draw_points(axes, line, stroke(line.number))
    _mark_workers(axes)
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 0.05) / 2 * 1.1  # a difference of 0.001 must not fill the axes
    axes.set_ylim(max(0, middle - half), min(1, middle + half))
    _legend(axes)
    return figure


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def _thinned(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """(middle step, minimum, mean, maximum) of at most `_MAX_POINTS` groups of successive steps, counted from 1."""
    groups = np.array_split(values, min(len(values), _MAX_POINTS))
    ends = np.cumsum([len(group) for group in groups])
    middle = ends - np.array([(len(group) - 1) / 2 for group in groups])
    finite = [group[np.isfinite(group)] for group in groups]
    rows = [(g.min(), g.mean(), g.max()) if len(g) else (np.nan,) * 3 for g in finite]
    return middle, *np.array(rows, np.float64).T


def _draw_curves(axes: Axes, curves: Sequence[tuple[RecordedRun, list[tuple[int, float]]]]) -> list[float]:
    """Draw the curves of (epoch, value) that are not empty; returns all values."""
    values: list[float] = []
    for run, curve in ((run, curve) for run, curve in curves if curve):
        epochs, heights = zip(*curve, strict=True)
        marker = "o" if len(epochs) < 30 else None
        axes.plot(epochs, heights, label=run.label, **stroke(run.number), marker=marker, markersize=4)
        values.extend(heights)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    return values


def _finish_losses(axes: Axes, losses: npt.NDArray[np.float64]) -> None:
    """Set a loss axis that starts at 0, or a logarithmic one if the loss has a large range."""
    finite = losses[np.isfinite(losses) & (losses > 0)]
    if len(finite) and finite.max() > _LOG_FROM * finite.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Draw the legend within the axes, or beside them on a taller figure if there are many curves."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= _MAX_LEGEND_INSIDE:
        axes.legend(frameon=False, fontsize=8)
        return
    figure: Any = axes.figure
    figure.set_figheight(max(figure.get_figheight(), 0.5 + 0.18 * len(labels)))
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=7)


def _score(classes: ClassScores, name: str, kind: str) -> float:
    return float(classes.get(name, {}).get(kind) or 0)


def _mark_paper(left: Axes, right: Axes, names: Sequence[str]) -> None:
    scores, rows = [paper.CLASS_SCORES[name] for name in names], np.arange(len(names))
    looks: dict[str, Any] = {"linestyle": "none", "color": TEXT_COLOUR, "markersize": 5.5, "markeredgewidth": 1.1}
    left.plot([score.f1_all for score in scores], rows, "D", **looks, label="paper, all bands")
    left.plot([score.f1_rgb for score in scores], rows, "D", **looks, markerfacecolor="white", label="paper, rgb")
    right.plot([score.support for score in scores], rows, "|", **{**looks, "markersize": 11, "markeredgewidth": 2})


def _finish_classes(left: Axes, right: Axes, names: Sequence[str]) -> None:
    left.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, 46)) for name in names], fontsize=8)
    left.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="F1")
    right.set_xscale("symlog", linthresh=1)  # supports reach from 0 to 40,000
    right.set_xlim(0, None)
    for axes in (left, right):
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)


def _draw_points(axes: Axes, series: ScalingSeries, looks: Mapping[str, Any]) -> None:
    workers, means, stds = ([getattr(p, name) for p in series.points] for name in ("workers", "mean", "std"))
    axes.errorbar(workers, means, stds, label=series.label, marker="o", capsize=4, **looks)


def _draw_scaling(axes: Axes, series: ScalingSeries, colour: str) -> None:
    """Draw a series and its line of perfect scaling; the first series of the axes also gets numbers at its points."""
    first = not axes.get_lines()
    ideal = zip(*perfect_scaling(series), strict=True)
    axes.plot(*ideal, color=colour, linestyle="--", linewidth=1, label="perfect scaling" if first else None)
    _draw_points(axes, series, {"color": colour, "linewidth": 1.6})
    for point in series.points if first else ():  # numbers of several series would overlap
        x, y = point.workers, point.mean
        axes.annotate(f"{y:,.3g}" if y < 100 else f"{y:,.0f}", (x, y), (5, 5), textcoords="offset points", fontsize=8)


def _mark_workers(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with a tick at each number of workers that is drawn."""
    drawn = np.concatenate([np.asarray(line.get_xdata(), np.float64) for line in axes.get_lines()])
    workers = sorted({round(x) for x in drawn[np.isfinite(drawn)].tolist()})
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [str(count) for count in workers])
    axes.xaxis.set_minor_locator(NullLocator())
