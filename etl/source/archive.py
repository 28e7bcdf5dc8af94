"""Read patches from a patch archive: twelve GeoTIFFs a patch, as BigEarthNet v1 and v2 publish them.

The files hold nothing beyond a patch's border, so the halo that upsampling needs is the patch's mirror image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.raster import RasterError, RasterFile
from etl.source.patch import Patch, PatchError, mirror_border
from etl.source.tiles import BlockData
from etl.stage_timer import StageTimer

__all__ = ["ArchivePatches"]


class ArchivePatches:
    """Patches of one rank, in store order."""

    def __init__(
        self,
        rows: Sequence[int],
        folders: Sequence[Path],
        halo_px: tuple[int, int, int],
        timer: StageTimer | None = None,
    ) -> None:
        """Args: `folders`, named like the patch, one for each store row of `rows`; halo in pixels of each group.

        `timer` takes the seconds of `decode_s`, entered once a patch.
        """
        self._rows, self._folders = rows, folders
        self._windows = [
            np.empty((len(g.bands), g.patch_px + 2 * c, g.patch_px + 2 * c), np.uint16)
            for g, c in zip(GROUPS, halo_px, strict=True)
        ]
        self._halo_px = halo_px
        self._timer = timer or StageTimer()

    def outgoing(self) -> Iterator[tuple[BlockData, tuple[int, ...]]]:
        """No blocks of pixels go to other ranks: each rank reads its own patches."""
        return iter(())

    def patches(self) -> Iterator[tuple[int, Patch | PatchError]]:
        """(store row, patch or why there is none) of every patch of the rank, in store order; pixels are uint16."""
        for row, folder in zip(self._rows, self._folders, strict=True):
            with self._timer.stage("decode_s"):
                patch = self._read_patch(folder)
            yield row, patch

    def _read_patch(self, folder: Path) -> Patch | PatchError:
        try:
            for group, window, halo in zip(GROUPS, self._windows, self._halo_px, strict=True):
                side = group.patch_px
                inner = window[:, halo : halo + side, halo : halo + side]
                for plane, band in zip(inner, group.bands, strict=True):
                    _read(f"{folder}/{folder.name}_{band}.tif", side, plane)
                mirror_border(window, (halo, halo + side, halo, halo + side))
        except RasterError as error:
            return PatchError(str(error))
        return Patch(tuple(self._windows), None)


def _read(path: str, side: int, out: npt.NDArray[np.uint16]) -> None:
    file = RasterFile(path)
    if file.shape != (side, side) or file.dtype != "UInt16":
        raise RasterError(
            f"{path} must be {side} x {side} pixels of UInt16, got {file.shape[0]} x {file.shape[1]} of {file.dtype}"
        )
    file.read((0, 0, side, side), out)
