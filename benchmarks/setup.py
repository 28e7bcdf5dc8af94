"""What every scenario is told: its size, where it may write, how programs are started."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SIZES", "Setup", "default_cache"]

SIZES = ("tiny", "laptop", "cluster")
"""tiny: seconds, for the tests, speeds mean nothing; laptop: full-size data, few ranks; cluster: many ranks."""


def default_cache() -> Path:
    """Where inputs that take minutes to make are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sentinel-etl" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Setup:
    """How one scenario is to be measured."""

    size: str
    """One of SIZES."""

    scratch: Path
    """Folder for what is measured being written; its disk is part of the result."""

    cache: Path
    """Folder for inputs, kept between runs."""

    repeats: int | None = None
    """Interleaved repeats; None leaves the number to the scenario."""

    spare: int | None = None
    """Most further repeats where other programs disturb; None: as many as there are repeats, none at size tiny."""

    launcher: str = "mpirun -n {ranks}"
    """Command line that starts a program on `{ranks}` ranks."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {self.size!r}")
        if self.repeats is not None and self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        if self.spare is not None and self.spare < 0:
            raise ValueError(f"spare must be at least 0, got {self.spare}")
        if "{ranks}" not in self.launcher:
            raise ValueError(f"launcher must hold {{ranks}}, got {self.launcher!r}")

    def command(self, ranks: int) -> list[str]:
        """The launcher's command line for `ranks` ranks."""
        return shlex.split(self.launcher.format(ranks=ranks))

    def times(self, tiny: int, otherwise: int) -> int:
        """Repeats: as asked for, else `tiny` at that size and `otherwise` at the others."""
        return self.repeats or (tiny if self.size == "tiny" else otherwise)

    def spares(self, repeats: int) -> int:
        """Most further repeats, where others disturb."""
        if self.spare is not None:
            return self.spare
        return 0 if self.size == "tiny" else repeats
