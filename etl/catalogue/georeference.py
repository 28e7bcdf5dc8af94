"""Georeference of patches, computed for whole columns from the names of patches and products."""

import pyarrow as pa
import pyarrow.compute as pc

from etl.bands import PATCH_M
from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.names import parse_product
from etl.catalogue.table import make_catalogue_table, replace_columns
from etl.grid import nominal_origin

__all__ = ["Rejections", "drop_rejected", "georeference_patches", "georeference_products", "split_patch_names"]

Rejections = list[tuple[str, str]]
"""(patch, reason) of what could not be listed."""

_PRODUCT_COLUMNS = pa.schema(
    [*(CATALOGUE_SCHEMA.field(name) for name in ("tile", "acquired", "epsg", "ulx", "uly")), ("reason", pa.string())]
)
"""Columns of `georeference_products`: upper left corner of the tile in m, or in `reason` why it is unknown."""


def georeference_patches(patch: pa.ChunkedArray, product: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """Unlabelled catalogue rows of patches, with tile, time and corner from the names of patches and of their products.

    A patch's name ends in its column and row in the tile: ulx = tile ulx + 1200 col, uly = tile uly - 1200 row, metres.
    Patches whose names lack one of these are left out of the table and returned with the reason.
    """
    _, col, row = split_patch_names(patch)
    tiles = georeference_products(product)
    nameless = pc.if_else(pc.is_null(col), "name must end in column and row, like _87_48", pa.scalar(None, pa.string()))
    table = make_catalogue_table(
        patch=patch,
        product=product,
        ulx=pc.add(tiles["ulx"], pc.multiply(col, float(PATCH_M))),
        uly=pc.subtract(tiles["uly"], pc.multiply(row, float(PATCH_M))),
        **{name: tiles[name] for name in ("tile", "acquired", "epsg")},
    )
    return drop_rejected(table, pc.coalesce(nameless, tiles["reason"]))


def drop_rejected(rows: pa.Table, reason: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """`rows` of a catalogue for which `reason`, shape (patch,), text, is null; and (patch, reason) of the others."""
    bad = pc.is_valid(reason)
    patch = pc.fill_null(rows["patch"], "").filter(bad)
    rejected = list(zip(patch.to_pylist(), reason.filter(bad).to_pylist(), strict=True))
    return rows.filter(pc.invert(bad)), rejected


def split_patch_names(patch: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray]:
    """The part before the cell, the column and the row (dtype float64) of each patch name; null if it has no cell."""
    matches = pc.extract_regex(patch, r"^(?P<stem>.+)_(?P<col>\d{1,3})_(?P<row>\d{1,3})$")
    stem, col, row = (pc.struct_field(matches, [index]) for index in range(3))
    return stem, pc.cast(col, pa.float64()), pc.cast(row, pa.float64())


def georeference_products(product: pa.ChunkedArray) -> pa.Table:
    """A table of _PRODUCT_COLUMNS, one row for each entry of `product`, corners in metres."""
    # half a million patches come from some hundred products: each name is parsed once
    encoded = product.combine_chunks().dictionary_encode()
    products = [_georeference_product(name) for name in encoded.dictionary.to_pylist()]
    rows = pa.Table.from_pylist(products, _PRODUCT_COLUMNS).take(encoded.indices)
    reason = pc.if_else(pc.is_null(encoded.indices), "no product is listed", rows["reason"])
    return replace_columns(rows, {"reason": reason})


def _georeference_product(name: str) -> dict[str, object]:
    try:
        parsed = parse_product(name)
        grid = nominal_origin(parsed.tile)
    except ValueError as error:
        return {"reason": str(error)}
    corner = {"epsg": grid.epsg, "ulx": grid.ulx, "uly": grid.uly}
    return {"tile": parsed.tile, "acquired": parsed.acquired, **corner}
