"""Schema of a store: every array with its dimensions, dtype and attributes, the same for HDF5 and Zarr.

It depends on neither format. One row is one patch; rows are in the order of (tile, acquisition, product, row and column
of the tile's patch grid). Values are surface reflectance x 10,000 on the scale of processing baselines before 04.00,
nodata 0, saturated 65535.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, NODATA, SATURATED, SUPER_BANDS
from etl.labels import classes_of

__all__ = [
    "COMPLETE",
    "FLAGS",
    "READABLE_VERSIONS",
    "REJECTED",
    "SCHEMA_VERSION",
    "SPLITS",
    "STATS",
    "UNWRITTEN",
    "WRITTEN",
    "DataSet",
    "RowSpan",
    "Schema",
    "encoded",
    "schema_of",
]

SCHEMA_VERSION = "2"
"""Version of the schema of new stores. Version 1 has no `nodata_share`, and its shares are over all pixels."""

READABLE_VERSIONS = ("1", SCHEMA_VERSION)
"""Versions of the schema that are read, and whose interrupted runs are resumed."""

UNWRITTEN, WRITTEN, REJECTED = 0, 1, 2
"""Values of the array `state`."""

SPLITS = ("none", "train", "val", "test")
"""Meanings of the values of the array `split`: a value is an index into this."""

FLAGS = {"state": ("not_written", "written", "rejected"), "split": SPLITS}
"""CF flag meanings of the flag variables; the flag values are 0, 1, 2, ..."""

STATS = ("count", "sum", "sum_squares", "nodata", "saturated")
"""Exact integers of `stats/data_*/`, each (split, band, word): uint64 words, high before low.

`count`, `sum` and `sum_squares` leave nodata and saturated pixels out; those two are counted apart.
"""


class RowSpan(NamedTuple):
    """Neighbouring store rows [first, stop); empty if first = stop."""

    first: int
    stop: int

    @property
    def empty(self) -> bool:
        """Whether it holds no row."""
        return self.first == self.stop


@dataclass(frozen=True, slots=True)
class DataSet:
    """One array of the store."""

    name: str
    """Name below the root."""

    dims: tuple[str, ...]
    """Dimension names, slowest first."""

    shape: tuple[int, ...]
    """Length along each of `dims`."""

    dtype: str
    """numpy type, little-endian; `S…` are null-padded UTF-8 bytes."""

    attributes: dict[str, object] = field(default_factory=dict)
    """CF attributes."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row, without the patch axis: for pixels (row, col, band)."""
        return self.shape[1:]


