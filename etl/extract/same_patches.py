"""On resuming a store of an archive of patches or image files: is it still the archive with which it was begun?

A journal of the files of half a million patches would be large, and their times change with each copy. So some patches
of rows that are written are read again, and their pixels are compared with the store's.
"""

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from etl.extract.assignment import image_files, paired_patches, patch_folders
from etl.extract.inputs import CatalogueSelection, ExtractionInputs
from etl.mpi import Comm, RootOnly, on_every_rank
from etl.pixel_groups import SENTINEL1
from etl.source.archive import ArchivePatches, PlacedFolder
from etl.source.images import ImagePatches, PlacedImage
from etl.source.patch import PatchError
from etl.source.sentinel1 import PairedPatch, Sentinel1Patches

__all__ = ["require_same_patches"]

_COMPARED_ROWS = 256
"""Of an archive in which every tenth patch was replaced, all of so many are the same once in 5e11 cases."""


def require_same_patches(
    inputs: ExtractionInputs,
    selection: RootOnly[CatalogueSelection],
    written: RootOnly[npt.NDArray[np.intp]],
    comm: Comm,
) -> None:
    """Collective: compare native pixels of up to 256 of the `written` rows, evenly over them, with the patch archive.

    Raises:
        JobError: on every rank, with status 2, if a patch has other pixels now, or cannot be read any more.
    """
    if inputs.is_archive or inputs.schema.sentinel1_bytes:
        chosen = selection.value_on_root
        share = written.scatter(lambda rows: _share_out(inputs, cast("CatalogueSelection", chosen), rows, comm.size))
        on_every_rank(comm, "comparing written rows with --source", lambda: _compare(inputs, share))


class _Share(NamedTuple):
    """Rows that a rank compares, and where their pixels are."""

    rows: list[int]
    folders: list[PlacedFolder]
    """Of a patch archive."""
    files: list[PlacedImage]
    """Of image files."""
    paired: list[PairedPatch]
    """Of patches of Sentinel-1."""


def _share_out(
    inputs: ExtractionInputs, selection: CatalogueSelection, rows: npt.NDArray[np.intp], ranks: int
) -> list[_Share]:
    """The share of each rank in `rows`."""
    if len(rows) > _COMPARED_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _COMPARED_ROWS).astype(np.intp)]
    source = inputs.settings.source
    return [
        _Share(
            own.tolist(),
            patch_folders(selection, own),
            image_files(selection, source, own),
            paired_patches(selection, own),
        )
        for own in np.array_split(rows, ranks)
    ]


def _compare(inputs: ExtractionInputs, share: _Share) -> None:
    """Compare the pixels of a rank's rows with the store's."""
    if not share.rows:
        return
    if share.paired:
        _compare_sentinel1(inputs, share)
    if not inputs.is_archive:
        return
    links, guard = inputs.links, inputs.guard
    source: ImagePatches | ArchivePatches
    source = ArchivePatches(share.rows, share.folders, (0, 0, 0), links=links, guard=guard)
    if inputs.schema.images is not None:
        source = ImagePatches(share.rows, share.files, inputs.schema.images, links, guard=guard)
    with inputs.store.reader() as reader:
        for row, patch in source.patches():
            if isinstance(patch, PatchError) and str(patch) in guard.refused.values():  # an earlier run hung here
                continue
            stored = [pixels.transpose(2, 0, 1) for pixels in reader.row(row)]
            why = str(patch) if isinstance(patch, PatchError) else "its pixels are others now"
            if isinstance(patch, PatchError) or not all(map(np.array_equal, patch.native, stored)):
                raise ValueError(
                    f"{reader.row_name(row)} of {inputs.settings.out} was read from another --source: {why}; resume "
                    "with the --source of the first run, or start a new store with another --out"
                )


def _compare_sentinel1(inputs: ExtractionInputs, share: _Share) -> None:
    """Compare the backscatter of a rank's rows with the store's, bit for bit."""
    archive = inputs.settings.sentinel1
    if archive is None:
        return
    source = Sentinel1Patches(archive, inputs.settings.allow_links, inputs.guard)
    with inputs.store.reader() as reader:
        for row, paired in zip(share.rows, share.paired, strict=True):
            planes = source.read(paired)
            stored = reader.read(SENTINEL1, np.array([row]))[0]
            is_same = not isinstance(planes, PatchError) and planes.transpose(1, 2, 0).tobytes() == stored.tobytes()
            if not is_same:
                why = str(planes) if isinstance(planes, PatchError) else "its backscatter is another now"
                raise ValueError(
                    f"{reader.row_name(row)} of {inputs.settings.out} was read with another --sentinel1: {why}; resume "
                    "with the --sentinel1 of the first run, or start a new store with another --out"
                )
