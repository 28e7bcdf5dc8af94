"""Settings of `etl.convert`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting
from etl.store.location import MANIFEST_SUFFIX, format_of

__all__ = ["ConvertSettings"]

_CODECS = {"HDF5": ("none", "gzip", "zstd", "blosc"), "Zarr": ("zstd", "none"), "manifest": ("none",)}
"""What each format can be compressed with; the first is its default."""


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """Write a store anew, in the format that the suffix of --out names, whole or a part of its rows.

    With --out STORE.json nothing is copied: the file describes an HDF5 store as Zarr, and refers to it for every chunk.
    """

    store: Path = setting(Path("data/store.h5"), "store to read (.h5, .zarr, or s3://BUCKET/KEY.zarr)")
    out: Path = setting(
        Path("data/store.zarr"), "store to make (.h5, .zarr or s3://BUCKET/KEY.zarr, .json); must not be there yet"
    )
    split: str = setting("", "take these splits alone (train, val, test, none), separated by commas; empty for all")
    tile: str = setting("", "take these MGRS tiles alone, separated by commas; empty for all")
    label: str = setting("", "take patches with one of these labels alone, separated by semicolons; empty for all")
    keep_rejected: bool = setting(False, "keep rejected rows, which hold zeros, instead of dropping them")
    compress: str = setting(
        "",
        "zstd (bits shuffled) or none for Zarr; none (contiguous), gzip, zstd or blosc (bits shuffled, then zstd) for "
        "HDF5; empty for the first of each",
        choices=("", "none", "gzip", "zstd", "blosc"),
    )
    level: int = setting(1, "of the compression: higher is smaller and slower")
    chunk_rows: int = setting(1, "patches of one chunk, the smallest piece that is read and compressed", "patches")
    shard_rows: int = setting(128, "patches of one shard, one file of each pixel array; Zarr alone", "patches")
    dry_run: bool = setting(False, "say what would be written, and write nothing")

    def __post_init__(self) -> None:
        source, known = format_of(self.store), _CODECS[self._format]
        if self.virtual and (source != "HDF5" or self.split or self.tile or self.label):
            raise ValueError(f"--out {self.out} must be of a whole HDF5 store, got {self.store} or a part of it")
        if self.compress and self.compress not in known:
            raise ValueError(f"--compress must be one of {', '.join(known)} for {self.out.suffix}, got {self.compress}")
        if not 1 <= self.level <= 9:
            raise ValueError(f"--level must lie in [1, 9], got {self.level}")
        if self.chunk_rows < 1 or self.shard_rows < 1 or self.shard_rows % self.chunk_rows:
            got = f"{self.shard_rows} and {self.chunk_rows}"
            raise ValueError(f"--shard-rows must be a multiple of --chunk-rows, both at least 1, got {got}")

    @property
    def virtual(self) -> bool:
        """Whether no pixel is copied."""
        return self.out.suffix == MANIFEST_SUFFIX

    @property
    def _format(self) -> str:
        return "manifest" if self.virtual else format_of(self.out, "--out")

    @property
    def codec(self) -> str:
        """The compression asked for, or the format's own."""
        return self.compress or _CODECS[self._format][0]
