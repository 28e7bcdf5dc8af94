"""Settings of `etl.extract`."""

from dataclasses import asdict, dataclass
from pathlib import Path

from etl.settings import setting
from etl.store.layout import COMPRESSIONS, Layout
from etl.store.location import format_of
from etl.upsample.method import METHODS, PRECISIONS

__all__ = ["ExtractSettings"]


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """Turn tiles or a patch archive into one analysis-ready store, on any number of MPI ranks."""

    catalogue: Path = setting(Path("data/patches.parquet"), "patches to extract, as made by etl.catalogue")
    source: Path = setting(
        Path("data/tiles"), "folder of Level-2A products (.SAFE or .zip), or a BigEarthNet patch folder"
    )
    out: Path = setting(
        Path("data/store.h5"), "store to write: a file .h5, or .zarr, a folder or s3://BUCKET/NAME.zarr"
    )
    upsample: str = setting("bilinear", "how 20 m and 60 m bands are brought to 10 m", choices=METHODS)
    weights: Path = setting(
        Path("data/weights/l2a"),
        "with --upsample dsen2: folder of its 20 m and 60 m network (python -m etl.superres fetch gets some)",
    )
    precision: str = setting("float32", "with --upsample dsen2: what the networks compute in", choices=PRECISIONS)
    network_threads: int = setting(
        1,
        "with --upsample dsen2 on a CPU: patches that a rank upsamples at once, one thread each; pixels stay the same",
    )
    balance: str = setting(
        "cost",
        "how work is assigned to ranks: by cost, or whole tiles by the paper's Algorithm 1",
        choices=("cost", "paper"),
    )
    write: str = setting("collective", "how ranks write to the one file", choices=("collective", "independent"))
    resume: bool = setting(False, "complete a store that an interrupted run left; begins one where there is none")
    retry_rejected: bool = setting(False, "with --resume: try rejected patches again")
    strict: bool = setting(False, "end with status 4 where a patch was rejected")
    dry_run: bool = setting(False, "print the plan and write nothing")
    keep_snow: bool = setting(False, "keep patches on the published list of seasonal snow")
    keep_cloud: bool = setting(False, "keep patches on the published list of cloud and shadow")
    max_cloud_share: float = setting(
        1.0, "reject patches with a larger share of cloud or shadow pixels by scene classification", "0 to 1"
    )
    max_snow_share: float = setting(
        1.0, "reject patches with a larger share of snow pixels by scene classification", "0 to 1"
    )
    round_mib: int = setting(64, "most bytes that a rank writes in one collective round", "MiB")
    sync_s: float = setting(30.0, "how often finished rows are brought to the disk and journalled", "s")
    align_mib: int = setting(1, "data sets begin at multiples of this; the file system's stripe size is best", "MiB")
    shard_rows: int = setting(128, "Zarr: patches of one shard, which one rank holds in memory and writes", "patches")
    chunk_rows: int = setting(1, "Zarr: patches of one chunk, the smallest piece that is read", "patches")
    compress: str = setting("zstd", "Zarr: how chunks are compressed", choices=COMPRESSIONS)
    decode_threads: int = setting(1, "threads that decode one JPEG 2000 block together")

    def __post_init__(self) -> None:
        format_of(self.out, "--out")
        for name in ("max_cloud_share", "max_snow_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name.replace('_', '-')} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("round_mib", "align_mib", "shard_rows", "chunk_rows", "decode_threads", "network_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.round_mib > 1024:
            raise ValueError(
                f"--round-mib must be at most 1024 (MPI-IO counts overflow at 2 GiB), got {self.round_mib}"
            )
        if self.retry_rejected and not self.resume:
            raise ValueError("--retry-rejected needs --resume")
        if self.shard_rows % self.chunk_rows:
            raise ValueError(
                f"--shard-rows must be a multiple of --chunk-rows, got {self.shard_rows} and {self.chunk_rows}"
            )

    def over_limit(self, cloud: float, snow: float) -> str:
        """Why a patch with these fractions of its pixels, 0 to 1, is rejected; empty where it is kept.

        NaN, of a source without scene classification, is kept.
        """
        for what, fraction, limit in (("cloud", cloud, self.max_cloud_share), ("snow", snow, self.max_snow_share)):
            if fraction > limit:
                return f"{what} share {fraction:.3f} is above the limit {limit:g}"
        return ""

    def as_text(self) -> dict[str, str]:
        """Value of every setting, by name, for the record and the store's attributes."""
        return {key: str(value) for key, value in asdict(self).items()}

    @property
    def layout(self) -> Layout:
        """How a new store is laid out and written; alignment in bytes, shards and chunks in rows."""
        collective = self.write == "collective"
        return Layout(self.align_mib << 20, collective, self.shard_rows, self.chunk_rows, self.compress)
