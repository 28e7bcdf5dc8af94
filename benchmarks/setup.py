"""Settings of every scenario: its size, folders, repeats, and how programs are started."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SIZES", "Setup", "default_cache"]

SIZES = ("tiny", "laptop", "cluster")
"""tiny: for tests, takes seconds, speeds mean nothing; laptop: data of full size, few ranks; cluster: many ranks."""


def default_cache() -> Path:
    """Folder that keeps inputs between runs, because some take minutes to make."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sentinel-etl" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of one scenario."""

    size: str
    """One of SIZES."""

    scratch: Path
    """Folder for stores that are written; its disk is part of the result."""

    cache: Path
    """Folder for inputs, kept between runs."""

    repeats: int | None = None
    """Interleaved repeats; None for the scenario's default."""

    spare: int | None = None
    """Most extra repeats if other programs disturb; None: as many as repeats, none at size tiny."""

    launcher: str = "mpirun -n {ranks}"
    """Command line that starts a program on `{ranks}` ranks."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"--size must be one of {', '.join(SIZES)}, got {self.size!r}")
        if self.repeats is not None and self.repeats < 1:
            raise ValueError(f"--repeats must be at least 1, got {self.repeats}")
        if self.spare is not None and self.spare < 0:
            raise ValueError(f"--spare must be at least 0, got {self.spare}")
        if "{ranks}" not in self.launcher:
            raise ValueError(
                f"--launcher must contain {{ranks}} in place of the number of ranks, got {self.launcher!r}"
            )

    def command(self, ranks: int) -> list[str]:
        """The launcher's command line for `ranks` ranks."""
        return shlex.split(self.launcher.format(ranks=ranks))

    def times(self, tiny: int, otherwise: int) -> int:
        """Number of repeats: `--repeats`, or else `tiny` at that size and `otherwise` at the others."""
        return self.repeats or (tiny if self.size == "tiny" else otherwise)

    def spares(self, repeats: int) -> int:
        """Most extra repeats if other programs disturb."""
        if self.spare is not None:
            return self.spare
        return 0 if self.size == "tiny" else repeats
