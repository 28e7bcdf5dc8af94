"""Scores of a run on a split with all that `trainer.evaluate` adds to those of an epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.selection import SelectedRows
from trainer.fit.bootstrap import bootstrap_intervals, f1_of_counts
from trainer.fit.curves import calibration, precision_recall_curves
from trainer.fit.metrics import Floats, Labels, LabelScores, predicted_by

__all__ = ["evaluate_predictions", "scores_by_tile"]


def evaluate_predictions(
    rows: SelectedRows, probabilities: Floats, scores: Mapping[str, LabelScores]
) -> dict[str, Any]:
    """Parts of the record evaluate.<split>.json: "scores", "calibration" and "precision_recall".

    `probabilities`: float32, shape (row, class); `scores`: see `scores_by_threshold`. To each of them are added
    "intervals", see `bootstrap_intervals`, and "tiles", see `scores_by_tile`, if the store names tiles. For the other
    parts see `calibration` and `precision_recall_curves`.
    """
    labels, tiles = rows.labels, _tiles(rows)
    intervals = bootstrap_intervals(labels, probabilities, scores)
    evaluated = {}
    for kind, of_kind in scores.items():
        predicted = predicted_by(of_kind, probabilities)
        by_tile = {} if tiles is None else {"tiles": scores_by_tile(labels, predicted, tiles)}
        evaluated[kind] = {**of_kind, "intervals": intervals[kind], **by_tile}
    return {
        "scores": evaluated,
        "calibration": calibration(labels, probabilities),
        "precision_recall": precision_recall_curves(labels, probabilities, rows.classes),
    }


def scores_by_tile(
    labels: Labels, predicted: npt.NDArray[np.bool_], tiles: npt.NDArray[np.bytes_]
) -> list[dict[str, Any]]:
    """Of each tile, sorted by name, "tile", "rows", "micro_f1", and "macro_f1" over classes that are true or predicted.

    `labels` and `predicted` have the shape (row, class), `tiles` the shape (row,).
    """
    names, numbers = np.unique(tiles, return_inverse=True)
    scores = []
    for number, name in enumerate(names.tolist()):
        true, found = labels[numbers == number] == 1, predicted[numbers == number]
        right, positive, support = (part.sum(axis=0, dtype=np.float64) for part in (true & found, found, true))
        f1 = f1_of_counts(right, positive, support)[positive + support > 0]
        micro = f1_of_counts(right.sum(keepdims=True), positive.sum(keepdims=True), support.sum(keepdims=True))
        scores.append(
            {"tile": name.decode(errors="replace"), "rows": len(true)}
            | {"micro_f1": float(micro[0]), "macro_f1": float(f1.mean()) if len(f1) else 0.0}
        )
    return scores


def _tiles(rows: SelectedRows) -> npt.NDArray[np.bytes_] | None:
    """MGRS tile of each row, shape (row,); None if the store names none, as one of image files."""
    if "tile" not in rows.reader:
        return None
    tiles = rows.reader.column("tile")[rows.store_rows]
    return tiles if (tiles != b"").any() else None
