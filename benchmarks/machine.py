"""What the machine did meanwhile: CPU seconds in all, and the fraction that other programs took."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Moment", "others_share"]


@dataclass(frozen=True, slots=True)
class Moment:
    """CPU seconds of the whole machine since it started."""

    busy_s: float
    """Spent on anything, by any program, or taken by the host."""

    all_s: float
    """Spent or idle."""

    @classmethod
    def now(cls) -> "Moment":
        """As of now; zeros where /proc does not tell."""
        try:
            words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
            values = [int(word) / os.sysconf("SC_CLK_TCK") for word in words[1:9]]
        except (OSError, ValueError):
            return cls(0.0, 0.0)
        return cls(sum(values) - values[3] - values[4], sum(values))


def others_share(before: Moment, after: Moment, own_s: float) -> float:
    """Share of the CPU time between two moments that went to others than us, 0 to 1; NaN where /proc does not tell."""
    passed_s = after.all_s - before.all_s
    if passed_s <= 0:
        return float("nan")
    return min(1.0, max(0.0, (after.busy_s - before.busy_s - own_s) / passed_s))
