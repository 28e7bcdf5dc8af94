"""Where a patch lies, worked out for whole columns from the names of patches and products."""

import pyarrow as pa
import pyarrow.compute as pc

from etl.bands import PATCH_M
from etl.catalogue.names import parse_product
from etl.grid import nominal_origin

__all__ = ["PLACED", "Rejections", "place", "place_products", "split_cells"]

Rejections = list[tuple[str, str]]
"""(patch, reason) of what could not be listed."""

PLACED = pa.schema(
    [
        ("tile", pa.string()),
        ("acquired", pa.timestamp("s", tz="UTC")),
        ("epsg", pa.int32()),
        ("origin_x", pa.float64()),
        ("origin_y", pa.float64()),
        ("reason", pa.string()),
    ]
)
"""What `place_products` gives: where the product's tile begins, in m, or in `reason` why that is not known."""


def place(patch: pa.ChunkedArray, product: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """Columns patch, tile, product, acquired, epsg, ulx, uly from the names of patches and of their products.

    A patch's name ends in its column i and its row j on the tile: ulx = tile ulx + 1200 i, uly = tile uly - 1200 j (m).
    Patches of which that cannot be said are left out of the table and returned with the reason.
    """
    _, col, row = split_cells(patch)
    tiles = place_products(product)
    nameless = pc.if_else(pc.is_null(col), "name must end in column and row, like _87_48", pa.scalar(None, pa.string()))
    table = pa.table(
        {
            "patch": patch,
            "tile": tiles["tile"],
            "product": product,
            "acquired": tiles["acquired"],
            "epsg": tiles["epsg"],
            "ulx": pc.add(tiles["origin_x"], pc.multiply(col, float(PATCH_M))),
            "uly": pc.subtract(tiles["origin_y"], pc.multiply(row, float(PATCH_M))),
        }
    )
    reason = pc.coalesce(nameless, tiles["reason"])
    bad = pc.is_valid(reason)
    rejected = list(zip(patch.filter(bad).to_pylist(), reason.filter(bad).to_pylist(), strict=True))
    return table.filter(pc.invert(bad)), [(name or "", why) for name, why in rejected]


def split_cells(patch: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray]:
    """What stands before the cell, column i and row j (float64) of each patch name; null where it names no cell."""
    found = pc.extract_regex(patch, r"^(?P<stem>.+)_(?P<col>\d{1,3})_(?P<row>\d{1,3})$")
    stem, col, row = (pc.struct_field(found, [index]) for index in range(3))
    return stem, pc.cast(col, pa.float64()), pc.cast(row, pa.float64())


def place_products(product: pa.ChunkedArray) -> pa.Table:
    """Rows of `PLACED`, one for each entry of `product`; each different name is looked at once."""
    encoded = product.combine_chunks().dictionary_encode()
    each = pa.Table.from_pylist([_place_product(name) for name in encoded.dictionary.to_pylist()], PLACED)
    rows = each.take(encoded.indices)
    lost = pc.if_else(pc.is_null(encoded.indices), "no product is listed", rows["reason"])
    return rows.set_column(PLACED.get_field_index("reason"), "reason", lost)


def _place_product(name: str) -> dict[str, object]:
    try:
        said = parse_product(name)
        grid = nominal_origin(said.tile)
    except ValueError as error:
        return {"reason": str(error)}
    return {
        "tile": said.tile,
        "acquired": said.acquired,
        "epsg": grid.epsg,
        "origin_x": grid.ulx,
        "origin_y": grid.uly,
    }
