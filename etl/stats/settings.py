"""Settings of `etl.stats`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting

__all__ = ["StatsSettings"]


@dataclass(frozen=True, slots=True)
class StatsSettings:
    """Count the values of a store by band, split and class, in one pass over its native pixels; draw one page."""

    store: Path = setting(Path("data/store.h5"), "store to read (.h5, .zarr, or s3://BUCKET/KEY.zarr)")
    out: Path = setting(
        Path("data/stats.png"),
        "page to write (.png or .html), numbers beside it (.json); older ones are replaced",
    )
    scheduler: str = setting(
        "threads",
        "threads or processes of this machine, or the address of a Dask scheduler, e.g. tcp://node1:8786; ignored "
        "under mpirun, where every rank is a worker",
    )
    workers: int = setting(0, "threads or processes; 0 for one on each core")
    batch_rows: int = setting(128, "rows that a worker reads at once", "patches")

    def __post_init__(self) -> None:
        if self.out.suffix.lower() not in (".png", ".html"):
            raise ValueError(f"--out must end in .png or .html, got {self.out}")
        if self.scheduler not in ("threads", "processes") and "://" not in self.scheduler:
            raise ValueError(f"--scheduler must be threads, processes or an address, got {self.scheduler!r}")
        if self.workers < 0:
            raise ValueError(f"--workers must not be negative, got {self.workers}")
        if not 1 <= self.batch_rows <= 16384:
            raise ValueError(f"--batch-rows must lie in [1, 16384], got {self.batch_rows}")
