"""Schema of a store: every array with its dimensions, dtype and attributes, the same for HDF5 and Zarr.

It depends on neither format. One row is one patch; rows are in the order of (tile, acquisition, product, row and column
of the tile's patch grid). Values are surface reflectance x 10,000 on the scale of processing baselines before 04.00,
nodata 0, saturated 65535; in a store of image files, those of the files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.labels import CLASSES_19, CLASSES_43
from etl.pixel_groups import (
    IMAGES,
    NATIVE_GROUPS,
    SENTINEL1,
    SENTINEL1_GROUP,
    UPSAMPLED_GROUP,
    PixelGroup,
    only_array,
)

__all__ = [
    "COMPLETE",
    "DIGESTS",
    "DIGEST_PARTS",
    "FLAGS",
    "READABLE_VERSIONS",
    "REJECTED",
    "SCHEMA_VERSION",
    "SENTINEL1_VERSION",
    "SPLITS",
    "STATS",
    "UNWRITTEN",
    "WRITTEN",
    "DataSet",
    "RowSpan",
    "Schema",
    "encoded",
    "schema_of",
    "unknown_column",
]

SCHEMA_VERSION = "2"
"""Version of the schema of new stores. Version 1 has no `nodata_share`, and its shares are over all pixels."""

SENTINEL1_VERSION = "3"
"""Version of the schema of new stores with Sentinel-1: version 2 with `data_s1` and `s1_name`."""

READABLE_VERSIONS = ("1", SCHEMA_VERSION, SENTINEL1_VERSION)
"""Versions of the schema that are read, and whose interrupted runs are resumed."""

UNWRITTEN, WRITTEN, REJECTED = 0, 1, 2
"""Values of the array `state`."""

SPLITS = ("none", "train", "val", "test")
"""Meanings of the values of the array `split`: a value is an index into this."""

FLAGS = {"state": ("not_written", "written", "rejected"), "split": SPLITS}
"""CF flag meanings of the flag variables; the flag values are 0, 1, 2, ..."""

STATS = ("count", "sum", "sum_squares", "nodata", "saturated")
"""Exact integers of `stats/data_*/`, each (split, band, word): uint64 words, high before low.

