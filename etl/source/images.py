"""Read patches from image files, one a patch: GeoTIFF, JPEG 2000, PNG, JPEG or BMP, of one size, type and bands."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.grid import PixelWindow
from etl.input_files import NO_LINKS, Links, check_link, fault_text
from etl.pixel_groups import PixelGroup
from etl.raster import RasterError, RasterFile
from etl.source.block import OutgoingBlock
from etl.source.interface import SourcePatch
from etl.source.patch import Patch, PatchError
from etl.source.unit_guard import SlowUnitError, UnitError, UnitGuard
from etl.source.warning import SourceWarning
from etl.stage_timer import StageTimer

__all__ = ["ImagePatches", "PlacedImage", "detect_group", "read_image"]

_DTYPES = {"Byte": "uint8", "UInt16": "uint16"}
"""numpy's name of each pixel type that a store can hold, by GDAL's."""

_PROBED_FILES = 32
"""Readable files of which the commonest size and type become the archive's."""


_MOST_PATCH_BYTES = 1 << 30
"""Most bytes of the pixels of one file, of which a rank holds several in memory: a header can claim any size."""

_UNUSED_PLACE = "files with a georeference that the table does not give, so that their places stay unknown in the store"

_JPEG_2000 = (".jp2", ".j2k", ".j2c", ".jpc", ".jpx")
"""Suffixes of files that can take very long to decode, whatever their size."""

_COLOURS = {3: "R", 4: "G", 5: "B", 6: "A"}
"""Letter of each colour, by GDAL's number of the meaning of a band."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image file, and where the catalogue says that it lies."""

    path: Path
    """The file, below the source."""

    epsg: int = 0
    """EPSG code of the projection; 0 if unknown."""

    ulx: float = math.nan
    """Easting of the upper left corner in m; NaN if unknown."""

    uly: float = math.nan
    """Northing of the upper left corner in m; NaN if unknown."""

    @property
    def is_placed(self) -> bool:
        """Whether the catalogue gives any of it."""
        return bool(self.epsg) or not (math.isnan(self.ulx) and math.isnan(self.uly))


class ImageFile(RasterFile):
    """All bands of an open raster file; whatever GDAL says while decoding them is an error."""

    def __init__(self, path: Path, links: Links) -> None:
        """Args: `links`: where links may lead.

        Raises:
            RasterError: as `RasterFile`, or a link leads elsewhere.
        """
        try:
            super().__init__(check_link(str(path), links), any_message=True)
        except RasterError:
            raise
        except Exception as error:  # one file must not end the run
            raise RasterError(f"{path} cannot be opened: {fault_text(error)}") from None

    @property
    def band_count(self) -> int:
        """Number of bands."""
        return int(self._file.RasterCount)

    @property
    def stated_bands(self) -> tuple[tuple[str, ...], ...]:
        """Names of the bands that the file states: their descriptions; and R, G, B or A by their colours.

        Either is there only if it gives every band another name.

        Raises:
            RasterError: pixels are indices into a colour table.
        """
        bands = [self._file.GetRasterBand(k + 1) for k in range(self._file.RasterCount)]
        if any(band.GetColorTable() is not None for band in bands):
            raise RasterError(
                f"{self.path} must hold pixel values, got indices into a colour table; convert it with "
                "gdal_translate -expand rgb"
            )
        described = tuple(band.GetDescription() for band in bands)
        coloured = tuple(_COLOURS.get(band.GetColorInterpretation(), "") for band in bands)
        return tuple(names for names in (described, coloured) if all(names) and len(set(names)) == len(names))

    def require_place(self, place: PlacedImage) -> None:
        """Compare the file's georeference, where it has one, with what the catalogue gives.

        Raises:
            RasterError: the projection is another, or the corner differs by half a pixel or more.
        """
        transform, projection = self.transform, self.projection
        epsg = f"EPSG:{place.epsg}" if place.epsg else ""
        good = not (epsg and projection) or projection == epsg
        if transform is not None:
            good &= not abs(transform[0] - place.ulx) >= abs(transform[1]) / 2  # of NaN this is true
            good &= not abs(transform[3] - place.uly) >= abs(transform[5]) / 2
        if not good:
            corner = "no corner" if transform is None else f"{transform[0]:.10g}, {transform[3]:.10g}"
            raise RasterError(
                f"{self.path} must lie at {place.ulx:.10g}, {place.uly:.10g} in {epsg or 'any projection'}, as in the "
                f"catalogue, got {corner} in {projection or 'no projection'}"
            )

    @property
    def nodata(self) -> int | None:
        """Value of a pixel without data; None if the file states none that its type can hold."""
        value, most = self._band.GetNoDataValue(), 255 if self.dtype == "Byte" else 65535
        return int(value) if value is not None and 0 <= value <= most and value % 1 == 0 else None


