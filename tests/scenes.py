"""What is in the sample that tests extract, and Level-2A products of given pixels."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.sample.drawing import SampleRecipe
from etl.sample.pixels import TilePixels
from etl.sample.product import ProductSpec
from etl.sample.safe import write_product

__all__ = ["SAMPLE", "real_groups", "write_scene"]

SAMPLE = SampleRecipe(tile_px=1320, tiles=3, seed=0)
"""More than one block in every group, and a tile each of the names of 2017, of baseline 02.12 and with an offset."""

Groups = list[npt.NDArray[np.uint16]]


def real_groups(shared_data: Path) -> Groups:
    """The native groups of the real scene, 6 km x 6 km, Level-1C."""
    with np.load(next((shared_data / "scenes").glob("*.npz"))) as file:
        return [file[f"data_{group.name}"] for group in GROUPS]


def write_scene(folder: Path, groups: Groups, **said: Any) -> Path:
    """A product of some native groups; `said` is further words of its specification."""
    sensed = datetime(2017, 5, 27, 10, 20)
    spec = {"tile": "33UUB", "baseline": "02.05", "generated": datetime(2017, 5, 27, 12), **said}
    scl = np.full(groups[1].shape[:2], 4, np.uint8)
    made = ProductSpec("S2A", sensed, sensed, relative_orbit=65, absolute_orbit=10070, **spec)
    return write_product(folder, made, TilePixels(groups[0], groups[1], groups[2], scl))
