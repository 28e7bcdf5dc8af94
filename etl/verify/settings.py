"""Settings of `etl.verify`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting

__all__ = ["VerifySettings"]


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Hold a store against itself, its catalogue and, with --source, its source pixels, on any number of MPI ranks.

    One line a check; exit status 0 where all are good, 1 where one failed, 2 where there is no store to verify.
    """

    store: Path = setting(Path("data/store.h5"), "store to verify")
    catalogue: Path | None = setting(None, "its catalogue (without this, the one it says it was made from)")
    source: Path | None = setting(None, "folder of products or patches to read native pixels from again")
    sample: int = setting(200, "patches to read again, spread at random over the store; 0 for all", "patches")
    seed: int = setting(0, "of the choice of these patches")

    def __post_init__(self) -> None:
        for name in ("sample", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must not be negative, got {getattr(self, name)}")
