"""What a prediction writes, by the suffix of `--out`: checked before any work, written at its end on worker 0."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.files import replace_atomically, require_writable
from trainer.config import RASTER_SUFFIXES
from trainer.data.selection import SelectedRows
from trainer.maps.places import Places, cell_grids, missing_places, places_of
from trainer.maps.table import identity_of, predicted_labels, require_class_columns, write_table
from trainer.maps.windows import straddling_windows

__all__ = ["PredictionOutput", "prepare_output", "require_output"]

_PACKAGES = {".gpkg": "geopandas", **dict.fromkeys(RASTER_SUFFIXES, "rasterio")}
"""What each kind of map needs beside the trainer's own packages."""


def require_output(out: Path) -> None:
    """Check, before long work, that `out` can be written.

    Raises:
        ValueError: a package is missing.
        OSError: no file can be made there.
    """
    needed = _PACKAGES.get(out.suffix.lower())
    if needed is not None and find_spec(needed) is None:
        raise ValueError(f'--out {out} needs {needed}, which is not installed: pip install "sentinel-etl[gis]"')
    require_writable(out)


@dataclass(frozen=True, slots=True, eq=False)
class PredictionOutput:
    """Rows to predict, and what writes their probabilities."""

    rows: SelectedRows
    """What the network is to predict: rows of the store, or windows across several."""

    write: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], str]
    """Write probabilities, (row, class), with labels at thresholds, (class,); returns what was written, in words."""


def prepare_output(rows: SelectedRows, out: Path, stride_m: int = PATCH_M) -> PredictionOutput:
    """What writes predictions of `rows` to `out`: .gpkg, .parquet, .png, or .tif with a cell every `stride_m` metres.

    Raises:
        ValueError: the store has no places for a map, or names of its classes or tiles cannot be used.
        OSError: an image of a tile cannot be written.
    """
    require_class_columns(rows.classes)
    if out.suffix.lower() in RASTER_SUFFIXES:
        return _images(rows, out, stride_m)
    if out.suffix.lower() == ".png":
        return _picture(rows, out)
    is_table, problem = out.suffix.lower() == ".parquet", missing_places(rows)
    if is_table and not problem and find_spec("geopandas") is None:
        problem = 'geopandas is not installed: pip install "sentinel-etl[gis]"'
    return _squares(rows, out, None if is_table and problem else places_of(rows), problem)


def _squares(rows: SelectedRows, out: Path, places: Places | None, problem: str) -> PredictionOutput:
    """One row a patch, with its square if there are places; else `problem` says why there is none."""

    def write(probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]) -> str:
        """See `PredictionOutput.write`."""
        columns, missing = identity_of(rows)
        columns |= {name: probabilities[:, k] for k, name in enumerate(rows.classes)}
        labels = predicted_labels(probabilities, thresholds, rows.classes, rows.single_label)
        with replace_atomically(out) as part:
            if places is None:
                write_table(part, columns, labels)
            else:
                from trainer.maps.vector import write_geopackage, write_geoparquet

                (write_geopackage if out.suffix.lower() == ".gpkg" else write_geoparquet)(part, places, columns, labels)
        left_out = f"\nleft out, because {rows.reader.location} has no such arrays: {', '.join(missing)}"
        plain = f"\na table without squares, because {problem}"
        what = f"{len(rows)} patches x {len(rows.classes)} classes -> {out}"
        return what + (left_out if missing else "") + (plain if places is None else "")

    return PredictionOutput(rows, write)


def _picture(rows: SelectedRows, out: Path) -> PredictionOutput:
    """A picture of the tile with the most patches."""
    grid = max(cell_grids(places_of(rows)), key=lambda grid: (grid.index >= 0).sum())

    def write(probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]) -> str:
        """See `PredictionOutput.write`."""
        from trainer.maps.picture import write_picture

        write_picture(out, grid, rows.labels, probabilities, rows.classes)
        return f"tile {grid.name}, {(grid.index >= 0).sum()} of {len(rows)} patches -> {out}"

    return PredictionOutput(rows, write)


def _images(rows: SelectedRows, out: Path, stride_m: int) -> PredictionOutput:
    """One image a tile."""
    from trainer.maps.raster import image_path, write_image

    grids, predicted = cell_grids(places_of(rows)), rows
    if stride_m < PATCH_M:
        predicted, grids = straddling_windows(rows, grids, stride_m)
    paths = [image_path(out, grid) for grid in grids]
    for path in paths:
        require_writable(path)

    def write(probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]) -> str:
        """See `PredictionOutput.write`."""
        for path, grid in zip(paths, grids, strict=True):
            write_image(path, grid, probabilities, rows.classes, thresholds)
        cells = f"{len(predicted)} windows" if stride_m < PATCH_M else f"{len(predicted)} patches"
        return f"{cells} x {len(rows.classes)} classes, cells of {stride_m} m -> {', '.join(map(str, paths))}"

    return PredictionOutput(predicted, write)