`count`, `sum` and `sum_squares` leave nodata and saturated pixels out; those two are counted apart. Values of
`data_s1` are rounded to steps of 1/1024 dB, of which the words hold the sums, negative ones in two's complement; NaN is
nodata.
"""

DIGESTS = "digests/xxh3_64"
"""Name of the array of digests; stores of schema version 1 have none."""

DIGEST_PARTS = 64
"""Parts of equal length, along the first axis, into which an array is divided for its digests."""


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

    @property
    def nodata(self) -> int | None:
        """Pixel value that stands for "not observed"; None if every value is data."""
        return self._stated("nodata")

    @property
    def saturated(self) -> int | None:
        """Pixel value that stands for "beyond the sensor's range"; None if there is none."""
        return self._stated("saturated")

    def _stated(self, name: str) -> int | None:
        value: Any = self.attributes.get(name)
        return None if value is None else int(value)


COMPLETE = DataSet("complete", (), (), "|u1", {"long_name": "1 once the run has finished"})
"""A scalar array that is set to 1 after everything else is written."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The data sets of a store of `rows` patches."""

    rows: int
    """Number of patches."""

    class_names: tuple[str, ...] = CLASSES_43
    """Names of the classes, in the order of the class axis."""

    upsampled: bool = True
    """Whether `data_super` is there."""

    name_bytes: int = 64
    """Length of `patch` in bytes."""

    product_bytes: int = 80
    """Length of `product` in bytes."""

    version: str = SCHEMA_VERSION
    """One of `READABLE_VERSIONS`."""

    images: PixelGroup | None = None
    """The bands of the one pixel array, of image files or of another program; None for the groups of Sentinel-2."""

    sentinel1_bytes: int = 0
    """Length of `s1_name` in bytes; 0 if there is no Sentinel-1."""

    absent: frozenset[str] = frozenset()
    """Columns and coordinate variables that a store of another program lacks; `unknown_column` stands for a column."""

    @property
    def nomenclature(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def groups(self) -> tuple[PixelGroup, ...]:
        """The bands of each pixel array, in the order of `pixels`."""
        if self.images is not None:
            return (self.images,)
        upsampled = (UPSAMPLED_GROUP,) if self.upsampled else ()
        return (*NATIVE_GROUPS, *upsampled, *((SENTINEL1_GROUP,) if self.sentinel1_bytes else ()))

    @property
    def pixels(self) -> tuple[DataSet, ...]:
        """The pixel data sets, in the order in which `checksum` runs over them; shape (patch, row, col, band)."""
        return tuple(
            DataSet(
                f"data_{group.name}",
                ("patch", f"y_{group.grid}", f"x_{group.grid}", f"band_{group.name}"),
                (self.rows, *group.size_px, len(group.bands)),
                group.dtype,
                group.attributes,
            )
            for group in self.groups
        )

    @property
    def optical(self) -> tuple[DataSet, ...]:
        """Those of `pixels` that hold pixels as read from products, patches or image files; without Sentinel-1."""
        if self.images is not None:
            return self.pixels
        return tuple(item for item in self.pixels if item.name not in (f"data_{UPSAMPLED_GROUP.name}", SENTINEL1))

    @property
    def identity(self) -> tuple[DataSet, ...]:
        """Columns that are known before any pixel is read; written when the store is created."""
        column = partial(_column, self.rows)
        time = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "proleptic_gregorian"}
        paired = "name of the patch of Sentinel-1, empty if there is none"
        classes_text: dict[str, object] = {"long_name": "1 where the patch has the class"}
        if self.class_names not in (CLASSES_43, CLASSES_19, ()):
            classes_text["class_names"] = list(self.class_names)
        return self._present(
            column("patch", f"S{self.name_bytes}", long_name="name of the patch"),
            column("tile", "S5", long_name="MGRS tile"),
            column("acquired", "<i8", **time, standard_name="time"),
            column("epsg", "<i4", long_name="EPSG code of the UTM projection"),
            column("ulx", "<f8", units="m", long_name="easting of the upper left corner"),
            column("uly", "<f8", units="m", long_name="northing of the upper left corner"),
            column("split", "|u1", long_name="published split"),
            *((column("s1_name", f"S{self.sentinel1_bytes}", long_name=paired),) if self.sentinel1_bytes else ()),
            DataSet("classes", ("patch", "class"), (self.rows, self.nomenclature), "|u1", classes_text),
        )

    @property
    def results(self) -> tuple[DataSet, ...]:
        """Columns that are known once a row's pixels were read, one value for each row; `state` is written last."""
        column = partial(_column, self.rows)
        share = {"units": "1", "valid_min": 0.0, "valid_max": 1.0}
        nodata = column("nodata_share", "<f4", long_name="share of pixels without data in at least one band", **share)
        return self._present(
            column("product", f"S{self.product_bytes}", long_name="Level-2A product read, or the patch archive's own"),
            column("baseline", "S5", long_name="processing baseline of the product read"),
            *(() if self.version == "1" else (nodata,)),
            column("cloud_share", "<f4", long_name="share of cloud and cloud shadow among pixels with data", **share),
            column("snow_share", "<f4", long_name="share of snow among pixels with data", **share),
            column("checksum", "<u8", long_name="XXH3-64 over the row's pixel bytes"),
            column("state", "|u1", long_name="state of the row"),
        )

    def _present(self, *items: DataSet) -> tuple[DataSet, ...]:
        return tuple(item for item in items if item.name not in self.absent)

    @property
    def statistics(self) -> tuple[DataSet, ...]:
        """`stats/<pixels>/<statistic>`, each (split, band, word), uint64; the five of one pixel array together."""
        splits = len(SPLITS)
        return tuple(
            DataSet(
                f"stats/{item.name}/{name}",
                ("split", item.dims[-1], "word"),
                (splits, item.shape[-1], 2),
                "<u8",
                {"units": _STEP_UNITS[name], "long_name": _STEP_TEXT} if _is_stepped(item.name, name) else {},
            )
            for item in self.pixels
            for name in STATS
        )

    @property
    def statistics_coordinates(self) -> tuple[tuple[DataSet, tuple[str, ...]], ...]:
        """Coordinate variables of the statistics, in their own group, dtype bytes, each with its values."""
        return _names("split", SPLITS, "stats/"), _names("word", ("high", "low"), "stats/")

    @property
    def digested(self) -> tuple[DataSet, ...]:
        """The arrays that have digests: all but pixels, coordinate variables, `complete` and the digests."""
        return (*self.identity, *self.results, *self.statistics)

    @property
    def digests(self) -> tuple[DataSet, ...]:
        """The array of digests, if stores of this version have one: (array as in `digested`, part), uint64."""
        item = DataSet(DIGESTS, ("array", "part"), (len(self.digested), DIGEST_PARTS), "<u8")
        return () if self.version == "1" else (item,)

    @property
    def digest_coordinates(self) -> tuple[tuple[DataSet, tuple[object, ...]], ...]:
        """Coordinate variables of `digests`, in their own group, each with its values."""
        part = DataSet("digests/part", ("part",), (DIGEST_PARTS,), "|u1"), tuple(range(DIGEST_PARTS))
        return (_names("array", tuple(item.name for item in self.digested), "digests/"), part) if self.digests else ()

    @property
    def row_bytes(self) -> int:
        """Size of one patch in all arrays with a patch axis, in bytes."""
        sets = (*self.pixels, *self.identity, *self.results)
        return sum(int(np.prod(item.row_shape)) * np.dtype(item.dtype).itemsize for item in sets)

    @property
    def coordinates(self) -> tuple[tuple[DataSet, tuple[object, ...]], ...]:
        """Coordinate variables of all dimensions but `patch`, each with its values: pixel centres in metres, names."""
        out: dict[str, tuple[DataSet, tuple[object, ...]]] = {}
        for group in self.groups:
            for axis, centres, attributes in zip("yx", group.pixel_centres, group.centre_attributes, strict=True):
                name = f"{axis}_{group.grid}"
                out.setdefault(name, (DataSet(name, (name,), (len(centres),), "<f4", attributes), centres))
            out[f"band_{group.name}"] = _names(f"band_{group.name}", group.bands)
        every = (*out.values(), _names("class", self.class_names))
        return tuple((item, values) for item, values in every if item.name not in self.absent)


