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
        self._buffers = [
            np.empty((len(g.bands), g.patch_px + 2 * c, g.patch_px + 2 * c), np.uint16)
            for g, c in zip(GROUPS, halo_px, strict=True)
        ]
        self._halo_px = halo_px
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
        try:
            for group, buffer, halo in zip(GROUPS, self._buffers, self._halo_px, strict=True):
                side = group.patch_px
                for plane, band in zip(buffer, group.bands, strict=True):
                    _read(f"{folder}/{folder.name}_{band}.tif", plane[halo : halo + side, halo : halo + side])
                mirror_border(buffer, PixelWindow(halo, halo, side, side))
        except RasterError as error:
            return PatchError(str(error))
        return Patch(tuple(self._buffers), None)


def _read(path: str, out: npt.NDArray[np.uint16]) -> None:
    """Read a whole file into `out`, shape (row, col), uint16."""
    file, (rows, columns) = RasterFile(path), out.shape
    if file.shape != out.shape or file.dtype != "UInt16":
        raise RasterError(
            f"{path} must be {rows} x {columns} pixels of UInt16, got {file.shape[0]} x {file.shape[1]} of {file.dtype}"
        )
    file.read(PixelWindow(0, 0, rows, columns), out)
