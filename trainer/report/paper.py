"""What the paper published, to hold ours against: plain data.

Source: Sedona et al. 2019, Remote Sensing 11, 3056 (CC BY 4.0): tables 2 and 3, section 4.2, figures 3 to 6.
"""

from dataclasses import dataclass

__all__ = [
    "CLASS_SCORES",
    "EPOCHS",
    "EPOCH_SECONDS",
    "GPUS_A_NODE",
    "JURECA_TOTAL_SECONDS",
    "SCORES",
    "TOTAL_SECONDS",
    "ClassScore",
    "Score",
]


@dataclass(frozen=True, slots=True)
class Score:
    """Scores over all classes of one model on the test set, in [0, 1]; they fit micro averages."""

    precision: float
    """Of the labels predicted, the share that is right."""

    recall: float
    """Of the true labels, the share that is predicted."""

    f1: float
    """Harmonic mean of both, as printed: from unrounded numbers."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class on the test set."""

    f1_rgb: float
    """F1 of the model that sees B04, B03, B02."""

    f1_all: float
    """F1 of the model that sees all twelve bands, the paper's "multispectral"."""

    support: int
    """Test patches with this label."""


SCORES = {"rgb": Score(0.82, 0.71, 0.77), "all": Score(0.83, 0.75, 0.79)}
"""By the bands that the network sees, as `--bands` names them; one node, four GPUs. Source: table 2."""

CLASS_SCORES = {
    "Continuous urban fabric": ClassScore(0.517737, 0.784672, 1975),
    "Discontinuous urban fabric": ClassScore(0.722825, 0.780262, 13_338),
    "Industrial or commercial units": ClassScore(0.556856, 0.552506, 2417),
    "Road and rail networks and associated land": ClassScore(0.268623, 0.300785, 671),
    "Port areas": ClassScore(0.522388, 0.503597, 93),
    "Airports": ClassScore(0.374384, 0.300518, 157),
    "Mineral extraction sites": ClassScore(0.490980, 0.507598, 835),
    "Dump sites": ClassScore(0.268518, 0.287037, 181),
    "Construction sites": ClassScore(0.213058, 0.234482, 244),
    "Green urban areas": ClassScore(0.369477, 0.387750, 338),
    "Sport and leisure facilities": ClassScore(0.406827, 0.367029, 996),
    "Non-irrigated arable land": ClassScore(0.839924, 0.865387, 36_562),
    "Permanently irrigated land": ClassScore(0.643835, 0.675662, 2505),
    "Rice fields": ClassScore(0.604770, 0.669542, 709),
    "Vineyards": ClassScore(0.545454, 0.564012, 1821),
    "Fruit trees and berry plantations": ClassScore(0.417887, 0.452648, 875),
    "Olive groves": ClassScore(0.541914, 0.621071, 2372),
    "Pastures": ClassScore(0.771802, 0.780565, 20_770),
    "Annual crops associated with permanent crops": ClassScore(0.442318, 0.457738, 1275),
    "Complex cultivation patterns": ClassScore(0.698238, 0.722448, 21_142),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": ClassScore(
        0.667633, 0.686677, 26_447
    ),
    "Agro-forestry areas": ClassScore(0.795872, 0.803621, 5611),
    "Broad-leaved forest": ClassScore(0.771761, 0.791465, 28_090),
    "Coniferous forest": ClassScore(0.866716, 0.874152, 33_583),
    "Mixed forest": ClassScore(0.797793, 0.834221, 35_975),
    "Natural grassland": ClassScore(0.512231, 0.569581, 2273),
    "Moors and heathland": ClassScore(0.430953, 0.561134, 1060),
    "Sclerophyllous vegetation": ClassScore(0.671300, 0.762123, 2114),
    "Transitional woodland/shrub": ClassScore(0.639412, 0.664189, 29_671),
    "Beaches, dunes, sands": ClassScore(0.608964, 0.695810, 319),
    "Bare rock": ClassScore(0.620192, 0.604819, 511),
    "Sparsely vegetated areas": ClassScore(0.380681, 0.483460, 261),
    "Burnt areas": ClassScore(0, 0.029851, 66),
    "Inland marshes": ClassScore(0.364675, 0.408505, 1142),
    "Peatbogs": ClassScore(0.690319, 0.535477, 3411),
    "Salt marshes": ClassScore(0.532299, 0.568578, 264),
    "Salines": ClassScore(0.517857, 0.608000, 75),
    "Intertidal flats": ClassScore(0.584126, 0.635097, 216),
    "Water courses": ClassScore(0.737060, 0.803948, 1914),
    "Water bodies": ClassScore(0.823858, 0.858107, 11_545),
    "Coastal lagoons": ClassScore(0.880294, 0.884758, 287),
    "Estuaries": ClassScore(0.585034, 0.699088, 197),
    "Sea and ocean": ClassScore(0.979917, 0.909013, 13_964),
}
"""By CORINE class, in BigEarthNet's published order. Source: table 3, whose "Land principally occupied by agriculture"
stands here under its full name. Supports sum to 308,272 labels."""

GPUS_A_NODE = 4
"""NVIDIA V100 of a node of JUWELS, one worker each. Source: section 4.1."""

EPOCH_SECONDS = {1: 347.0, 2: 172.0, 4: 86.0, 8: 42.0, 12: 27.0, 16: 20.0, 24: 15.0}
"""Seconds of one epoch of the multispectral model on JUWELS, by nodes, mean of two runs.

Source: section 4.2, figure 3.
"""

EPOCHS = 100
"""Epochs of a full training. Source: section 3.5."""

TOTAL_SECONDS = {1: 35_000.0, 24: 2_500.0}
"""Seconds of a full training on JUWELS, by nodes: "almost" the first, "less than" the second. Source: section 4.2."""

JURECA_TOTAL_SECONDS = {2: 14 * 3600.0}
"""Seconds of a full training on JURECA (NVIDIA K80), by nodes: "approximately". Source: section 4.2, figure 5."""
