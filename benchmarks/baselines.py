"""Scores of predictions without a network: logistic regression on the mean of each band; always the commonest labels.

`python -m benchmarks.baselines STORE RUN` prints them beside the scores of a run on split test.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.config import band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.fit.metrics import DEFAULT_THRESHOLD, Floats, LabelScores, score_predictions, tuned_thresholds

__all__ = ["BandMeans", "main", "read_band_means", "score_commonest", "score_regression"]

_INVERSE_PENALTY = 30.0
"""Inverse of the L2 penalty, scikit-learn's C. Chosen for high scores on the sample; with 1 they are lower."""

_READ_ROWS = 64
"""Rows read at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class BandMeans:
    """The labelled rows of one split."""

    means: npt.NDArray[np.float64]
    """(row, band): mean of all pixels of a patch, nodata counted as 0, as stored."""

    labels: npt.NDArray[np.uint8]
    """(row, class): 0 or 1."""

    classes: tuple[str, ...]
    """Names of the classes."""

    def __len__(self) -> int:
        return len(self.labels)


def read_band_means(store: Path) -> dict[str, BandMeans]:
    """Means of all bands at 10 m, or of all bands of image files, for the splits train, val and test of a store.

    Raises:
        ValueError: it is not a complete store, or a split has no labelled row.
    """
    return {split: _read_split(store, split) for split in ("train", "val", "test")}


def _read_split(store: Path, split: str) -> BandMeans:
    rows = select_rows(store, RowSelection(band_selections("all"), split))
    name, count = rows.pixels[0].name, len(rows)
    parts = np.split(rows.store_rows, range(_READ_ROWS, count, _READ_ROWS))
    means = [rows.reader.read(name, part).mean((1, 2), dtype=np.float64) for part in parts]
    rows.reader.close()
    return BandMeans(np.concatenate(means), rows.labels, rows.classes)


def score_regression(splits: dict[str, BandMeans]) -> dict[str, LabelScores]:
    """Scores on test of one logistic regression per class, trained on train.

    "at_half": at the default threshold; "tuned": at the thresholds with the highest F1 on val.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, val, test = (splits[name] for name in ("train", "val", "test"))
    models = {}
    for column in np.flatnonzero(train.labels.min(axis=0) < train.labels.max(axis=0)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000))
        models[column] = model.fit(train.means, train.labels[:, column])

    def predict(rows: BandMeans) -> Floats:
        # what all rows of train have, or none of them, cannot be fitted: it is predicted so
        out = np.tile(train.labels[0].astype(np.float32), (len(rows), 1))
        for column, model in models.items():
            out[:, column] = model.predict_proba(rows.means)[:, 1]
        return out

    thresholds, probabilities = tuned_thresholds(val.labels, predict(val)), predict(test)
    return {
        "at_half": score_predictions(test.labels, probabilities, DEFAULT_THRESHOLD, test.classes),
        "tuned": score_predictions(test.labels, probabilities, thresholds, test.classes),
    }


def score_commonest(splits: dict[str, BandMeans]) -> tuple[int, LabelScores]:
    """Number of labels, and scores on test, if each patch gets the commonest labels of train.

    The number is the one with the highest micro-F1 on val.
    """
    commonest = np.argsort(-splits["train"].labels.sum(axis=0, dtype=np.int64), kind="stable")

    def score(split: str, count: int) -> LabelScores:
        rows = splits[split]
        always = np.zeros(rows.labels.shape, np.float32)
        always[:, commonest[:count]] = 1
        return score_predictions(rows.labels, always, DEFAULT_THRESHOLD, rows.classes)

    count = max(range(1, len(commonest) + 1), key=lambda number: score("val", number)["micro"]["f1"])
    return count, score("test", count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("store", type=Path, help="store with the splits train, val and test")
    parser.add_argument("run", type=Path, help="folder of a run that trainer.evaluate has scored on split test")
    settings = parser.parse_args(argv)
    try:
        record = json.loads((settings.run / "evaluate.test.json").read_bytes())
        splits = read_band_means(settings.store)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    count, commonest = score_commonest(splits)
    lines = {
        f"the network of {settings.run}": record["scores"],
        "logistic regression on the mean of each band": score_regression(splits),
        f"always the {count} commonest labels": {"tuned": commonest, "at_half": commonest},
    }
    print("micro-F1 on split test, at thresholds tuned on val and at 0.5:")
    for name, scores in lines.items():
        print(f"{name:46}{scores['tuned']['micro']['f1']:8.3f}{scores['at_half']['micro']['f1']:8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
