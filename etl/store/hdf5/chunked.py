"""Write an HDF5 store in compressed chunks, by one process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
from h5py import h5z

from etl.store.hdf5.create import Chunks, overwrite_hdf5

__all__ = ["ChunkedWriter", "compressed_chunks"]


def compressed_chunks(codec: str, level: int, rows: int) -> Chunks:
    """Chunks of `rows` patches, compressed by gzip, zstd or blosc (bits shuffled, then Zstandard); `level` 1 to 9."""
    if codec == "gzip":
        return Chunks(rows, shuffle=True, filter=(h5z.FILTER_DEFLATE, (level,)))
    if codec == "zstd":
        return Chunks(rows, shuffle=True, filter=(hdf5plugin.Zstd.filter_id, (level,)))
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=level, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
    return Chunks(rows, filter=(blosc.filter_id, blosc.filter_options))


class ChunkedWriter:
    """A store that `create_chunked_hdf5` made, open for writing."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, h5py.File(path, "r+", libver=("v108", "latest"))

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        """Write `rows`, shape (n, y, x, band), uint16, to rows [first, first + n) of a pixel array."""
        self._file[name][first : first + len(rows)] = rows

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Close the file, replace whole arrays that are no pixels, in the order given, and sync."""
        self._file.close()
        overwrite_hdf5(self._path, arrays)
