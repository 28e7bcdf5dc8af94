"""Maps as a picture: the commonest classes of the largest tile, as labelled and as predicted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from etl.files import replace_atomically
from trainer.maps.places import CellGrid

__all__ = ["write_picture"]

_CLASSES = 6
"""Most classes that are drawn."""


def write_picture(
    path: Path,
    grid: CellGrid,
    labels: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    classes: Sequence[str],
) -> None:
    """Write a PNG with a column for each of the commonest classes: where it is labelled, and its probability.

    `labels` and `probabilities`: (prediction, class); `grid.index` tells which are of this grid. Without any label in
    it, the classes are those with the highest mean probability, and their probabilities alone are drawn.
    """
    there = grid.index >= 0
    members = grid.index[there]
    labelled = labels[members].any()
    frequency = (labels if labelled else probabilities)[members].mean(axis=0)
    chosen = np.argsort(-frequency, kind="stable")[:_CLASSES].tolist()
    rows = [("true labels", labels)] * bool(labelled) + [("probability", probabilities)]
    figure = Figure(figsize=(2.4 * len(chosen) + 0.8, 2.5 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    for line, (what, values) in zip(axes, rows, strict=True):
        for place, number in zip(line, chosen, strict=True):
            cells = np.full(grid.index.shape, np.nan)
            cells[there] = values[members, number]
            image = place.imshow(cells, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
            place.set(xticks=[], yticks=[], facecolor="#e6e8ea")
        line[0].set_ylabel(what)
    for place, number in zip(axes[0], chosen, strict=True):
        name = classes[number]
        place.set_title(name if len(name) <= 28 else name[:27] + "\u2026", fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle(f"tile {grid.name}: {there.sum()} patches of {grid.cell_m} m", fontsize=10)
    with replace_atomically(path) as part:
        figure.savefig(part, format="png", dpi=110)
