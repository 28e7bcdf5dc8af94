"""Layout of a store on the disk: chunks, shards, compression."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from etl.schema import FLAGS, DataSet
from etl.settings import require_within

__all__ = ["COMPRESSIONS", "Layout", "as_json", "stored_attributes"]

COMPRESSIONS = ("zstd", "none")
"""Compressions of a Zarr store."""


_MOST_ROWS = 65_536
"""A rank holds all rows of a shard, and all of a chunk, in memory: 65,536 patches of BigEarthNet are 34 GB."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a new store on the disk, and how it is written."""

    align_bytes: int = 1
    """HDF5: data sets begin at multiples of this number of bytes."""

    collective: bool = True
    """HDF5: collective or independent transfers."""

    shard_rows: int = 128
    """Zarr: patches of one shard, which is one file or object for each pixel array; 0 = each chunk is one."""

    chunk_rows: int = 1
    """Patches of one chunk, the smallest piece that is read and compressed; HDF5 has them only with `hdf5_codec`."""

    compress: str = "zstd"
    """Zarr: zstd (blosc: bits shuffled, then zstd) or none."""

    level: int = 1
    """Compression level, 1 to 9: higher is smaller and slower."""

    hdf5_codec: str = "none"
    """HDF5: gzip, zstd or blosc (bits shuffled, then zstd), written by one process; none for contiguous rows."""

    def __post_init__(self) -> None:
        require_within(self, shard_rows=(0, _MOST_ROWS), chunk_rows=(1, _MOST_ROWS))
        if self.shard_rows % self.chunk_rows:
            got = f"{self.shard_rows} and {self.chunk_rows}"
            raise ValueError(f"--shard-rows must be a multiple of --chunk-rows, got {got}")
        if self.compress not in COMPRESSIONS:
            raise ValueError(f"compress must be one of {', '.join(COMPRESSIONS)}, got {self.compress!r}")

    @property
    def file_rows(self) -> int:
        """Zarr: patches of one file or object, written by one rank: of a shard, or of a chunk without shards."""
        return self.shard_rows or self.chunk_rows


def stored_attributes(item: DataSet) -> dict[str, object]:
    """Attributes of an array to store: its own, the encoding of text, the meanings of flags."""
    attributes = dict(item.attributes)
    if item.dtype.startswith("S"):
        attributes["_Encoding"] = "utf-8"
    meanings = FLAGS.get(item.name.rsplit("/", 1)[-1], ())
    if meanings:
        attributes["flag_values"] = np.arange(len(meanings), dtype=np.uint8)
        attributes["flag_meanings"] = " ".join(meanings)
    return attributes


def as_json(value: Any) -> Any:
    """An attribute's value in JSON's types: numpy scalars as Python numbers, numpy arrays of any shape as lists."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
