"""How a store lies on the disk."""

from dataclasses import dataclass

__all__ = ["COMPRESSIONS", "Layout"]

COMPRESSIONS = ("zstd", "none")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new store lies on the disk, and how it is written."""

    align_bytes: int = 1
    """HDF5: data sets begin at multiples of this."""

    collective: bool = True
    """HDF5: collective or independent transfers."""

    shard_rows: int = 128
    """Zarr: patches of one shard, which is one file or object of each pixel array and made by one rank."""

    chunk_rows: int = 1
    """Zarr: patches of one chunk, the smallest piece that is read and compressed."""

    compress: str = "zstd"
    """Zarr: zstd (blosc: bits shuffled, then zstd) or none."""

    level: int = 1
    """Zarr: of the compression, 1 to 9: higher is smaller and slower."""

    def __post_init__(self) -> None:
        if self.chunk_rows < 1 or self.shard_rows < 1 or self.shard_rows % self.chunk_rows:
            raise ValueError(
                f"shard_rows must be a multiple of chunk_rows, both at least 1, got {self.shard_rows} and "
                f"{self.chunk_rows}"
            )
        if self.compress not in COMPRESSIONS:
            raise ValueError(f"compress must be one of {', '.join(COMPRESSIONS)}, got {self.compress!r}")
