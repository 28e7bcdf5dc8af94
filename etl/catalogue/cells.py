"""Catalogue rows of a product without any list: every 1200 m cell of its grid, unlabelled, to extract a fresh tile."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.finder import FoundProduct, index_products, matching_products, name_of_product
from etl.catalogue.georeference import Rejections
from etl.catalogue.names import PatchName
from etl.catalogue.table import make_catalogue_table
from etl.grid import nominal_origin
from etl.product_files import ProductError, ProductFiles, product_errors
from etl.product_metadata import read_tile_grid

__all__ = ["list_grid_cells"]

_log = logging.getLogger(__name__)


def list_grid_cells(products: Sequence[FoundProduct]) -> tuple[pa.Table, Rejections]:
    """Rows for all whole cells (1200 metres a side) of these products; (product, reason) of those without a grid.

    Of several products of one acquisition the newest gives rows, or if it cannot be read, the newest of the others.
    """
    tables, rejected = [make_catalogue_table(patch=[])], Rejections()
    index, listed = index_products(products), set[Path]()
    for product in products:
        if product.path in listed:
            continue
        candidates = matching_products(product.stem, index)
        listed |= {candidate.path for candidate in candidates}
        rows, problems = _first_readable(candidates)
        if rows is not None:
            tables.append(rows)
        else:
            rejected += problems
    return pa.concat_tables(tables), rejected


def _first_readable(candidates: Sequence[FoundProduct]) -> tuple[pa.Table | None, Rejections]:
    """Rows of the first product of an acquisition that can be read; (product, reason) of those before it."""
    problems = Rejections()
    for k, product in enumerate(candidates):
        try:
            rows = _cells(product)
        except (ProductError, ValueError) as error:
            problems.append((product.path.name, str(error)))
            continue
        for name, reason in problems:
            _log.warning("%s is left out: %s; %s shows the same acquisition", name, reason, product.path.name)
        for other in candidates[k + 1 :]:
            _log.info(
                "%s shows the same acquisition as %s: patches are listed once", other.path.name, product.path.name
            )
        return rows, problems
    return None, problems


def _cells(product: FoundProduct) -> pa.Table:
    """Rows of all whole cells of one product."""
    name = product.name
    files = ProductFiles(product.path, product.links)
    with product_errors(product.path):
        name_of_product(files)  # refuses another product under this name
        grid = read_tile_grid(files)
    nominal = nominal_origin(name.tile)
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
        product=pa.repeat(product.stem, len(row)),
        acquired=pa.repeat(pa.scalar(name.acquired, pa.timestamp("s", tz="UTC")), len(row)),
        epsg=np.full(len(row), grid.epsg, np.int32),
        ulx=grid.ulx + PATCH_M * col.astype(float),
        uly=grid.uly - PATCH_M * row.astype(float),
    )
