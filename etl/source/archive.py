"""Read patches from a patch archive: twelve GeoTIFFs a patch, as BigEarthNet v1 and v2 publish them.

The files hold nothing beyond a patch's border, so the halo that upsampling needs is the patch's mirror image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.raster import RasterError, RasterFile
from etl.source.block import OutgoingBlock
from etl.source.interface import SourcePatch
from etl.source.patch import Patch, PatchError, mirror_border
from etl.stage_timer import StageTimer

__all__ = ["ArchivePatches"]


class ArchivePatches:
    """`PatchSource` of one rank that reads a patch archive."""

    def __init__(
        self,
        rows: Sequence[int],
        folders: Sequence[Path],
        halo_px: tuple[int, int, int],
        timer: StageTimer | None = None,
    ) -> None:
        """Args: `folders`, named like the patch, one for each store row of `rows`; halo in pixels of each group.

        Seconds are added to `decode_s` of `timer`.
        """
        self.decoded = 0
        self._rows, self._folders = rows, folders
        self._buffers: list[tuple[npt.NDArray[np.uint16], PixelWindow]] = []  # with the window of the patch itself
        self._planes: list[tuple[str, npt.NDArray[np.uint16]]] = []  # band and the pixels that its file fills
        for group, halo in zip(GROUPS, halo_px, strict=True):
            side, size = group.patch_px, group.patch_px + 2 * halo
            buffer = np.empty((len(group.bands), size, size), np.uint16)
            self._buffers.append((buffer, PixelWindow(halo, halo, side, side)))
            self._planes += zip(group.bands, buffer[:, halo : halo + side, halo : halo + side], strict=True)
        self._timer = timer or StageTimer()

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

    def _read_patch(self, folder: Path) -> Patch | PatchError:
        prefix = f"{folder}/{folder.name}"
        try:
            for band, plane in self._planes:
                _read(f"{prefix}_{band}.tif", plane)
        except RasterError as error:
            return PatchError(str(error))
        for buffer, inside in self._buffers:
            mirror_border(buffer, inside)
        return Patch(tuple(buffer for buffer, _ in self._buffers), None)


def _read(path: str, out: npt.NDArray[np.uint16]) -> None:
    """Read a whole file into `out`, shape (row, col), uint16."""
    file, (rows, columns) = RasterFile(path), out.shape
    if file.shape != out.shape or file.dtype != "UInt16":
        raise RasterError(
            f"{path} must be {rows} x {columns} pixels of UInt16, got {file.shape[0]} x {file.shape[1]} of {file.dtype}"
        )
    file.read(PixelWindow(0, 0, rows, columns), out)
