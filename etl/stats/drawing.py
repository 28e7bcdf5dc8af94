"""The report as one picture: histograms of the bands, medians by class, class counts, classes that go together."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from etl.schema import SPLITS
from etl.stats.report import QUANTILES, LabelCounts, StatsReport

__all__ = ["draw_statistics"]

_COLOURS = dict(zip(SPLITS, ("#7d9a8c", "#2b6a8f", "#e8a33d", "#7b5aa6"), strict=True))
_MUTED_COLOUR = "#6b7780"
_NAME_CHARACTERS = 30
_MEDIAN = QUANTILES.tolist().index(0.5)
# share of the pixels that the axes of the histograms show
_SHOWN_SHARE = 0.998


def draw_statistics(report: StatsReport) -> Figure:
    """Return the figure; values are shown as reflectance, of image files as stored.

    Pixels and patches are shown as counts or shares.
    """
    figure = Figure(figsize=(17, 22), dpi=90, layout="constrained")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=(8, 14))).tolist()
    patches = ", ".join(f"{n:,} {name}" for name, n in zip(SPLITS, report.labels.patches.tolist(), strict=True) if n)
    figure.suptitle(f"{report.store}: {report.labels.patches.sum():,} patches ({patches})", fontsize=16, weight="bold")
    _draw_histograms(top, report)
    classes = np.flatnonzero(report.labels.count.sum(0))
    classes = classes[np.argsort(-report.labels.count.sum(0)[classes], kind="stable")]
    axes = bottom.subplots(2, 2, height_ratios=(5, 4), width_ratios=(1, 1))
    _draw_counts(axes[0, 0], report.labels, classes)
    _draw_medians(axes[0, 1], report, classes)
    _draw_together(axes[1, 0], report.labels, classes)
    _draw_per_patch(axes[1, 1], report.labels)
    return figure


def _shorten(label: str) -> str:
    return label if len(label) <= _NAME_CHARACTERS else label[: _NAME_CHARACTERS - 1] + "…"


def _draw_histograms(part: Any, report: StatsReport) -> None:
    axes = part.subplots(-(-len(report.bands) // 4), 4).ravel()
    quantity = report.quantity.capitalize()
    title = f"{quantity} by band and split: share of the valid pixels, dotted at the medians"
    part.suptitle("\n".join((*report.nodata_lines, title)), fontsize=12)
    for axis in axes[len(report.bands) :]:
        axis.set_axis_off()
    for b, (axis, band) in enumerate(zip(axes, report.bands, strict=False)):
        counts = report.histogram[:, b]
        cumulated = np.cumsum(counts.sum(0))
        shown = int(np.searchsorted(cumulated, _SHOWN_SHARE * cumulated[-1])) + 2
        for k, split in enumerate(SPLITS):
            if counts[k].any():
                colour, heights = _COLOURS[split], counts[k, :shown] / counts[k].sum()
                axis.stairs(
                    heights, np.arange(len(heights) + 1) / (report.scale / report.bin_width), color=colour, label=split
                )
                axis.axvline(report.percentiles[k, b, _MEDIAN] / report.scale, color=colour, linestyle=":", linewidth=1)
        axis.set_title(band, fontsize=10, loc="left", weight="bold")
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    if report.histogram.any():
        axes[0].legend(frameon=False, fontsize=9)


def _draw_counts(axis: Any, labels: LabelCounts, classes: npt.NDArray[np.intp]) -> None:
    left = np.zeros(len(classes))
    for k, split in enumerate(SPLITS):
        if labels.patches[k]:
            axis.barh(np.arange(len(classes)), labels.count[k, classes], left=left, color=_COLOURS[split], label=split)
            left += labels.count[k, classes]
    for y, total in enumerate(left.astype(int).tolist()):
        axis.text(total, y, f" {total:,}", va="center", fontsize=8, color=_MUTED_COLOUR)
    axis.set_yticks(np.arange(len(classes)), [_shorten(labels.classes[c]) for c in classes], fontsize=8)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("Patches of each class", fontsize=12, loc="left", weight="bold")
    if len(classes):
        axis.legend(frameon=False, fontsize=9, loc="lower right")


def _draw_medians(axis: Any, report: StatsReport, classes: npt.NDArray[np.intp]) -> None:
    medians = report.percentiles[len(SPLITS) + classes, :, _MEDIAN]
    title = f"Median {report.quantity.split()[-1]} of all pixels of its patches, by class"
    axis.set_title(title, fontsize=12, loc="left", weight="bold")
    axis.set_xticks(np.arange(len(report.bands)), report.bands, fontsize=8)
    axis.set_yticks(np.arange(len(classes)), [_shorten(report.labels.classes[c]) for c in classes], fontsize=8)
    if not len(classes):
        return
    axis.imshow(medians, aspect="auto", cmap="viridis")
    middle = float(np.nanmean(medians))
    for (y, x), value in np.ndenumerate(medians):
        colour = "white" if value < middle else "black"
        axis.text(x, y, report.to_text(value, 2), ha="center", va="center", fontsize=7, color=colour)


def _draw_together(axis: Any, labels: LabelCounts, classes: npt.NDArray[np.intp]) -> None:
    axis.set_title("Of the patches of a class (row), the share that also has another (column)", fontsize=12, loc="left")
    if not len(classes):
        return
    together = labels.together[np.ix_(classes, classes)]
    share = together / np.maximum(together.diagonal()[:, None], 1)
    # the diagonal is always 1 and would set the range of colours
    image = axis.imshow(np.where(np.eye(len(classes), dtype=bool), np.nan, share), cmap="magma_r", vmin=0, vmax=1)
    axis.figure.colorbar(image, ax=axis, shrink=0.6)
    ticks = np.arange(len(classes))
    axis.set_yticks(ticks, [_shorten(labels.classes[c]) for c in classes], fontsize=7)
    axis.set_xticks(ticks, [_shorten(labels.classes[c]) for c in classes], fontsize=7, rotation=90)


def _draw_per_patch(axis: Any, labels: LabelCounts) -> None:
    used = [k for k in range(len(SPLITS)) if labels.patches[k]]
    numbers = np.arange(labels.per_patch.shape[1])
    for place, k in enumerate(used):
        width = 0.8 / len(used)
        share = labels.per_patch[k] / labels.patches[k]
        axis.bar(numbers - 0.4 + width * (place + 0.5), share, width, color=_COLOURS[SPLITS[k]], label=SPLITS[k])
    axis.set_title("Labels of a patch: share of the patches of the split", fontsize=12, loc="left", weight="bold")
    axis.set_xticks(numbers)
    axis.spines[["top", "right"]].set_visible(False)
    if used:
        axis.legend(frameon=False, fontsize=9)
