"""CORINE Land Cover 2018 nomenclatures of BigEarthNet: 43 classes, 19 classes and the conversion between them.

Source: BigEarthNet, `label_indices.json` (43 classes in published order); Sumbul et al. 2021, arXiv 2105.07921,
table 1 (the 19-class nomenclature, which merges some classes and drops eleven).
"""

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES_19", "CLASSES_43", "TO_19", "classes_of", "convert_to_19"]

CLASSES_43 = (
    "Continuous urban fabric",
    "Discontinuous urban fabric",
    "Industrial or commercial units",
    "Road and rail networks and associated land",
    "Port areas",
    "Airports",
    "Mineral extraction sites",
    "Dump sites",
    "Construction sites",
    "Green urban areas",
    "Sport and leisure facilities",
    "Non-irrigated arable land",
    "Permanently irrigated land",
    "Rice fields",
    "Vineyards",
    "Fruit trees and berry plantations",
    "Olive groves",
    "Pastures",
    "Annual crops associated with permanent crops",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland",
    "Moors and heathland",
    "Sclerophyllous vegetation",
    "Transitional woodland/shrub",
    "Beaches, dunes, sands",
    "Bare rock",
    "Sparsely vegetated areas",
    "Burnt areas",
    "Inland marshes",
    "Peatbogs",
    "Salt marshes",
    "Salines",
    "Intertidal flats",
    "Water courses",
    "Water bodies",
    "Coastal lagoons",
    "Estuaries",
    "Sea and ocean",
)

CLASSES_19 = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)

TO_19 = (
    (0, 0), (1, 0), (2, 1), (11, 2), (12, 2), (13, 2), (14, 3), (15, 3), (16, 3), (18, 3), (17, 4),
    (19, 5), (20, 6), (21, 7), (22, 8), (23, 9), (24, 10), (25, 11), (31, 11), (26, 12), (27, 12),
    (28, 13), (29, 14), (33, 15), (34, 15), (35, 16), (36, 16), (38, 17), (39, 17), (40, 18), (41, 18), (42, 18),
)  # fmt: skip
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
