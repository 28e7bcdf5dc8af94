"""Georeference of patches, computed for whole columns from the names of patches and products."""

import pyarrow as pa
import pyarrow.compute as pc

from etl.bands import PATCH_M
from etl.catalogue.names import parse_product
from etl.catalogue.table import make_catalogue_table
from etl.grid import nominal_origin

__all__ = ["PRODUCT_COLUMNS", "Rejections", "georeference_patches", "georeference_products", "split_patch_names"]

Rejections = list[tuple[str, str]]
"""(patch, reason) of what could not be listed."""

PRODUCT_COLUMNS = pa.schema(
    [
        ("tile", pa.string()),
        ("acquired", pa.timestamp("s", tz="UTC")),
        ("epsg", pa.int32()),
        ("origin_x", pa.float64()),
        ("origin_y", pa.float64()),
        ("reason", pa.string()),
    ]
)
"""Columns of `georeference_products`: upper left corner of the tile in m, or in `reason` why it is unknown."""


def georeference_patches(patch: pa.ChunkedArray, product: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """Unlabelled catalogue rows of patches, with tile, time and corner from the names of patches and of their products.

    A patch's name ends in its column i and row j on the tile: ulx = tile ulx + 1200 i, uly = tile uly - 1200 j, metres.
    Patches whose names do not tell that are left out of the table and returned with the reason.
    """
    _, col, row = split_patch_names(patch)
    tiles = georeference_products(product)
    nameless = pc.if_else(pc.is_null(col), "name must end in column and row, like _87_48", pa.scalar(None, pa.string()))
    table = make_catalogue_table(
        patch=patch,
        product=product,
        ulx=pc.add(tiles["origin_x"], pc.multiply(col, float(PATCH_M))),
        uly=pc.subtract(tiles["origin_y"], pc.multiply(row, float(PATCH_M))),
        **{name: tiles[name] for name in ("tile", "acquired", "epsg")},
    )
    reason = pc.coalesce(nameless, tiles["reason"])
    bad = pc.is_valid(reason)
    rejected = zip(pc.fill_null(patch, "").filter(bad).to_pylist(), reason.filter(bad).to_pylist(), strict=True)
    return table.filter(pc.invert(bad)), list(rejected)


def split_patch_names(patch: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray]:
    """The part before the cell, column i and row j (dtype float64) of each patch name; null where it names no cell."""
    found = pc.extract_regex(patch, r"^(?P<stem>.+)_(?P<col>\d{1,3})_(?P<row>\d{1,3})$")
    stem, col, row = (pc.struct_field(found, [index]) for index in range(3))
    return stem, pc.cast(col, pa.float64()), pc.cast(row, pa.float64())


def georeference_products(product: pa.ChunkedArray) -> pa.Table:
    """A table of PRODUCT_COLUMNS, one row for each entry of `product`, corners in metres."""
    # half a million patches come from some hundred products: each name is parsed once
    encoded = product.combine_chunks().dictionary_encode()
    products = [_georeference_product(name) for name in encoded.dictionary.to_pylist()]
    rows = pa.Table.from_pylist(products, PRODUCT_COLUMNS).take(encoded.indices)
    reason = pc.if_else(pc.is_null(encoded.indices), "no product is listed", rows["reason"])
    return rows.set_column(PRODUCT_COLUMNS.get_field_index("reason"), "reason", reason)


def _georeference_product(name: str) -> dict[str, object]:
    try:
        parsed = parse_product(name)
        grid = nominal_origin(parsed.tile)
    except ValueError as error:
        return {"reason": str(error)}
    corner = {"epsg": grid.epsg, "origin_x": grid.ulx, "origin_y": grid.uly}
    return {"tile": parsed.tile, "acquired": parsed.acquired, **corner}
