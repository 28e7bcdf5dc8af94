"""Catalogue rows of a product without any list: every 1200 m cell of its grid, unlabelled, to extract a fresh tile."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.georeference import Rejections
from etl.catalogue.names import PatchName, newest_products, parse_product, product_stem
from etl.catalogue.table import make_catalogue_table
from etl.grid import nominal_origin
from etl.product_files import ProductError, ProductFiles, read_tile_grid

__all__ = ["list_grid_cells"]

_log = logging.getLogger(__name__)


def list_grid_cells(products: Sequence[Path]) -> tuple[pa.Table, Rejections]:
    """Rows for all whole cells (1200 metres a side) of these products; (product, reason) of those without a grid.

    Of several products of one acquisition only the newest gives rows.
    """
    tables, rejected, by_name = [make_catalogue_table(patch=[])], Rejections(), dict[str, Path]()
    for path in products:
        try:
            parse_product(path.name)
            by_name[path.name] = path
        except ValueError as error:
            rejected.append((path.name, str(error)))
    for name, newest in newest_products(list(by_name)).items():
        if newest != name:
            _log.info("%s is left out: %s shows the same acquisition and is newer", name, newest)
            continue
        try:
            tables.append(_cells(by_name[name]))
        except (ProductError, ValueError) as error:
            rejected.append((name, str(error)))
    return pa.concat_tables(tables), rejected


def _cells(path: Path) -> pa.Table:
    """Rows of all whole cells of one product."""
    name = parse_product(path.name)
    if not name.tile:
        raise ValueError("a product of several tiles (its name gives none) must be split into one product a tile")
    grid, nominal = read_tile_grid(ProductFiles(path)), nominal_origin(name.tile)
    # patches from another corner would not lie on the cells that all other products of the tile share
    if (grid.epsg, grid.ulx, grid.uly) != (nominal.epsg, nominal.ulx, nominal.uly):
        raise ValueError(
            f"tile {name.tile} must begin at {nominal.ulx:.0f}, {nominal.uly:.0f} (EPSG:{nominal.epsg}), "
            f"got {grid.ulx:.10g}, {grid.uly:.10g} (EPSG:{grid.epsg})"
        )
    across = grid.size_px * 10 // PATCH_M
    row, col = (axis.ravel() for axis in np.indices((across, across)))
    return make_catalogue_table(
        patch=[PatchName(name, row=int(r), col=int(c)).name for r, c in zip(row, col, strict=True)],
        tile=pa.repeat(name.tile, len(row)),
        product=pa.repeat(product_stem(path.name), len(row)),
        acquired=pa.repeat(pa.scalar(name.acquired, pa.timestamp("s", tz="UTC")), len(row)),
        epsg=np.full(len(row), grid.epsg, np.int32),
        ulx=grid.ulx + PATCH_M * col.astype(float),
        uly=grid.uly - PATCH_M * row.astype(float),
    )
