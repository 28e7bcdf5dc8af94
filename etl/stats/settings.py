"""Settings of `etl.stats`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_within, setting
from etl.store.location import DEFAULT_STORE, Location

__all__ = ["StatsSettings"]


@dataclass(frozen=True, slots=True)
class StatsSettings:
    """Compute percentiles and histograms of a store by band, split and class, and draw them on one page."""

    store: Location = setting(DEFAULT_STORE, "store to read (.h5, .hdf5, .zarr, or s3://BUCKET/NAME.zarr)")
    out: Path = setting(
        Path("data/stats.png"),
        "page to write (.png or .html), with the numbers in a .json file beside it; existing files are replaced",
    )
    scheduler: str = setting(
        "threads",
        "threads, processes, or the address of a Dask scheduler such as tcp://node1:8786; ignored under mpirun, where "
        "every rank is a Dask worker",
    )
    workers: int = setting(0, "number of threads or processes; 0 = one per core")
    batch_rows: int = setting(128, "patches that a worker reads at a time", "patches")

    def __post_init__(self) -> None:
        if self.out.suffix.lower() not in (".png", ".html"):
            raise ValueError(f"--out must end in .png or .html, got {self.out}")
        if self.scheduler not in ("threads", "processes") and "://" not in self.scheduler:
            raise ValueError(f"--scheduler must be threads, processes or an address, got {self.scheduler!r}")
        require_within(self, workers=(0, 1024), batch_rows=(1, 16384))