COMPLETE = DataSet("complete", (), (), "|u1", {"long_name": "1 once the run has finished"})
"""A scalar array that is set to 1 after everything else is written."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The data sets of a store of `rows` patches."""

    rows: int
    """Number of patches."""

    nomenclature: int = 43
    """Number of classes: 43 or 19."""

    upsampled: bool = True
    """Whether `data_super` is there."""

    name_bytes: int = 64
    """Length of `patch` in bytes."""

    product_bytes: int = 80
    """Length of `product` in bytes."""

    version: str = SCHEMA_VERSION
    """One of `READABLE_VERSIONS`."""

    @property
    def pixels(self) -> tuple[DataSet, ...]:
        """The pixel data sets, in the order in which `checksum` runs over them; shape (patch, row, col, band)."""
        native = [self._pixels(group.name, group.name, group.patch_px, group.bands) for group in GROUPS]
        upsampled = [self._pixels("super", GROUPS[0].name, GROUPS[0].patch_px, SUPER_BANDS)] if self.upsampled else []
        return (*native, *upsampled)

    def _pixels(self, name: str, grid: str, side_px: int, bands: tuple[str, ...]) -> DataSet:
        attributes = {
            "long_name": "surface reflectance",
            "units": "1",
            "scale_factor": 1e-4,
            "nodata": np.uint16(NODATA),
            "saturated": np.uint16(SATURATED),
        }
        dims = ("patch", f"y_{grid}", f"x_{grid}", f"band_{name}")
        return DataSet(f"data_{name}", dims, (self.rows, side_px, side_px, len(bands)), "<u2", attributes)

    @property
    def identity(self) -> tuple[DataSet, ...]:
        """Columns that are known before any pixel is read; written when the store is created."""
        column = partial(_column, self.rows)
        time = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "proleptic_gregorian"}
        classes_text: dict[str, object] = {"long_name": "1 where the patch has the class"}
        return (
            column("patch", f"S{self.name_bytes}", long_name="name of the patch"),
            column("tile", "S5", long_name="MGRS tile"),
            column("acquired", "<i8", **time, standard_name="time"),
            column("epsg", "<i4", long_name="EPSG code of the UTM projection"),
            column("ulx", "<f8", units="m", long_name="easting of the upper left corner"),
            column("uly", "<f8", units="m", long_name="northing of the upper left corner"),
            column("split", "|u1", long_name="published split"),
            DataSet("classes", ("patch", "class"), (self.rows, self.nomenclature), "|u1", classes_text),
        )

    @property
    def results(self) -> tuple[DataSet, ...]:
        """Columns that are known once a row's pixels were read, one value for each row; `state` is written last."""
        column = partial(_column, self.rows)
        share = {"units": "1", "valid_min": 0.0, "valid_max": 1.0}
        nodata = column("nodata_share", "<f4", long_name="share of pixels without data in at least one band", **share)
        return (
            column("product", f"S{self.product_bytes}", long_name="Level-2A product read, or the patch archive's own"),
            column("baseline", "S5", long_name="processing baseline of the product read"),
            *(() if self.version == "1" else (nodata,)),
            column("cloud_share", "<f4", long_name="share of cloud and cloud shadow among pixels with data", **share),
            column("snow_share", "<f4", long_name="share of snow among pixels with data", **share),
            column("checksum", "<u8", long_name="XXH3-64 over the row's pixel bytes"),
            column("state", "|u1", long_name="state of the row"),
        )

    @property
    def statistics(self) -> tuple[DataSet, ...]:
        """`stats/<pixels>/<statistic>`, each (split, band, word), uint64; the five of one pixel array together."""
        splits = len(SPLITS)
        return tuple(
            DataSet(f"stats/{item.name}/{name}", ("split", item.dims[-1], "word"), (splits, item.shape[-1], 2), "<u8")
            for item in self.pixels
            for name in STATS
        )

    @property
    def statistics_coordinates(self) -> tuple[tuple[DataSet, tuple[str, ...]], ...]:
        """Coordinate variables of the statistics, in their own group, dtype bytes, each with its values."""
        return _names("split", SPLITS, "stats/"), _names("word", ("high", "low"), "stats/")

    @property
    def row_bytes(self) -> int:
        """Size of one patch in all arrays with a patch axis, in bytes."""
        sets = (*self.pixels, *self.identity, *self.results)
        return sum(int(np.prod(item.row_shape)) * np.dtype(item.dtype).itemsize for item in sets)

    @property
    def coordinates(self) -> tuple[tuple[DataSet, tuple[object, ...]], ...]:
        """Coordinate variables of all dimensions but `patch`, each with its values: pixel centres in metres, names."""
        out: list[tuple[DataSet, tuple[object, ...]]] = []
        for group in GROUPS:
            centres = tuple(group.gsd_m * (k + 0.5) for k in range(group.patch_px))
            for axis, sign, corner in (("y", -1, "uly"), ("x", 1, "ulx")):
                name, text = f"{axis}_{group.name}", f"pixel centre, from {corner} of the patch"
                item = DataSet(name, (name,), (group.patch_px,), "<f4", {"units": "m", "long_name": text})
                out.append((item, tuple(sign * centre for centre in centres)))
            out.append(_names(f"band_{group.name}", group.bands))
        if self.upsampled:
            out.append(_names("band_super", SUPER_BANDS))
        return (*out, _names("class", classes_of(self.nomenclature)))


def schema_of(arrays: Mapping[str, Any], where: object) -> Schema:
    """Schema of the store at `where`, from its arrays by name, each with a `shape` and a `dtype`.

    Raises:
        ValueError: these are not the arrays of a store.
    """
    needed = ("data_10m", "data_20m", "data_60m", "classes", "patch", "product", "state")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"{where} must be a store of etl.extract; it has no {', '.join(missing)}")
    rows, classes = arrays["classes"].shape
    name_bytes, product_bytes = arrays["patch"].dtype.itemsize, arrays["product"].dtype.itemsize
    version = SCHEMA_VERSION if "nodata_share" in arrays else "1"
    return Schema(rows, classes, "data_super" in arrays, name_bytes, product_bytes, version)


def encoded(values: Sequence[object], dtype: str) -> npt.NDArray[Any]:
    """Values of a coordinate variable as an array of `dtype`, text as UTF-8 bytes."""
    return np.array([value.encode() if isinstance(value, str) else value for value in values], dtype)


def _column(rows: int, name: str, dtype: str, **attributes: object) -> DataSet:
    return DataSet(name, ("patch",), (rows,), dtype, attributes)


def _names(dim: str, names: tuple[str, ...], group: str = "") -> tuple[DataSet, tuple[str, ...]]:
    return DataSet(f"{group}{dim}", (dim,), (len(names),), f"S{max(len(name.encode()) for name in names)}"), names
