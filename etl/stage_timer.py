"""Seconds spent in each stage of a run, added up under the stage's name."""

import time

__all__ = ["StageTimer"]


class StageTimer:
    """Seconds by stage. Each stage is timed by one thread at a time; different stages may be by different threads."""

    def __init__(self, *stages: str) -> None:
        """`stages` are there from the start, with 0 seconds, in this order; others are added when first timed."""
        self.seconds: dict[str, float] = dict.fromkeys(stages, 0.0)
        """Wall seconds by stage."""
        self._lap_start = time.perf_counter()

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def stage(self, name: str) -> "_Stage":
        """Add the seconds of the `with` block, also where it raises."""
        return _Stage(self, name)

    def lap(self, stage: str) -> None:
        """Add the seconds since the last lap, or since this timer was made: consecutive stages leave no gap."""
        now = time.perf_counter()
        self.add(stage, now - self._lap_start)
        self._lap_start = now


class _Stage:
    """Times one `with` block; `contextlib.contextmanager` would take thrice as long, several times a patch."""

    __slots__ = ("_name", "_start", "_timer")

    def __init__(self, timer: StageTimer, name: str) -> None:
        self._timer, self._name = timer, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._timer.add(self._name, time.perf_counter() - self._start)