def schema_of(arrays: Mapping[str, Any], where: object, text: Callable[[str], tuple[str, ...]] | None = None) -> Schema:
    """Schema of the store at `where`, from its arrays by name, each with `shape`, `dtype` and `attrs` (attributes).

    Attributes are read of the pixel array of a store of image files, and of `classes`; `text` gives the values of a
    coordinate variable of names, for a store of another program, which need not have these attributes.

    Raises:
        ValueError: these are not the arrays of a store.
    """
    only = only_array(arrays)
    pixels = (only,) if only else tuple(f"data_{group.name}" for group in NATIVE_GROUPS)
    is_extracted = not only or not {"product", "checksum"}.isdisjoint(arrays)
    columns = ("classes", "patch", "product", "state") if is_extracted else ("classes", "patch", "split", "state")
    missing = [name for name in (*pixels, *columns) if name not in arrays]
    if missing:
        raise ValueError(f"{where} must be a store of etl.extract; it has no {', '.join(missing)}")
    rows, classes = arrays["classes"].shape
    name_bytes = arrays["patch"].dtype.itemsize
    product_bytes = arrays["product"].dtype.itemsize if is_extracted else 1
    sentinel1_bytes = arrays["s1_name"].dtype.itemsize if SENTINEL1 in arrays and "s1_name" in arrays else 0
    version = "1" if "nodata_share" not in arrays else SENTINEL1_VERSION if sentinel1_bytes else SCHEMA_VERSION
    stated = tuple(map(str, arrays["classes"].attrs.get("class_names", ())))
    if only and not stated and "class" in arrays and text is not None:
        stated = text("class")
    class_names = stated or {0: (), len(CLASSES_19): CLASSES_19}.get(classes, CLASSES_43)
    if len(class_names) != classes:
        raise ValueError(f"{where} must name its {classes} classes in the attribute class_names of the array classes")
    images = _only_group(only, arrays, where, text) if only else None
    upsampled = f"data_{UPSAMPLED_GROUP.name}" in arrays and not only
    schema = Schema(rows, class_names, upsampled, name_bytes, product_bytes, version, images, sentinel1_bytes)
    if is_extracted:
        return schema
    coordinates = (item for item, _ in schema.coordinates)
    names = {item.name for item in (*schema.identity, *schema.results, *coordinates)}
    return replace(schema, absent=frozenset(names - set(arrays)))


