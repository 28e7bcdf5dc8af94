"""Small archives of image files like EuroSAT's and UC Merced's, with a table of paths, labels and splits."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.raster import Georeference, write_geotiff

__all__ = ["ImageArchive", "make_eurosat", "make_merced"]

PATCHES = 12
_CLASSES = ("Forest", "Annual crop", "Sea, lake")


@dataclass(frozen=True)
class ImageArchive:
    """A folder of image files, its table, and what the files hold."""

    source: Path
    table: Path
    paths: list[str]
    labels: list[str]
    pixels: dict[str, npt.NDArray[Any]]
    """(row, col, band) of each path."""

    def __str__(self) -> str:
        return self.source.name


def make_eurosat(folder: Path, patches: int = PATCHES, classes: Sequence[str] = _CLASSES) -> ImageArchive:
    """Patches of 64 px and 13 bands, uint16, in CSV, each in the folder of its class, the classes in turn."""
    rng = np.random.default_rng(13)
    planes = rng.integers(0, 10_000, (patches, 13, 64, 64)).astype(np.uint16)
    return _make(folder / "eurosat", iter(planes).__next__, True, patches, classes)


def make_merced(folder: Path, side_px: int = 256) -> ImageArchive:
    """Twelve patches of 256 px, red, green and blue, uint8, without georeference; black is a value."""
    rng = np.random.default_rng(3)
    return _make(folder / "merced", lambda: rng.integers(0, 256, (3, side_px, side_px)).astype(np.uint8), False)


def _make(
    folder: Path, draw: Any, placed: bool, patches: int = PATCHES, classes: Sequence[str] = _CLASSES
) -> ImageArchive:
    paths, labels, pixels = [], [], {}
    for k in range(patches):
        label = classes[k % len(classes)]
        path, planes = f"{label}/patch_{k:02}.tif", draw()
        planes[:, :4, :4] = 0
        (folder / label).mkdir(parents=True, exist_ok=True)
        write_geotiff(folder / path, planes, Georeference(32633, 400_000.0 + 640 * k, 5e6, 10) if placed else None)
        paths.append(path)
        labels.append(label)
        pixels[path] = planes.transpose(1, 2, 0).copy()
    table = folder.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("number", "Filename", "ClassName", "split"))
        splits = ("train", "train", "validation", "test")
        lines.writerows((k, paths[k], labels[k], splits[4 * k // patches]) for k in range(patches))
    return ImageArchive(folder, table, paths, labels, pixels)
