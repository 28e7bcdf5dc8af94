"""Settings of `etl.verify`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_at_least, setting
from etl.store.location import DEFAULT_STORE, Location

__all__ = ["VerifySettings"]


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Check a store on any number of ranks: checksums, statistics, its catalogue and, with --source, its source pixels.

    Prints one line per check. The exit status is 0 if all passed, 1 if one failed, 2 if there is no store to verify.
    """

    store: Location = setting(DEFAULT_STORE, "store to verify")
    catalogue: Path | None = setting(None, "catalogue to compare with, if not the one that the store was made from")
    source: Path | None = setting(None, "folder of products or patches, to compare native pixels with")
    sample: int = setting(200, "with --source: number of patches to compare, chosen at random; 0 = all", "patches")
    seed: int = setting(0, "seed of the random choice of patches")
    allow_links: tuple[Path, ...] = setting(
        (), "folder into which links in --source may lead, beside --source itself; can be given several times"
    )
    sentinel1: Path | None = setting(
        None, "with --source: unpacked folder of patches of Sentinel-1, compared with data_s1 of the same rows"
    )

    def __post_init__(self) -> None:
        require_at_least(self, sample=0, seed=0)
        if self.sentinel1 is not None and self.source is None:
            raise ValueError("--sentinel1 needs --source: both are compared for the same rows")
