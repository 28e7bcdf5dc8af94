"""Whether patches are those of BigEarthNet, by their names: hashes of some of the published names are in this package.

A name is sampled if its XXH3-64 is a multiple of 32; the upper half of that hash stands for it. Files beside this one
hold those of all sampled names of an archive. So a store need not have the lists, and the package does not copy them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

__all__ = ["PUBLISHED", "archive_of", "published_hashes", "sampled_hashes"]

PUBLISHED = {"BigEarthNet v1": "bigearthnet_v1.npy", "BigEarthNet v2": "bigearthnet_v2.npy"}
"""File of the hashes of each archive's names, by what a store calls the archive.

Source: the 590,326 names of BigEarthNet's `patch_to_l1c_product.csv`; the 549,488 of reBEN's two tables of metadata.
"""

_ONE_IN = 32
"""One in this many names is sampled."""

_LEAST_SAMPLED = 8
"""Fewer sampled names, of about 256 patches, do not tell an archive."""


def archive_of(patches: npt.NDArray[np.bytes_]) -> str:
    """The archive of which all patches are, of those with these names in UTF-8, shape (patch,); empty if of none.

    That is, at least `_LEAST_SAMPLED` names are sampled, and every one is among the published.
    """
    hashes = sampled_hashes(patches)
    if len(hashes) < _LEAST_SAMPLED:
        return ""
    return next((archive for archive in PUBLISHED if np.isin(hashes, published_hashes(archive)).all()), "")


def sampled_hashes(names: Iterable[bytes]) -> npt.NDArray[np.uint32]:
    """Hashes of the sampled ones of different `names`, ascending, uint32, shape (sampled,)."""
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, names), np.uint64)
    return np.unique((hashes[hashes % _ONE_IN == 0] >> 32).astype(np.uint32))


def published_hashes(archive: str) -> npt.NDArray[np.uint32]:
    """`sampled_hashes` of all names of an archive, one of `PUBLISHED`."""
    hashes: npt.NDArray[np.uint32] = np.load(Path(__file__).with_name(PUBLISHED[archive]))
    return hashes
