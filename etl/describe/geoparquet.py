"""Footprints of a store's patches as GeoParquet: one row a patch, with labels, split and shares.

Source: GeoParquet 1.1.0; the coordinates are longitude and latitude on WGS 84 (OGC:CRS84), its default.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from etl.describe.summary import Summary

__all__ = ["footprint_table", "write_footprints"]

_GROUP_ROWS = 20_000
"""Rows of a row group: readers pass over groups whose boxes lie elsewhere."""

_POLYGON = np.dtype([("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("ring", "<f8", (5, 2))])
"""Well-known binary of a polygon with one ring of five points."""


def write_footprints(path: Path, summary: Summary) -> None:
    """Write `footprint_table` as GeoParquet, or Parquet without footprints, compressed by Zstandard."""
    pq.write_table(footprint_table(summary), path, compression="zstd", row_group_size=_GROUP_ROWS)


def footprint_table(summary: Summary) -> pa.Table:
    """One row for each written patch, in the order of the store.

    Columns: `row` of the store (int64), patch, tile, product, baseline, split (text), acquired (time, UTC), epsg, ulx
    and uly (metres), the shares (float32, 0 to 1, null if unknown), labels (list of text), bbox and geometry
    (degrees), both only if footprints are known.
    """
    columns = summary.columns
    arrays = {"row": pa.array(summary.rows, pa.int64())}
    arrays |= {name: pa.array(columns[name], pa.string()) for name in ("patch", "tile", "product", "baseline", "split")}
    arrays["acquired"] = pa.array(columns["acquired"], pa.timestamp("s", tz="UTC"))
    arrays |= {name: pa.array(columns[name], kind) for name, kind in _PLACE}
    shares = [name for name in columns if name.endswith("_share")]
    arrays |= {name: pa.array(columns[name], pa.float32(), from_pandas=True) for name in shares}
    arrays["labels"] = pa.array(summary.labels, pa.list_(pa.string()))
    if summary.rings is None:
        return pa.table(arrays)
    arrays["bbox"] = _boxes(summary.rings)
    arrays["geometry"] = _as_wkb(summary.rings)
    return pa.table(arrays).replace_schema_metadata({b"geo": json.dumps(_geo(summary)).encode()})


_PLACE = (("epsg", pa.int32()), ("ulx", pa.float64()), ("uly", pa.float64()))

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _geo(summary: Summary) -> dict[str, object]:
    """What the file says of its geometry."""
    covering = {"bbox": {side: ["bbox", side] for side in _SIDES}}
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "orientation": "counterclockwise",
        "bbox": list(summary.bounds or ()),
        "covering": covering,
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}


def _boxes(rings: npt.NDArray[np.float64]) -> pa.StructArray:
    """West, south, east and north of each ring, by which readers skip row groups."""
    sides = np.concatenate((rings.min(axis=1), rings.max(axis=1)), axis=1)
    return pa.StructArray.from_arrays([pa.array(side) for side in sides.T], names=list(_SIDES))


def _as_wkb(rings: npt.NDArray[np.float64]) -> pa.BinaryArray:
    """Polygons of rings, (polygon, 5, 2), as well-known binary."""
    polygons = np.empty(len(rings), _POLYGON)
    polygons["order"], polygons["kind"], polygons["rings"], polygons["points"] = 1, 3, 1, 5
    polygons["ring"] = rings
    ends = np.arange(len(rings) + 1, dtype=np.int32) * _POLYGON.itemsize
    return pa.BinaryArray.from_buffers(pa.binary(), len(rings), [None, pa.py_buffer(ends), pa.py_buffer(polygons)])
