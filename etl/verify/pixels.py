"""Native pixels read again from the source by the simplest path, and compared bit for bit; one rank's share.

Nothing of the extraction's way is used: no plan, no blocks, no cache of its own. Where a window lies in a file follows
from the file's own georeference, not from the product's metadata.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, Group
from etl.catalogue.finder import find_products, patch_locator
from etl.catalogue.product_files import ProductError
from etl.raster import RasterError, RasterFile, configure
from etl.schema import WRITTEN
from etl.source.radiometry import lookup_table
from etl.source.safe import Product, read_product
from etl.store.byte_ranges import TornError
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge
from etl.verify.columns import Columns, row_name

__all__ = ["SourceRow", "Sources", "check_pixels", "find_sources", "pick_rows", "tasks_of"]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pixels can be read again."""

    products: dict[str, Path]
    """Products by name; empty where the source is a patch archive."""

    folder: Callable[[str], Path] | None
    """Folder of a patch in a patch archive."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row to read again."""

    row: int
    """Row of the store."""

    patch: bytes
    """Name of the patch."""

    path: Path
    """Its product, or its folder in a patch archive."""

    tiled: bool
    """Whether `path` is a product."""

    corner: tuple[int, float, float]
    """EPSG code, easting and northing of the upper left corner in m."""


@dataclass(slots=True)
class _Product:
    """The product that was read last, and its open files."""

    path: Path | None = None
    product: Product | None = None
    files: dict[str, RasterFile] = field(default_factory=dict)


def find_sources(source: Path, columns: Columns) -> Sources:
    """What `source` holds.

    Raises:
        ValueError: neither products nor patches of the store.
    """
    if not source.exists():
        raise ValueError(f"--source must be a folder of products or patches, got {source}, which is not there")
    products = {path.name.removesuffix(".zip").removesuffix(".SAFE"): path for path in find_products(source)}
    if products:
        return Sources(products, None)
    folder = patch_locator(source)
    if folder is not None:
        return Sources({}, folder)
    raise ValueError(f"--source must hold Level-2A products (.SAFE or .zip) or patch folders, got {source}")


def pick_rows(columns: Columns, sample: int, seed: int) -> npt.NDArray[np.intp]:
    """`sample` rows of state 1 (all where 0), ascending, the same for the same seed."""
    rows = np.flatnonzero(columns.state == WRITTEN)
    if not 0 < sample < len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, sample, replace=False))


def tasks_of(columns: Columns, rows: npt.NDArray[np.intp], sources: Sources) -> list[SourceRow]:
    """What is to be read for each row; a product that is not there gives a path that is not."""
    of, tasks = columns.of, []
    for row in rows.tolist():
        patch = of["patch"][row]
        if sources.folder is not None:
            path = sources.folder(patch.decode())
        else:
            product = of["product"][row].decode()
            path = sources.products.get(product, Path(product))
        corner = (int(of["epsg"][row]), float(of["ulx"][row]), float(of["uly"][row]))
        tasks.append(SourceRow(row, patch, path, sources.folder is None, corner))
    return tasks


def check_pixels(store: Path, tasks: Sequence[SourceRow], on_row: Callable[[int], None]) -> Faults:
    """What differs between the store's native groups and the source, over the rows of `tasks`."""
    os.environ.setdefault("GDAL_CACHEMAX", "400")  # MiB: neighbouring patches share blocks
    configure()
    faults, last = Faults(), _Product()
    with StoreReader(store) as reader:
        for k, task in enumerate(tasks):
            name = row_name(task.row, task.patch)
            try:
                parts = reader.row(task.row)
                for group, stored in zip(GROUPS, parts, strict=False):
                    _compare(faults, f"{name}: data_{group.name}", group, stored, _read(task, group, last))
            except (RasterError, ProductError, TornError) as error:
                faults.add(f"{name}: {error}")
            on_row(k + 1)
    return faults


def _read(task: SourceRow, group: Group, last: _Product) -> npt.NDArray[np.uint16]:
    """The patch's pixels of one group, shape (row, col, band), on the store's scale."""
    out = np.empty((group.patch_px, group.patch_px, len(group.bands)), np.uint16)
    for k, band in enumerate(group.bands):
        if task.tiled:
            product, file = _band_of(task.path, band, last)
            file.read(_window(file, task.corner, product, group.gsd_m), out[..., k])
            lut = lookup_table(product.offsets[band], product.quantification)
            out[..., k] = out[..., k] if lut is None else lut[out[..., k]]
        else:
            file = RasterFile(task.path / f"{task.path.name}_{band}.tif")
            file.read(_window(file, task.corner, None, group.gsd_m), out[..., k])
    return out


def _band_of(path: Path, band: str, last: _Product) -> tuple[Product, RasterFile]:
    """The product and one of its files; kept open until another product comes."""
    if last.path != path or last.product is None:
        last.path, last.product, last.files = path, None, {}
        if not path.exists():
            raise ProductError(f"product {path.name} must be below --source, it is not")
        last.product = read_product(path)
    if band not in last.files:
        last.files[band] = RasterFile(last.product.files[band])
    return last.product, last.files[band]


def _window(
    file: RasterFile, corner: tuple[int, float, float], product: Product | None, gsd_m: int
) -> tuple[int, int, int, int]:
    """(row, column, rows, columns) of the patch in a file's own pixels."""
    where, side = file.georeference, 1200 // gsd_m
    if where is not None:
        epsg, ulx, uly, found_m = where.epsg, where.ulx, where.uly, where.gsd_m
    elif product is not None:
        epsg, ulx, uly, found_m = product.grid.epsg, product.grid.ulx, product.grid.uly, gsd_m
    else:
        epsg, ulx, uly, found_m = *corner, gsd_m
    row, column = (uly - corner[2]) / gsd_m, (corner[1] - ulx) / gsd_m
    inside = 0 <= row <= file.shape[0] - side and 0 <= column <= file.shape[1] - side
    if epsg != corner[0] or found_m != gsd_m or row % 1 or column % 1 or not inside:
        raise RasterError(
            f"{file.path} must hold EPSG:{corner[0]} {corner[1]:.0f}, {corner[2]:.0f} in pixels of {gsd_m} m, "
            f"got {file.shape[0]} x {file.shape[1]} pixels of {found_m} m from EPSG:{epsg} {ulx:.0f}, {uly:.0f}"
        )
    return int(row), int(column), side, side


def _compare(
    faults: Faults, name: str, group: Group, stored: npt.NDArray[np.uint16], source: npt.NDArray[np.uint16]
) -> None:
    for k, band in enumerate(group.bands):
        places = np.argwhere(stored[..., k] != source[..., k])
        if len(places):
            row, col = places[0].tolist()
            faults.add(
                f"{name} {band} differs in {len(places)} pixels, first at ({row}, {col}): "
                f"store {stored[row, col, k]}, source {source[row, col, k]}"
            )


def pixel_check(faults: Faults, rows: int, source: Path) -> Check:
    """The check over all ranks."""
    return judge("source pixels", f"{rows} rows, native bands bit for bit as in {source}", faults)