def unknown_column(item: DataSet) -> npt.NDArray[Any]:
    """What stands for a column that a store of another program lacks: empty text, NaN, no EPSG code, no time."""
    values: dict[str, Any] = {"f": np.nan, "S": b"", "i": 0, "u": 0}
    value = np.datetime64("NaT").astype(np.int64) if item.name == "acquired" else values[np.dtype(item.dtype).kind]
    return np.full(item.shape, value, item.dtype)


def _only_group(
    name: str, arrays: Mapping[str, Any], where: object, text: Callable[[str], tuple[str, ...]] | None
) -> PixelGroup:
    """The group of the one pixel array of a store of image files, or of another program."""
    array, group = arrays[name], name.removeprefix("data_")
    bands, nodata = tuple(map(str, array.attrs.get("bands", ()))), array.attrs.get("nodata")
    if not bands and text is not None and f"band_{group}" in arrays:
        bands = text(f"band_{group}")
    if len(array.shape) != 4 or len(bands) != array.shape[-1]:
        raise ValueError(f"{where}: {name} must be (patch, row, col, band) and name its bands in the attribute bands")
    if name != IMAGES:
        values = {"nodata": array.dtype.type(NODATA), "saturated": np.uint16(SATURATED)}
        return PixelGroup(group, group, array.shape[1:3], bands, None, array.dtype.str, values)
    in_files, stated = tuple(map(str, array.attrs.get("bands_in_files", ()))), None if nodata is None else int(nodata)
    return PixelGroup.of_images(array.shape[1:3], bands, array.dtype.str, stated, in_files)


_STEP_UNITS = {"sum": "dB / 1024", "sum_squares": "(dB / 1024)^2"}
_STEP_TEXT = "two words of one signed integer of 128 bits, in two's complement"


def _is_stepped(pixels: str, statistic: str) -> bool:
    """Whether a statistic is one of steps of dB."""
    return pixels == SENTINEL1 and statistic in _STEP_UNITS


def encoded(values: Sequence[object], dtype: str) -> npt.NDArray[Any]:
    """Values of a coordinate variable as an array of `dtype`, text as UTF-8 bytes."""
    return np.array([value.encode() if isinstance(value, str) else value for value in values], dtype)


def _column(rows: int, name: str, dtype: str, **attributes: object) -> DataSet:
    return DataSet(name, ("patch",), (rows,), dtype, attributes)


def _names(dim: str, names: tuple[str, ...], group: str = "") -> tuple[DataSet, tuple[str, ...]]:
    longest = max((len(name.encode()) for name in names), default=1)
    return DataSet(f"{group}{dim}", (dim,), (len(names),), f"S{longest}"), names
