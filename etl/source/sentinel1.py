"""Read patches of Sentinel-1, two GeoTIFFs a patch, VV and VH, as BigEarthNet publishes them beside its own.

Each covers the same ground as the patch of Sentinel-2 that it is paired with. Values are backscatter in dB, float32.

Source: Sumbul et al. 2021, arXiv 2105.07921 (BigEarthNet-MM); reBEN, arXiv 2407.03653.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bucket_files import is_remote
from etl.grid import PixelWindow
from etl.input_files import Links, check_link, fault_text
from etl.pixel_groups import MOST_DB, SENTINEL1_GROUP
from etl.raster import Georeference, RasterError, RasterFile
from etl.source.geotiff import PlainGeoTiffs
from etl.source.patch import PatchError
from etl.source.unit_guard import UnitError, UnitGuard
from etl.source.warning import SourceWarning

__all__ = ["PairedPatch", "Sentinel1Folders", "Sentinel1Patches", "find_sentinel1"]

_TOP_FOLDERS = ("", "BigEarthNet-S1", "BigEarthNet-S1-v1.0")
"""Where the archives, once unpacked, have their patches."""

_POSITIVE = "patches of Sentinel-1 without any negative value, which is hardly backscatter in dB"
"""What `SourceWarning` says of such patches."""

_NAME_PARTS_OF_CELL = 3
"""Parts at the end of a patch's name, divided by `_`: tile, column and row. Those before name its scene."""


@dataclass(frozen=True, slots=True)
class Sentinel1Folders:
    """Function from the name of a patch of Sentinel-1 to its folder."""

    top: Path
    """The folder that holds patches, or folders of them."""

    by_scene: bool
    """Whether the patches of each scene lie in a folder, as in version 2."""

    def __call__(self, name: str) -> Path:
        """Folder of the patch with this name, which need not exist."""
        return self.top / _scene_of(name) / name if self.by_scene else self.top / name


class PairedPatch(NamedTuple):
    """A patch of Sentinel-1 that is stored beside one of Sentinel-2."""

    folder: Path | None
    """Its folder, named like it; None if the patch of Sentinel-2 has none."""

    place: Georeference
    """Upper left corner of the patch of Sentinel-2, with pixels of 10 m, where its files must lie."""


def find_sentinel1(source: Path, names: Iterable[str]) -> Sentinel1Folders:
    """Where the patches of Sentinel-1 with these names lie below `source`: by the first of them that is there.

    Raises:
        ValueError: none of them is, or `source` is no folder.
    """
    if is_remote(source) or not source.is_dir():
        raise ValueError(f"--sentinel1 must be a folder on a disk, got {source}; unpack a tar file first")
    known = [name for name in names if name]
    if not known:
        raise ValueError(
            "--sentinel1 needs a catalogue with names in the column s1_name; make it again with etl.catalogue, which "
            "reads them from metadata.parquet, or from s1s2_mapping.csv in --lists for version 1"
        )
    layouts = [Sentinel1Folders(source / top, by_scene) for top in _TOP_FOLDERS for by_scene in (True, False)]
    layouts = [layout for layout in layouts if layout.top.is_dir()]
    for name in known:
        for layout in layouts:
            if layout(name).is_dir():
                return layout
    raise ValueError(
        f"--sentinel1 must be the folder of BigEarthNet's patches of Sentinel-1, got {source}, which holds none of the "
        f"{len(known)} that the catalogue names, such as {_scene_of(known[0])}/{known[0]}"
    )


def _scene_of(name: str) -> str:
    return "_".join(name.split("_")[:-_NAME_PARTS_OF_CELL])


class Sentinel1Patches:
    """Reads patches of Sentinel-1; several threads may use it at once."""

    def __init__(self, source: Path, allow_links: Sequence[Path] = (), guard: UnitGuard | None = None) -> None:
        """Args: their archive; folders into which links in it may lead, beside itself; `guard` refuses folders."""
        self._source, self._links = source, Links.into(source, *allow_links)
        self._guard, self._plain = guard or UnitGuard(), PlainGeoTiffs()
        self._positive: list[str] = []

    @property
    def warnings(self) -> list[SourceWarning]:
        """Patches without any negative value."""
        return [SourceWarning(_POSITIVE, self._positive[0], len(self._positive))] if self._positive else []

    def read(self, patch: PairedPatch) -> npt.NDArray[np.float32] | PatchError:
        """Backscatter in dB, shape (band, row, col), float32: VV and VH, NaN where there is none; or why not."""
        planes = np.empty((len(SENTINEL1_GROUP.bands), *SENTINEL1_GROUP.size_px), np.float32)
        if patch.folder is None:
            planes.fill(np.nan)
            return planes
        if not patch.folder.is_dir():
            return PatchError(f"its patch of Sentinel-1 is not in {self._source}")
        try:
            read = partial(self._read_folder, patch.folder, patch.place, planes)
            self._guard.run_unlimited("reading", str(patch.folder), read)
        except (RasterError, UnitError) as error:
            return PatchError(str(error))
        except Exception as error:  # one patch must not end the run
            return PatchError(f"{patch.folder} cannot be read: {fault_text(error)}")
        if np.nanmin(planes, initial=np.inf) >= 0 and not np.isnan(planes).all():
            self._positive.append(str(patch.folder))
        return planes

    def _read_folder(self, folder: Path, place: Georeference, planes: npt.NDArray[np.float32]) -> None:
        for band, plane in zip(SENTINEL1_GROUP.bands, planes, strict=True):
            path = f"{folder}/{folder.name}_{band}.tif"
            self._read_file(path, plane, place)
            plane[~np.isfinite(plane)] = np.nan  # one bit pattern; the logarithm of 0 is minus infinity
            if np.nanmax(np.abs(plane), initial=0) >= MOST_DB:
                raise RasterError(f"{path} must hold backscatter in dB, between -{MOST_DB} and {MOST_DB}, got others")

    def _read_file(self, path: str, plane: npt.NDArray[np.float32], place: Georeference) -> None:
        """Read a whole file into `plane`, shape (row, col); it must lie at `place`."""
        path = check_link(path, self._links)
        if self._plain.read(path, plane, place):
            return
        file, (rows, columns) = RasterFile(path), plane.shape
        mismatch = file.mismatch((rows, columns), "Float32", place)
        if mismatch:
            raise RasterError(f"{path} {mismatch}")
        file.read(PixelWindow(0, 0, rows, columns), plane)
        if file.nodata_value is not None:
            plane[plane == np.float32(file.nodata_value)] = np.nan
