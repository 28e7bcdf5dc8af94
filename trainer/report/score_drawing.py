"""Figures of what `trainer.evaluate` recorded: reliability, precision-recall curves, confusion matrix.

Each function returns a figure, or None if the runs hold no data. Call them within `mpl.rc_context(style.STYLE)`.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.report.evaluations import Confusion, Evaluation, evaluation_of
from trainer.report.json_values import as_list, as_mapping, as_number
from trainer.report.runs import RecordedRun
from trainer.report.style import MUTED_COLOUR, TEXT_COLOUR, stroke

__all__ = ["confusion_matrix", "precision_recall", "reliability"]

_COLUMNS, _PANEL_IN = 5, (2.1, 2.05)
"""Panels beside each other, and the width and height of one, in inches."""

_MAX_NUMBERED = 30
"""Most classes of a confusion matrix whose cells hold numbers."""


def reliability(runs: Sequence[RecordedRun]) -> Figure | None:
    """Share of labels that are true against their mean probability, above the number of predictions by probability."""
    shown = [(run, evaluation) for run, evaluation in _evaluated(runs) if len(evaluation.bins)]
    if not shown:
        return None
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=MUTED_COLOUR, linewidth=1, linestyle="--", label="calibrated")
    for run, evaluation in shown:
        count, probability, share = evaluation.bins.T
        label = f"{run.label}, {evaluation.split}, error {evaluation.calibration_error:.3f}"
        upper.plot(probability, share, label=label, **stroke(run.number), marker="o", markersize=4)
        lower.plot(probability, count, **stroke(run.number), marker="o", markersize=4)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is true")
    lower.set(xlabel="probability", ylabel="predictions", yscale="log")
    upper.legend(frameon=False, fontsize=8)
    return figure


def precision_recall(runs: Sequence[RecordedRun]) -> Figure | None:
    """Precision against recall: a panel of all labels, and one of each class, that with the most rows first."""
    shown = [(run, evaluation) for run, evaluation in _evaluated(runs) if evaluation.micro is not None]
    if not shown:
        return None
    support = {name: 0.0 for _, evaluation in shown for name in evaluation.curves}
    for run, evaluation in shown:
        for name, of_class in run.class_scores(evaluation.split).items():
            support[name] = max(support.get(name, 0), of_class["support"])
    names = sorted({name for _, evaluation in shown for name in evaluation.curves}, key=lambda name: -support[name])
    rows = -(-(1 + len(names)) // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _PANEL_IN[0], rows * _PANEL_IN[1] + 0.5), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    _draw_panel(panels[0], shown, None)
    for axes, name in zip(panels[1:], names, strict=False):
        _draw_panel(axes, shown, name)
    for axes in panels[1 + len(names) :]:
        axes.set_axis_off()
    for axes in panels[: 1 + len(names)][-_COLUMNS:]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("recall", fontsize=10, color=TEXT_COLOUR)
    figure.supylabel("precision", fontsize=10, color=TEXT_COLOUR)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def confusion_matrix(confusion: Confusion) -> Figure:
    """Share of the rows of each class that are predicted as each class; up to 30 classes with the number of rows."""
    counts, names = confusion.counts, [textwrap.shorten(name, 40, placeholder=" …") for name in confusion.classes]
    side = 2.6 + max(2.4, (0.42 if len(names) <= _MAX_NUMBERED else 0.24) * len(names))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(ticks, names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    for (row, column), count in np.ndenumerate(counts) if len(names) <= _MAX_NUMBERED else ():
        if count:
            colour = "white" if share[row, column] > 0.6 else TEXT_COLOUR
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)
    return figure


def _evaluated(runs: Sequence[RecordedRun]) -> list[tuple[RecordedRun, Evaluation]]:
    pairs = ((run, evaluation_of(run)) for run in runs)
    return [(run, evaluation) for run, evaluation in pairs if evaluation is not None]


def _draw_panel(axes: Axes, shown: Sequence[tuple[RecordedRun, Evaluation]], name: str | None) -> None:
    """Draw the curves of a class, or of all labels together, with average precisions in the runs' colours."""
    for place, (run, evaluation) in enumerate(shown):
        curve = evaluation.micro if name is None else evaluation.curves.get(name)
        if curve is None:
            continue
        axes.plot(*curve.T, **stroke(run.number) | {"linewidth": 1.3}, label=f"{run.label}, {evaluation.split}")
        precision = _average_precision(run.scores(evaluation.split) or {}, name)
        if np.isfinite(precision) and len(shown) <= 4:  # numbers of more runs would cover the curves
            colour = stroke(run.number)["color"]
            height = 0.05 + 0.12 * (len(shown) - 1 - place)
            text = axes.text(0.03, height, f"AP {precision:.2f}", fontsize=7, color=colour)
            text.set_bbox({"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5})
    title = "all labels (micro)" if name is None else "\n".join(textwrap.wrap(name, 30, max_lines=2, placeholder=" …"))
    axes.set_title(title, fontsize=7.5, color=TEXT_COLOUR, weight="bold" if name is None else "normal")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.tick_params(labelsize=7)


def _average_precision(scores: Mapping[str, object], name: str | None) -> float:
    """Average precision of a class, or of all labels together; NaN if it is not known."""
    if name is None:
        return as_number(scores.get("micro_average_precision"))
    classes = (as_mapping(one) for one in as_list(scores.get("classes")))
    return next((as_number(one.get("average_precision")) for one in classes if one.get("name") == name), float("nan"))