@dataclass(frozen=True, slots=True)
class _Format:
    """What all files of an archive must have in common."""

    shape: tuple[int, int]
    """(rows, columns)."""

    bands: int
    """Number of bands."""

    dtype: str
    """numpy's name of the pixel type, or GDAL's of one that a store cannot hold."""

    nodata: int | None
    """Value of a pixel without data; None if the file states none."""

    @classmethod
    def of(cls, file: ImageFile) -> "_Format":
        return cls(file.shape, file.band_count, _DTYPES.get(file.dtype, file.dtype), file.nodata)

    @property
    def size_bytes(self) -> int:
        """Bytes of all pixels, of a type that a store can hold."""
        return self.shape[0] * self.shape[1] * self.bands * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        nodata = "no nodata value" if self.nodata is None else f"nodata value {self.nodata}"
        rows, columns = self.shape
        return f"{rows} x {columns} pixels of {self.dtype} in {self.bands} band{'s' * (self.bands > 1)}, {nodata}"


def detect_group(paths: Iterable[Path], names: Sequence[str] = (), links: Links = NO_LINKS) -> PixelGroup:
    """The bands of an archive of image files: size, type and nodata value that most of the first readable ones have.

    `names`: names of the bands; if empty, those that most of these files state, else band_<number>. `links`: where
    links may lead.

    Raises:
        ValueError: no file can be read, or `names` are not as many as the bands.
    """
    problems: list[str] = []
    formats = list(islice(_formats(paths, links, problems), _PROBED_FILES))
    if not formats:
        raise ValueError(f"no file of the catalogue can be read; the first: {problems[0]}")
    common = Counter(file for file, _ in formats).most_common(1)[0][0]
    stated = Counter(bands for file, bands in formats if file == common and bands).most_common(1)
    in_files = stated[0][0] if stated else _numbered(common.bands)
    bands = tuple(names) or in_files
    if len(bands) != common.bands or len(set(bands)) < len(bands):
        raise ValueError(f"--bands must name {common.bands} different bands, got {', '.join(bands)}")
    return PixelGroup.of_images(common.shape, bands, common.dtype, common.nodata, in_files if stated else ())


def _formats(paths: Iterable[Path], links: Links, problems: list[str]) -> Iterator[tuple[_Format, tuple[str, ...]]]:
    """Format and band names of each readable file of a type that a store can hold; others are added to `problems`.

    The names are the descriptions of the bands, else their colours; empty if the file states neither.
    """
    for path in paths:
        try:
            file = ImageFile(path, links)
            found, stated = _Format.of(file), file.stated_bands
        except RasterError as error:
            problems.append(str(error))
            continue
        if found.dtype not in _DTYPES.values():
            problems.append(f"{path} must be of uint8 or uint16, got {found.dtype}")
        elif found.size_bytes > _MOST_PATCH_BYTES:
            problems.append(f"{path} must hold at most {_MOST_PATCH_BYTES} bytes of pixels, got {found.size_bytes}")
        else:
            yield found, next(iter(stated), ())


