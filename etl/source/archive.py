"""Patches from a patch archive: twelve GeoTIFFs a patch, as BigEarthNet v1 and v2 publish them.

A lone patch has no neighbours: what upsampling sees beyond its border is itself, mirrored.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.catalogue.names import is_patch
from etl.raster import RasterError, RasterFile
from etl.source.patch import Patch, PatchError, mirror_border
from etl.source.tiles import Timer

__all__ = ["ArchivePatches", "folder_of"]


def folder_of(archive: Path) -> Callable[[str], Path] | None:
    """How an archive names a patch's folder, seen on its first one: v1 `<patch>`, v2 `<product>/<patch>`; else None."""
    for folder in _folders(archive) if archive.is_dir() else ():
        if is_patch(folder.name):
            return archive.joinpath
        if any(is_patch(inner.name) for inner in _folders(folder)):
            return lambda patch: archive / patch.rsplit("_", 2)[0] / patch
    return None


def _folders(here: Path) -> Iterator[Path]:
    """Folders in a folder, one by one: there may be half a million."""
    with os.scandir(here) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir())


class ArchivePatches:
    """Patches of one rank's share, in store order."""

    def __init__(self, rows: Sequence[int], folders: Sequence[Path], context_px: tuple[int, int, int]) -> None:
        """`folders`: one for each store row of `rows`; its name is the patch's."""
        self._rows, self._folders = rows, folders
        self._windows = [
            np.empty((len(g.bands), g.patch_px + 2 * c, g.patch_px + 2 * c), np.uint16)
            for g, c in zip(GROUPS, context_px, strict=True)
        ]
        self._context_px = context_px
        self.timer = Timer()

    def outgoing(self) -> Iterator[tuple[npt.NDArray[np.uint16], tuple[int, ...]]]:
        """Nothing: each rank reads its own patches."""
        return iter(())

    def patches(self) -> Iterator[tuple[int, Patch | PatchError]]:
        """(store row, patch or why there is none) of every patch of the share, in store order."""
        for row, folder in zip(self._rows, self._folders, strict=True):
            start = time.perf_counter()
            got = self._patch(folder)
            self.timer.decode_s += time.perf_counter() - start
            self.timer.blocks += 1
            yield row, got

    def _patch(self, folder: Path) -> Patch | PatchError:
        try:
            for group, window, context in zip(GROUPS, self._windows, self._context_px, strict=True):
                side = group.patch_px
                inner = window[:, context : context + side, context : context + side]
                for plane, band in zip(inner, group.bands, strict=True):
                    _read(f"{folder}/{folder.name}_{band}.tif", side, plane)
                mirror_border(window, (context, context + side, context, context + side))
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
