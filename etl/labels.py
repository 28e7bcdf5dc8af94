"""CORINE Land Cover 2018 nomenclatures of BigEarthNet: 43 classes, 19 classes and the conversion between them.

Source: BigEarthNet, `label_indices.json` (43 classes in published order); Sumbul et al. 2021, arXiv 2105.07921,
table 1 (the 19-class nomenclature, which merges some classes and drops eleven).

`labels.csv` has one line for each of the 43, with the one of the 19 that it becomes, empty where it is dropped.
"""

import numpy as np
import numpy.typing as npt

from etl.tables import read_table

__all__ = ["CLASSES_19", "CLASSES_43", "TO_19", "classes_of", "convert_to_19"]

_TABLE = read_table(__file__, "labels.csv")

CLASSES_43 = tuple(line["class_43"] for line in _TABLE)

# the published order of the 19 is that in which the 43 name them first
CLASSES_19 = tuple(dict.fromkeys(line["class_19"] for line in _TABLE if line["class_19"]))

TO_19 = tuple((k, CLASSES_19.index(line["class_19"])) for k, line in enumerate(_TABLE) if line["class_19"])
"""Pairs (index in the 43 classes, index in the 19); a class without a pair is dropped."""


def classes_of(nomenclature: int) -> tuple[str, ...]:
    """Class names of the nomenclature with 43 or 19 classes, in published order: the order of the class axis."""
    if nomenclature not in (43, 19):
        raise ValueError(f"nomenclature must be 43 or 19, got {nomenclature}")
    return CLASSES_43 if nomenclature == 43 else CLASSES_19


def convert_to_19(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Rows of 43 classes, shape (patch, 43), as rows of 19, shape (patch, 19), uint8; a row can end with no label."""
    out = np.zeros((*classes.shape[:-1], len(CLASSES_19)), np.uint8)
    for fine, coarse in TO_19:
        # several of the 43 can be one of the 19: the label stays set if any of them was
        np.maximum(out[..., coarse], classes[..., fine], out=out[..., coarse])
    return out