def read_image(path: Path, group: PixelGroup, out: npt.NDArray[Any], links: Links) -> ImageFile:
    """Read all bands of a file into `out`, shape (band, row, col), uint8 or uint16, in the order of `group`.

    `links`: where links may lead. Returns the open file.

    Raises:
        RasterError: it cannot be read, or is not of the size, type, bands and nodata value of `group`.
    """
    wanted = _Format(group.size_px, len(group.bands), np.dtype(group.dtype).name, group.nodata)
    file = ImageFile(path, links)
    found = _Format.of(file)
    if found != wanted:
        raise RasterError(f"{path} must be {wanted}, as most files are, got {found}")
    order = _band_order(file, group)
    file.read(PixelWindow(0, 0, *group.size_px), out)
    if order != sorted(order):
        out[:] = out[order]
    return file


def _band_order(file: ImageFile, group: PixelGroup) -> list[int]:
    """Index in the file of each band of `group`; as they are if the file or most files state no names of that kind.

    Raises:
        RasterError: the file describes other bands than most files, and --bands does not name them.
    """
    wanted, stated = group.bands_in_files, file.stated_bands
    for names in stated:
        if set(names) == set(wanted):
            return [names.index(name) for name in wanted]
    described = next((names for names in stated if not _are_colours(names)), ())
    most_described = wanted == group.bands and wanted != _numbered(len(wanted)) and not _are_colours(wanted)
    if described and most_described:
        raise RasterError(
            f"{file.path} must have the bands {', '.join(wanted)}, got {', '.join(described)}; if only the names "
            "differ, name them with --bands"
        )
    return list(range(len(wanted)))


def _are_colours(names: Sequence[str]) -> bool:
    return set(names) <= set(_COLOURS.values())


def _numbered(bands: int) -> tuple[str, ...]:
    return tuple(f"band_{k + 1}" for k in range(bands))


class ImagePatches:
    """`PatchSource` of one rank that reads image files."""

    def __init__(
        self,
        rows: Sequence[int],
        files: Sequence[PlacedImage],
        group: PixelGroup,
        links: Links = NO_LINKS,
        timer: StageTimer | None = None,
        guard: UnitGuard | None = None,
    ) -> None:
        """Args: `files`, one for each store row of `rows`; `group`: what every file must hold; where links may lead.

        Seconds are added to `decode_s` of `timer`; `guard` refuses files.
        """
        self.decoded = 0
        self._guard = guard or UnitGuard()
        self._rows, self._files, self._group, self._links = rows, files, group, links
        self._buffer = np.empty((len(group.bands), *group.size_px), group.dtype)
        self._timer = timer or StageTimer()
        self._only_in_file: list[str] = []

    @property
    def warnings(self) -> list[SourceWarning]:
        """Files whose place the catalogue does not give."""
        unused = self._only_in_file
        return [SourceWarning(_UNUSED_PLACE, unused[0], len(unused))] if unused else []

    def outgoing(self) -> Iterator[OutgoingBlock]:
        """No blocks of pixels go to other ranks: each rank reads its own files."""
        return iter(())

    def patches(self) -> Iterator[SourcePatch]:
        """All patches of the rank in store order, pixels uint8 or uint16."""
        for row, file in zip(self._rows, self._files, strict=True):
            with self._timer.stage("decode_s"):
                patch = self._read_patch(file)
            self.decoded += 1
            yield SourcePatch(row, patch)

    def _read_patch(self, place: PlacedImage) -> Patch | PatchError:
        try:
            read = partial(read_image, place.path, self._group, self._buffer, self._links)
            # of other formats, whose decoders are fast, handing over to the thread would take a noticeable share
            run = self._guard.run if place.path.suffix.lower() in _JPEG_2000 else self._guard.run_unlimited
            file = run("reading", str(place.path), read)
            if place.is_placed:
                file.require_place(place)
            elif file.is_placed:
                self._only_in_file.append(str(place.path))
        except (RasterError, UnitError) as error:
            if isinstance(error, SlowUnitError):  # the abandoned thread still writes to the buffer
                self._buffer = np.empty_like(self._buffer)
            return PatchError(str(error))
        except Exception as error:  # one patch must not end the run
            return PatchError(f"{place.path} cannot be read: {fault_text(error)}")
        return Patch((self._buffer,), None)
