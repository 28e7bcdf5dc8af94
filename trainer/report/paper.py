"""Results that the paper published, to compare runs with: plain data.

Source: Sedona et al. 2019, Remote Sensing 11, 3056 (CC BY 4.0): tables 2 and 3, section 4.2, figures 3 to 6.
"""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "ARCHIVE",
    "CLASS_SCORES",
    "EPOCH_SECONDS",
    "GPUS_A_NODE",
    "SCORES",
    "SPLIT_NOTE",
    "TOTAL_SECONDS",
    "ClassScore",
    "Score",
    "is_comparable",
]

ARCHIVE = "BigEarthNet v1"
"""What stores call the archive that the paper trained on."""


class Score(NamedTuple):
    """Scores of one model over all classes of the test set, in [0, 1]; the numbers agree with micro averages."""

    precision: float
    """Fraction of the predicted labels that are true."""

    recall: float
    """Fraction of the true labels that are predicted."""

    f1: float
    """Harmonic mean of both, as printed in the paper, which computed it before rounding."""


class ClassScore(NamedTuple):
    """Scores of one class on the test set."""

    f1_rgb: float
    """F1 of the model with the bands B04, B03, B02."""

    f1_all: float
    """F1 of the model with all twelve bands, the paper's "multispectral"."""

    support: int
    """Test patches with this label."""


SCORES = {"rgb": Score(0.82, 0.71, 0.77), "all": Score(0.83, 0.75, 0.79)}
"""Scores by value of `--bands`; trained on one node, four GPUs. Source: table 2."""


SPLIT_NOTE = (
    "Runs are scored on rows of their own store; split and number of rows are in the table. The paper does not state "
    "its split: by its supports it tested about 105,000 patches, a fifth, and so not the published split test. "
    "A small difference from the paper can come from the rows."
)
"""What to know when scores are held against the paper's. Source: table 3, whose supports sum to 308,272 labels."""

with Path(__file__).with_name("paper_classes.csv").open(encoding="utf-8") as _file:
    CLASS_SCORES = {
        row["class"]: ClassScore(float(row["f1_rgb"]), float(row["f1_all"]), int(row["support"]))
        for row in csv.DictReader(_file)
    }
"""Scores by CORINE class, in BigEarthNet's published order. Source: table 3, which shortens the name of "Land
principally occupied by agriculture". Supports sum to 308,272 labels."""

GPUS_A_NODE = 4
"""Number of NVIDIA V100 in a node of JUWELS, one worker each. Source: section 4.1."""

EPOCH_SECONDS = {1: 347.0, 2: 172.0, 4: 86.0, 8: 42.0, 12: 27.0, 16: 20.0, 24: 15.0}
"""Seconds of one epoch of the multispectral model on JUWELS, by number of nodes, mean of two runs.

Source: section 4.2, figure 3.
"""

TOTAL_SECONDS = {1: 35_000.0, 24: 2_500.0}
"""Seconds of 100 epochs on JUWELS, by nodes: "almost" the first, "less than" the second. Source: section 4.2."""


def is_comparable(archive: object, classes: Collection[object]) -> bool:
    """Whether a run on patches of `archive`, as its store says, with `classes` by name can be compared with it."""
    return archive == ARCHIVE and set(classes) == CLASS_SCORES.keys()
