"""The bands of each pixel array of a store: size, type, names and attributes; of satellites and of image files."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etl.bands import GROUPS, NODATA, SATURATED, SUPER_BANDS, Group

__all__ = [
    "GSD_M",
    "IMAGES",
    "MOST_DB",
    "NATIVE_GROUPS",
    "SENTINEL1",
    "SENTINEL1_GROUP",
    "STEPS_PER_DB",
    "UPSAMPLED_GROUP",
    "PixelGroup",
    "only_array",
    "true_colour_of",
]

IMAGES = "data_images"
"""Name of the one pixel array of a store that was made from image files, one file a patch."""


@dataclass(frozen=True, slots=True)
class PixelGroup:
    """Bands of one size and type that are stored as one pixel array."""

    name: str
    """Suffix of the array, data_<name>, and of its band dimension, band_<name>."""

    grid: str
    """Suffix of its spatial dimensions, y_<grid> and x_<grid>."""

    size_px: tuple[int, int]
    """(rows, columns) of a patch."""

    bands: tuple[str, ...]
    """Band names in the order of the last axis."""

    gsd_m: int | None = None
    """Ground sample distance in m; None if it is unknown."""

    dtype: str = "<u2"
    """numpy type of the pixels: `<u2`, `|u1` or `<f4`."""

    attributes: dict[str, object] = field(default_factory=dict)
    """CF attributes of the array."""

    @classmethod
    def of_images(
        cls,
        size_px: tuple[int, int],
        bands: tuple[str, ...],
        dtype: str,
        nodata: int | None,
        in_files: tuple[str, ...] = (),
    ) -> "PixelGroup":
        """The bands of image files, (rows, columns) px; a value is nodata only if the files state one.

        `in_files`: names of the bands in the files, in the order of `bands`; empty if the files state none.
        """
        kind = np.dtype(dtype)
        stated: dict[str, object] = {} if nodata is None else {"nodata": kind.type(nodata)}
        stated |= {"bands_in_files": list(in_files)} if in_files and in_files != bands else {}
        attributes = {"long_name": "pixel values as in the image files", "bands": list(bands), **stated}
        return cls(IMAGES.removeprefix("data_"), "images", size_px, bands, None, kind.str, attributes)

    @property
    def true_colour(self) -> list[int]:
        """See `true_colour_of`."""
        return true_colour_of(self.bands)

    @property
    def nodata(self) -> int | None:
        """Pixel value that stands for "not observed"; None if every value is data."""
        value: Any = self.attributes.get("nodata")
        return None if value is None else int(value)

    @property
    def bands_in_files(self) -> tuple[str, ...]:
        """Names of the bands in the image files, in the order of `bands`; band_<number> if the files state none."""
        stated: Any = self.attributes.get("bands_in_files", self.bands)
        return tuple(map(str, stated))

    def to_record(self) -> dict[str, Any]:
        """Size, type, bands and nodata value in JSON's types."""
        return {"size_px": list(self.size_px), "bands": list(self.bands), "dtype": self.dtype, "nodata": self.nodata}

    @property
    def pixel_centres(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Pixel centres along the two axes: metres from the upper left corner, or pixels if their size is unknown."""
        y_step, x_step = (1, 1) if self.gsd_m is None else (-self.gsd_m, self.gsd_m)
        rows, columns = self.size_px
        return tuple(y_step * (k + 0.5) for k in range(rows)), tuple(x_step * (k + 0.5) for k in range(columns))

    @property
    def centre_attributes(self) -> tuple[dict[str, object], dict[str, object]]:
        """CF attributes of `pixel_centres`."""
        if self.gsd_m is None:
            text = "pixel centre in pixels, from the upper left corner of the patch"
            return {"long_name": text}, {"long_name": text}
        y, x = ({"units": "m", "long_name": f"pixel centre, from {corner} of the patch"} for corner in ("uly", "ulx"))
        return dict(y), dict(x)


def true_colour_of(bands: Sequence[str]) -> list[int]:
    """Index of the bands to show in red, green and blue: B04 B03 B02 or R G B, else the first three, else one."""
    for names in (("B04", "B03", "B02"), ("R", "G", "B"), ("red", "green", "blue")):
        if set(names) <= set(bands):
            return [bands.index(name) for name in names]
    return [0, 1, 2] if len(bands) > 2 else [0, 0, 0]


_REFLECTANCE: dict[str, object] = {
    "long_name": "surface reflectance",
    "units": "1",
    "scale_factor": 1e-4,
    "nodata": np.uint16(NODATA),
    "saturated": np.uint16(SATURATED),
}


def _sentinel2_group(name: str, grid: Group, bands: tuple[str, ...]) -> PixelGroup:
    return PixelGroup(name, grid.name, (grid.patch_px, grid.patch_px), bands, grid.gsd_m, "<u2", _REFLECTANCE)


NATIVE_GROUPS = tuple(_sentinel2_group(group.name, group, group.bands) for group in GROUPS)
"""The bands of `data_10m`, `data_20m` and `data_60m`."""

UPSAMPLED_GROUP = _sentinel2_group("super", GROUPS[0], SUPER_BANDS)
"""All bands at 10 m, `data_super`."""


def only_array(arrays: Collection[str]) -> str | None:
    """The one pixel array, of those with these names, of a store of image files or of another program, else None.

    Another program can name it `data_images`, too, or write `data_super` without the arrays it was upsampled from.
    """
    upsampled = f"data_{UPSAMPLED_GROUP.name}"
    if IMAGES in arrays:
        return IMAGES
    native = any(f"data_{group.name}" in arrays for group in NATIVE_GROUPS)
    return upsampled if upsampled in arrays and not native else None


SENTINEL1 = "data_s1"
"""Name of the pixel array of Sentinel-1."""

SENTINEL1_GROUP = PixelGroup(
    SENTINEL1.removeprefix("data_"),
    GROUPS[0].name,
    (GROUPS[0].patch_px, GROUPS[0].patch_px),
    ("VV", "VH"),
    GROUPS[0].gsd_m,
    "<f4",
    {"long_name": "backscatter of Sentinel-1, NaN where there is none", "units": "dB"},
)
"""The two polarisations of Sentinel-1."""

GSD_M = {f"data_{group.name}": group.gsd_m for group in (*NATIVE_GROUPS, UPSAMPLED_GROUP, SENTINEL1_GROUP)}
"""Ground sample distance in m by pixel array; image files do not tell theirs."""

MOST_DB = 512
"""Backscatter must be between this and its negative, in dB; the Earth's is between -60 and 30."""

STEPS_PER_DB = 1024
"""Steps in 1 dB, of which statistics of backscatter are sums."""
