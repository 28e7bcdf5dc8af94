"""CPU time of the whole machine, and the share of it that other programs use during a measurement."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Moment", "others_share"]


@dataclass(frozen=True, slots=True)
class Moment:
    """CPU seconds of the whole machine since it started."""

    busy_s: float
    """CPU seconds used by any program, or taken by the host of a virtual machine."""

    all_s: float
    """CPU seconds used or idle."""

    @classmethod
    def now(cls) -> "Moment":
        """CPU seconds until now; zeros if /proc does not have them."""
        try:
            words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
            values = [int(word) / os.sysconf("SC_CLK_TCK") for word in words[1:9]]
        except (OSError, ValueError):
            return cls(0.0, 0.0)
        return cls(sum(values) - values[3] - values[4], sum(values))


def others_share(before: Moment, after: Moment, own_s: float) -> float:
    """Share of the CPU time between two moments that other programs used, 0 to 1; NaN if /proc does not have it.

    `own_s`: CPU seconds that the measured programs used.
    """
    passed_s = after.all_s - before.all_s
    if passed_s <= 0:
        return float("nan")
    return min(1.0, max(0.0, (after.busy_s - before.busy_s - own_s) / passed_s))
