"""What a store holds: every array with its dimensions, type and attributes, the same for HDF5 and Zarr.

Pure description that knows neither format. One row is one patch; row order is (tile, acquisition, product, row j,
column i). Values are surface reflectance x 10,000 on the scale of processing baselines before 04.00, nodata 0,
saturated 65535.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, NODATA, SATURATED, SUPER_BANDS
from etl.labels import classes_of

__all__ = [
    "COMPLETE",
    "FLAGS",
    "REJECTED",
    "SCHEMA_VERSION",
    "SPLITS",
    "STATS",
    "UNWRITTEN",
    "WRITTEN",
    "DataSet",
    "Schema",
    "encoded",
    "schema_of",
]

SCHEMA_VERSION = "1"

UNWRITTEN, WRITTEN, REJECTED = 0, 1, 2
"""Values of `state`."""

SPLITS = ("none", "train", "val", "test")
"""Meanings of `split`: the value is the index."""

FLAGS = {"state": ("not_written", "written", "rejected"), "split": SPLITS}
"""CF flag meanings of the flag variables; the flag values are 0, 1, 2, ..."""

STATS = ("count", "sum", "sum_squares", "nodata", "saturated")
"""Exact integers of `stats/data_*/`, each (split, band, word): uint64 words, high before low.

`count`, `sum` and `sum_squares` leave nodata and saturated pixels out; those two are counted apart.
"""


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
        """Shape of one row, without the patch axis."""
        return self.shape[1:]


COMPLETE = DataSet("complete", (), (), "|u1", {"long_name": "1 once the run has finished"})
"""The scalar that is written last of all."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The data sets of a store of `rows` patches."""

    rows: int
    """Number of kept patches, N."""

    nomenclature: int = 43
    """Number of classes: 43 or 19."""

    upsampled: bool = True
    """Whether `data_super` is there."""

    name_bytes: int = 64
    """Length of `patch` in bytes."""

    product_bytes: int = 80
    """Length of `product` in bytes."""

    @property
    def pixels(self) -> tuple[DataSet, ...]:
        """The pixel data sets, in the order in which `checksum` runs over them."""
        sets = [
            _pixels(f"data_{g.name}", self.rows, g.patch_px, g.name, f"band_{g.name}", len(g.bands)) for g in GROUPS
        ]
        if self.upsampled:
            sets.append(_pixels("data_super", self.rows, GROUPS[0].patch_px, "10m", "band_super", len(SUPER_BANDS)))
        return tuple(sets)

    @property
    def identity(self) -> tuple[DataSet, ...]:
        """What is known of each patch before its pixels are read; written once, at creation."""
        n, attributes = self.rows, _IDENTITY_ATTRIBUTES
        kinds = {
            "patch": f"S{self.name_bytes}",
            "tile": "S5",
            "product": f"S{self.product_bytes}",
            "baseline": "S5",
            "acquired": "<i8",
            "epsg": "<i4",
            "ulx": "<f8",
            "uly": "<f8",
            "split": "|u1",
        }
        sets = [DataSet(name, ("patch",), (n,), kind, attributes.get(name, {})) for name, kind in kinds.items()]
        classes = DataSet(
            "classes",
            ("patch", "class"),
            (n, self.nomenclature),
            "|u1",
            {"long_name": "1 where the patch has the class"},
        )
        return (*sets, classes)

    @property
    def results(self) -> tuple[DataSet, ...]:
        """What is found out with the pixels, one value a row; `state` is written last."""
        n = self.rows
        share = {"units": "1", "valid_min": 0.0, "valid_max": 1.0}
        return (
            DataSet(
                "cloud_share", ("patch",), (n,), "<f4", {"long_name": "share of cloud and cloud shadow pixels", **share}
            ),
            DataSet("snow_share", ("patch",), (n,), "<f4", {"long_name": "share of snow pixels", **share}),
            DataSet("checksum", ("patch",), (n,), "<u8", {"long_name": "XXH3-64 over the row's pixel bytes"}),
            DataSet("state", ("patch",), (n,), "|u1", {"long_name": "state of the row"}),
        )

    @property
    def statistics(self) -> tuple[DataSet, ...]:
        """`stats/<pixels>/<statistic>`, each (split, band, word), uint64; the five of one pixel array together."""
        return tuple(
            DataSet(
                f"stats/{item.name}/{name}", ("split", item.dims[-1], "word"), (len(SPLITS), item.shape[-1], 2), "<u8"
            )
            for item in self.pixels
            for name in STATS
        )

    @property
    def statistics_coordinates(self) -> tuple[tuple[DataSet, tuple[str, ...]], ...]:
        """Coordinate variables of the statistics, in their own group, each with its values."""
        return tuple(
            (DataSet(f"stats/{dim}", (dim,), (len(values),), f"S{max(map(len, values))}"), values)
            for dim, values in (("split", SPLITS), ("word", ("high", "low")))
        )

    @property
    def row_bytes(self) -> int:
        """Bytes that one patch takes in all data sets over rows."""
        sets = (*self.pixels, *self.identity, *self.results)
        return sum(int(np.prod(item.row_shape)) * np.dtype(item.dtype).itemsize for item in sets)

    @property
    def coordinates(self) -> tuple[tuple[DataSet, tuple[object, ...]], ...]:
        """Coordinate variables of the dimensions that are not `patch`, each with its values."""
        out: list[tuple[DataSet, tuple[object, ...]]] = []
        for group in GROUPS:
            centres = tuple(group.gsd_m * (k + 0.5) for k in range(group.patch_px))
            for axis, sign, meaning in (("y", -1, "uly"), ("x", 1, "ulx")):
                attributes: dict[str, object] = {
                    "units": "m",
                    "long_name": f"pixel centre, from {meaning} of the patch",
                }
                values = tuple(sign * centre for centre in centres)
                name = f"{axis}_{group.name}"
                out.append((DataSet(name, (name,), (group.patch_px,), "<f4", attributes), values))
            out.append(_names(f"band_{group.name}", group.bands))
        if self.upsampled:
            out.append(_names("band_super", SUPER_BANDS))
        out.append(_names("class", classes_of(self.nomenclature)))
        return tuple(out)


