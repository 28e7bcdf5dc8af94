"""Settings of `etl.convert`."""

from dataclasses import dataclass

from etl.settings import require_within, setting
from etl.store.layout import Layout
from etl.store.location import DEFAULT_STORE, MANIFEST_SUFFIX, Location, format_of

__all__ = ["ConvertSettings"]

_CODECS = {"HDF5": ("none", "gzip", "zstd", "blosc"), "Zarr": ("zstd", "none"), "manifest": ("none",)}
"""Compressions of each format; the first is its default."""

_ALIGN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """Copy a store, or some of its rows, into the format that the suffix of --out names.

    With --out STORE.json no pixels are copied: the file is a manifest that lets Zarr readers read an HDF5 store.
    """

    store: Location = setting(DEFAULT_STORE, "store to read (.h5, .hdf5, .zarr, or s3://BUCKET/NAME.zarr)")
    out: Location = setting(
        Location.parse("data/store.zarr"),
        "store to write: NAME.h5, NAME.zarr, s3://BUCKET/NAME.zarr or NAME.json; must be new",
    )
    split: str = setting("", "copy only these splits (train, val, test, none), separated by commas; empty = all")
    tile: str = setting("", "copy only these MGRS tiles, separated by commas; empty = all")
    label: str = setting("", "copy only patches with one of these labels, separated by semicolons; empty = all")
    keep_rejected: bool = setting(False, "also copy rejected rows, whose pixels are 0")
    compress: str = setting(
        "",
        "Zarr: zstd (after a bit shuffle) or none; HDF5: none, gzip, zstd or blosc (bit shuffle, then zstd); empty = "
        "zstd for Zarr, none for HDF5",
        choices=("", "none", "gzip", "zstd", "blosc"),
    )
    level: int = setting(1, "compression level, 1 to 9; higher is smaller and slower")
    chunk_rows: int = setting(1, "patches per chunk, the smallest piece that is compressed and read", "patches")
    shard_rows: int = setting(
        128,
        "Zarr: patches per shard, one file or object per pixel array; 0 = no shards, one file per chunk, for readers "
        "that have no sharding",
        "patches",
    )
    dry_run: bool = setting(False, "print what would be written, but write nothing")

    def __post_init__(self) -> None:
        source, known = format_of(self.store), _CODECS[self._format]
        if self.is_manifest and (source != "HDF5" or self.split or self.tile or self.label):
            raise ValueError(
                f"--out {self.out} is a manifest, which describes a whole HDF5 store: name an HDF5 store, without "
                "--split, --tile and --label"
            )
        if self.compress and self.compress not in known:
            raise ValueError(f"--compress must be one of {', '.join(known)} for {self.out.suffix}, got {self.compress}")
        require_within(self, level=(1, 9))
        _ = self.layout  # which checks chunks and shards

    @property
    def is_manifest(self) -> bool:
        """Whether a manifest is written, without copying pixels."""
        return self.out.suffix == MANIFEST_SUFFIX

    @property
    def _format(self) -> str:
        return "manifest" if self.is_manifest else format_of(self.out, "--out")

    @property
    def codec(self) -> str:
        """The compression of --compress, or the format's default."""
        return self.compress or _CODECS[self._format][0]

    @property
    def layout(self) -> Layout:
        """Layout of the store to write; alignment in bytes, chunks and shards in rows."""
        compress, hdf5_codec = (self.codec, "none") if self._format == "Zarr" else ("none", self.codec)
        return Layout(_ALIGN_BYTES, False, self.shard_rows, self.chunk_rows, compress, self.level, hdf5_codec)
