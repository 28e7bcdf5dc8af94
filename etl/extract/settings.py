"""Settings of `etl.extract`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_at_least, require_within, setting
from etl.store.layout import COMPRESSIONS, Layout
from etl.store.location import DEFAULT_STORE, Location, format_of
from etl.upsample.method import METHODS, PRECISIONS

__all__ = ["ExtractSettings"]


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """Extract patches from Sentinel-2 products, patch folders or image files into one store, on any number of ranks."""

    catalogue: Path = setting(Path("data/patches.parquet"), "table of the patches to extract, made by etl.catalogue")
    source: Path = setting(
        Path("data/tiles"),
        "folder of Level-2A products (.SAFE, .zarr or .zip), of BigEarthNet patches, or of the catalogue's image "
        "files; or s3://BUCKET/PREFIX of products; or a .tar file of BigEarthNet patches",
    )
    out: Location = setting(DEFAULT_STORE, "store to write: FILE.h5, FOLDER.zarr or s3://BUCKET/NAME.zarr")
    upsample: str = setting("bilinear", "how to resample 20 m and 60 m bands to 10 m, if at all", choices=METHODS)
    bands: str = setting(
        "",
        "image files: names of their bands, separated by commas, such as B01,B02; empty = those in the files, else R, "
        "G and B for colours, else band_1, band_2, ...",
    )
    sentinel1: Path | None = setting(
        None,
        "folder of BigEarthNet's patches of Sentinel-1; those that the catalogue pairs with its patches are stored as "
        "data_s1",
    )
    weights: Path = setting(
        Path("data/weights/l2a"),
        "with --upsample dsen2: folder of its weights for 20 m and 60 m bands (etl.superres fetch downloads them)",
    )
    precision: str = setting("float32", "with --upsample dsen2: number type of its arithmetic", choices=PRECISIONS)
    network_threads: int = setting(
        1,
        "with --upsample dsen2 on a CPU: patches that a rank upsamples at once, one thread each; pixels stay the same",
    )
    balance: str = setting(
        "cost",
        "how work is shared among ranks: cost = equal predicted time, paper = whole tiles, by Algorithm 1 of Sedona "
        "et al. 2019",
        choices=("cost", "paper"),
    )
    write: str = setting(
        "collective",
        "HDF5: collective = all ranks write together through MPI-IO; independent = each rank by itself, also with an "
        "h5py without MPI",
        choices=("collective", "independent"),
    )
    resume: bool = setting(False, "continue an interrupted run; starts a new store if there is none")
    retry_rejected: bool = setting(
        False, "with --resume: extract rejected patches again, and all of products that were replaced"
    )
    recheck: bool = setting(
        False,
        "with --resume: also compare all rows and arrays of a complete store with their checksums, and extract again "
        "what is damaged",
    )
    strict: bool = setting(False, "end with status 4 if a patch was rejected; the store is written all the same")
    dry_run: bool = setting(False, "print the plan, but write nothing")
    check_files: bool = setting(
        True,
        "before decoding, compare the files of each product with the checksums in its manifest.safe; takes 1 to 2 "
        "seconds a product, divided by the number of ranks",
    )
    keep_snow: bool = setting(False, "also extract patches that the catalogue marks as covered by seasonal snow")
    keep_cloud: bool = setting(False, "also extract patches that the catalogue marks as covered by cloud or shadow")
    max_cloud_share: float = setting(
        1.0,
        "reject patches with more cloud or shadow than this, as a share of the pixels with data, by the scene "
        "classification; 1 = no limit",
        "0 to 1",
    )
    max_snow_share: float = setting(
        1.0,
        "reject patches with more snow than this, as a share of the pixels with data, by the scene classification; "
        "1 = no limit",
        "0 to 1",
    )
    keep_unclassified: bool = setting(
        False, "with --max-cloud-share or --max-snow-share: also extract patches without a scene classification"
    )
    max_nodata_share: float = setting(
        1.0,
        "reject patches if more than this share of their pixels lacks data in at least one band; 1 = reject only "
        "patches without any data",
        "0 to 1",
    )
    assume_offset: int | None = setting(
        None,
        "offset of products of baseline 04.00 or later whose metadata list no BOA_ADD_OFFSET, such as -1000; without "
        "this setting they are rejected",
        "pixel counts",
    )
    allow_links: tuple[Path, ...] = setting(
        (), "folder into which links in --source may lead, beside --source itself; can be given several times"
    )
    round_mib: int = setting(64, "most data that a rank writes in one round; Zarr: at least one shard", "MiB")
    block_s: float = setting(
        60.0,
        "most computing time for one block of a file, and for opening a product or reading one of its files for its "
        "checksum; what takes longer rejects its patches; 0 = no limit",
        "s",
    )
    stall: float = setting(
        600.0,
        "end with status 75 if a rank makes no progress for this time; the journal then names the block or product "
        "that it reads, and --resume rejects it; 0 = never",
        "s",
    )
    sync_s: float = setting(30.0, "time between syncs; a killed run can lose the rows written since the last one", "s")
    align_mib: int = setting(
        1, "HDF5: data sets begin at multiples of this; on a parallel file system, use its stripe size", "MiB"
    )
    shard_rows: int = setting(
        128,
        "Zarr: patches per shard (one file or object), written by one rank; 0 = no shards, one file per chunk, for "
        "readers that have no sharding",
        "patches",
    )
    chunk_rows: int = setting(1, "Zarr: patches per chunk, the smallest piece that can be read", "patches")
    compress: str = setting("zstd", "Zarr: compression of the chunks", choices=COMPRESSIONS)
    decode_threads: int = setting(1, "threads that decode each JPEG 2000 block")

    def __post_init__(self) -> None:
        format_of(self.out, "--out")
        require_within(self, max_cloud_share=(0, 1), max_snow_share=(0, 1), max_nodata_share=(0, 1))
        require_at_least(self, round_mib=1, sync_s=0, block_s=0, stall=0)
        require_within(self, align_mib=(1, 1024), decode_threads=(1, 1024), network_threads=(1, 1024))
        if self.round_mib > 1024:
            raise ValueError(
                f"--round-mib must be at most 1024 (MPI-IO counts overflow at 2 GiB), got {self.round_mib}"
            )
        if self.assume_offset is not None:  # ESA's list is added to the counts, so a positive one is a wrong sign
            require_within(self, assume_offset=(-10_000, 0))
        if self.out.is_remote and not self.shard_rows:
            raise ValueError(
                "--shard-rows must be at least 1 for a store in a bucket, got 0: without shards another run could "
                "change it unnoticed; etl.convert also copies a store into a bucket without shards"
            )
        if self.retry_rejected and not self.resume:
            raise ValueError("--retry-rejected needs --resume")
        if self.recheck and (self.retry_rejected or not self.resume):
            raise ValueError("--recheck needs --resume, and cannot be combined with --retry-rejected: use it first")
        _ = self.layout  # which checks chunks and shards

    @property
    def needs_classes(self) -> bool:
        """Whether a patch without any scene class is rejected."""
        return min(self.max_cloud_share, self.max_snow_share) < 1 and not self.keep_unclassified

    def over_limit(self, nodata: float, cloud: float, snow: float) -> str:
        """Why a patch with these shares of its pixels, 0 to 1, is rejected; empty if it is kept.

        `cloud` and `snow` are NaN without a scene classification.
        """
        limits = {"nodata": self.max_nodata_share, "cloud": self.max_cloud_share, "snow": self.max_snow_share}
        for (what, limit), share in zip(limits.items(), (nodata, cloud, snow), strict=True):
            if share > limit:
                return f"{what} share {share:.3f} is above the limit {limit:g}"
            if share != share and limit < 1 and not self.keep_unclassified:  # NaN passes every comparison
                return f"{what} share is unknown without a scene classification; --keep-unclassified keeps the patch"
        return ""

    @property
    def layout(self) -> Layout:
        """How a new store is laid out and written; alignment in bytes, shards and chunks in rows."""
        collective = self.write == "collective"
        return Layout(self.align_mib << 20, collective, self.shard_rows, self.chunk_rows, self.compress)