class _Arrays(Container[str], Protocol):
    def __getitem__(self, name: str) -> Any: ...


def schema_of(arrays: _Arrays, where: object) -> Schema:
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
    return Schema(rows, classes, "data_super" in arrays, name_bytes, product_bytes)


def encoded(values: Sequence[object], dtype: str) -> npt.NDArray[Any]:
    """Values of a coordinate variable as an array of `dtype`, text as UTF-8 bytes."""
    return np.array([value.encode() if isinstance(value, str) else value for value in values], dtype)


_IDENTITY_ATTRIBUTES: dict[str, dict[str, object]] = {
    "patch": {"long_name": "name of the patch"},
    "tile": {"long_name": "MGRS tile"},
    "product": {"long_name": "Level-2A product read, or the patch archive's own"},
    "baseline": {"long_name": "processing baseline of the product read"},
    "acquired": {
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "proleptic_gregorian",
        "standard_name": "time",
    },
    "epsg": {"long_name": "EPSG code of the UTM projection"},
    "ulx": {"units": "m", "long_name": "easting of the upper left corner"},
    "uly": {"units": "m", "long_name": "northing of the upper left corner"},
    "split": {"long_name": "published split"},
}


def _pixels(name: str, rows: int, side: int, gsd: str, band_dim: str, bands: int) -> DataSet:
    attributes = {
        "long_name": "surface reflectance",
        "units": "1",
        "scale_factor": 1e-4,
        "nodata": np.uint16(NODATA),
        "saturated": np.uint16(SATURATED),
    }
    dims = ("patch", f"y_{gsd}", f"x_{gsd}", band_dim)
    return DataSet(name, dims, (rows, side, side, bands), "<u2", attributes)


def _names(dim: str, names: tuple[str, ...]) -> tuple[DataSet, tuple[object, ...]]:
    length = max(len(name.encode()) for name in names)
    return DataSet(dim, (dim,), (len(names),), f"S{length}", {}), names
