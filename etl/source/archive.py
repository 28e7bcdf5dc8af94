"""Read patches from a patch archive: twelve GeoTIFFs a patch, as BigEarthNet v1 and v2 publish them.

The files hold nothing beyond a patch's border, so the halo that upsampling needs is the patch's mirror image.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.input_files import NO_LINKS, Links, RefusedFileError, fault_text
from etl.raster import Georeference, RasterError, RasterFile
from etl.source.block import OutgoingBlock
from etl.source.geotiff import PlainGeoTiffs
from etl.source.interface import SourcePatch
from etl.source.patch import Patch, PatchError, mirror_border
from etl.source.unit_guard import UnitError, UnitGuard
from etl.source.warning import UNPLACED, SourceWarning
from etl.stage_timer import StageTimer
from etl.tar_archive import PackedPatch

__all__ = ["ArchivePatches", "PlacedFolder"]

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

_OTHER_COPY = "patches read from another folder of theirs, as a file of the first is broken"


class PlacedFolder(NamedTuple):
    """Folder of one patch, named like it, and where its files must lie."""

    copies: tuple[Path | PackedPatch, ...]
    """The folder, or the patch in a tar file; and others of the same, which serve where a file before is broken."""

    place: Georeference | None
    """Upper left corner as the catalogue gives it, with pixels of 10 m; None if its files may lie anywhere."""


class ArchivePatches:
    """`PatchSource` of one rank that reads a patch archive."""

    def __init__(
        self,
        rows: Sequence[int],
        folders: Sequence[PlacedFolder],
        halo_px: tuple[int, int, int],
        timer: StageTimer | None = None,
        links: Links = NO_LINKS,
        guard: UnitGuard | None = None,
    ) -> None:
        """Args: one of `folders` for each store row of `rows`; halo in pixels of each group; where links may lead.

        Seconds are added to `decode_s` of `timer`; `guard` refuses folders.
        """
        self.decoded = 0
        self._guard = guard or UnitGuard()
        self._rows, self._folders = rows, folders
        self._buffers: list[tuple[npt.NDArray[np.uint16], PixelWindow]] = []  # with the window of the patch itself
        # of each group: gsd_m, and for each band the pixels that its file fills
        self._planes: list[tuple[int, list[tuple[str, npt.NDArray[np.uint16]]]]] = []
        for group, halo in zip(GROUPS, halo_px, strict=True):
            side, size = group.patch_px, group.patch_px + 2 * halo
            buffer = np.empty((len(group.bands), size, size), np.uint16)
            self._buffers.append((buffer, PixelWindow(halo, halo, side, side)))
            inside = buffer[:, halo : halo + side, halo : halo + side]
            self._planes.append((group.gsd_m, list(zip(group.bands, inside, strict=True))))
        self._plain = PlainGeoTiffs()
        self._warnings: dict[str, SourceWarning] = {}
        self._timer = timer or StageTimer()
        self._links = links

    @property
    def warnings(self) -> list[SourceWarning]:
        """What was odd about the patches read so far."""
        return list(self._warnings.values())

    def outgoing(self) -> Iterator[OutgoingBlock]:
        """No blocks of pixels go to other ranks: each rank reads its own patches."""
        return iter(())

    def patches(self) -> Iterator[SourcePatch]:
        """All patches of the rank in store order, pixels uint16."""
        for row, folder in zip(self._rows, self._folders, strict=True):
            with self._timer.stage("decode_s"):
                patch = self._read_patch(folder)
            self.decoded += 1
            yield SourcePatch(row, patch)

    def _read_patch(self, folder: PlacedFolder) -> Patch | PatchError:
        problems = []
        for path in folder.copies:
            try:
                self._guard.run_unlimited("reading", str(path), partial(self._read_folder, path, folder.place))
            except (RasterError, UnitError) as error:
                problems.append(str(error))
                continue
            except Exception as error:  # one patch must not end the run
                problems.append(f"{path} cannot be read: {fault_text(error)}")
                continue
            if problems:
                self._warn(_OTHER_COPY, problems[0])
            for buffer, inside in self._buffers:
                mirror_border(buffer, inside)
            return Patch(tuple(buffer for buffer, _ in self._buffers), None)
        return PatchError(problems[0])

    def _read_folder(self, path: Path | PackedPatch, place: Georeference | None) -> None:
        """Read the twelve files of a patch."""
        if isinstance(path, PackedPatch):
            self._read_packed(path, place)
            return
        folder = self._open_folder(str(path))
        try:
            for gsd_m, planes in self._planes:
                # not by `dataclasses.replace`, which takes 5 us
                of_group = place and Georeference(place.epsg, place.ulx, place.uly, gsd_m)
                for band, plane in planes:
                    file = f"{path}/{path.name}_{band}.tif"
                    if not self._plain.read(file, plane, of_group, folder):
                        self._read(file, plane, of_group)
        finally:
            if folder is not None:
                os.close(folder)

    def _read_packed(self, patch: PackedPatch, place: Georeference | None) -> None:
        """Read the twelve files of a patch in a tar file."""
        for gsd_m, planes in self._planes:
            of_group = place and Georeference(place.epsg, place.ulx, place.uly, gsd_m)
            for band, plane in planes:
                file, data = f"{patch.path}/{patch.name}_{band}.tif", patch.read(f"_{band}.tif")
                if not self._plain.read_content(file, data, plane, of_group, whole=True):
                    self._read(file, plane, of_group, data)

    def _open_folder(self, path: str) -> int | None:
        """Descriptor of a patch's folder; None if there is none, as opening its files will say."""
        try:
            return os.open(path, _FOLDER_FLAGS)
        except OSError:  # perhaps a link
            target = self._check_link(path)
        return None if target == path else os.open(target, _FOLDER_FLAGS)

    def _check_link(self, path: str) -> str:
        """The path or, if it is a link, its target, which must be where links may lead."""
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            return self._links.target(path) if is_link else path
        except RefusedFileError as error:
            raise RasterError(str(error)) from None
        except OSError:
            return path  # there is none, as opening it will say

    def _warn(self, what: str, example: str) -> None:
        """Count one more of a kind of oddity."""
        known = self._warnings.get(what)
        self._warnings[what] = known._replace(times=known.times + 1) if known else SourceWarning(what, example)

    def _read(
        self, path: str, out: npt.NDArray[np.uint16], place: Georeference | None, content: bytes | None = None
    ) -> None:
        """Read a whole file that is not plain: of the shape of `out`, (row, col), uint16, at `place`; or a link.

        `content`: its bytes, if there is no file at `path`.
        """
        target = path if content is not None else self._check_link(path)
        if target != path:
            path = target
            if self._plain.read(path, out, place):
                return
        file, (rows, columns) = RasterFile(path, content=content), out.shape
        if place is not None and self._plain.lies_at(path, place, content):
            place = None  # need not be compared again, which would take GDAL longer than the pixels
        mismatch = file.mismatch((rows, columns), "UInt16", place)
        if mismatch:
            raise RasterError(f"{path} {mismatch}")
        if place is not None and not file.is_placed:
            self._warn(UNPLACED, path)
        file.read(PixelWindow(0, 0, rows, columns), out)
