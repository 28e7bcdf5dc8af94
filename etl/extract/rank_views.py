"""What rank 0 knows of each rank, and which of them hangs.

Pure: no clock, no network.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from etl.heartbeat import Activity

__all__ = ["RankView", "Verdict", "find_hung", "view_of"]

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class RankView:
    """What one rank does, as it says itself."""

    rank: int
    """Its number."""

    host: str
    """Name of its host."""

    what: str = "starting"
    """What it does, in words: of several threads the one that has been at the same work for longest."""

    unit: str = ""
    """As of `Activity`."""

    idle_s: float = 0.0
    """Seconds for which it has done just this."""

    waits: bool = False
    """Whether all of its threads wait for other ranks or for each other."""

    together: bool = False
    """As of `Activity`."""

    def to_bytes(self) -> bytes:
        """The view as a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "RankView":
        """The view in a message.

        Raises:
            ValueError, TypeError: there is none.
        """
        return cls(**json.loads(data))


def view_of(rank: int, host: str, idle: Iterable[tuple[Activity, float]]) -> RankView:
    """View of a rank; `idle`: what each of its threads does, and for how many seconds."""
    items = list(idle)
    busy = [item for item in items if not item[0].waits]
    if busy:
        activity, idle_s = max(busy, key=lambda item: item[1])
    elif items:
        activity, idle_s = min(items, key=lambda item: item[1])
    else:
        return RankView(rank, host)
    return RankView(rank, host, activity.what, activity.unit, idle_s, activity.waits, activity.together)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the job ends."""

    message: str
    """Which ranks hang, and where."""

    units: Mapping[str, str] = field(default_factory=dict)
    """Units of the source that are to be rejected: reason by unit."""

    lost: bool = False
    """Whether the ranks themselves do not run, which may be no fault of the units."""


def find_hung(
    views: Mapping[int, RankView], unseen_s: Mapping[int, float], limit_s: float, grace_s: float, size: int
) -> Verdict | None:
    """Which ranks have made no progress for `limit_s` seconds; None if no rank hangs.

    A rank that waits for others does not hang. One of which nothing has been heard does not run. A collective write may
    wait for a rank that does not run, so it is named `grace_s` seconds later, and so is a job in which all `size` ranks
    wait for each other.

    Args:
        views: last view of each rank that has been heard of.
        unseen_s: seconds since then.
        limit_s: `--stall`.
        grace_s: what a message may take.
        size: number of ranks.
    """
    lost = [view for rank, view in views.items() if unseen_s[rank] >= limit_s]
    if lost:
        what = f"does not run (it is stopped, or its host is lost) and was last heard of {limit_s:g} s ago"
        return Verdict(_named(lost, size, what), _reasons(lost, limit_s), lost=True)
    busy = [view for view in views.values() if not view.waits and view.idle_s >= limit_s]
    hung = [view for view in busy if not view.together or view.idle_s >= limit_s + grace_s]
    if hung:
        return Verdict(_named(hung, size, f"has made no progress for {limit_s:g} s"), _reasons(hung, limit_s))
    waiting = [view for view in views.values() if view.waits and view.idle_s >= limit_s + grace_s]
    if len(waiting) == size:
        return Verdict(_named(waiting[:1], size, f"and all others have waited for each other for {limit_s:g} s"))
    return None


def _named(views: Iterable[RankView], size: int, what: str) -> str:
    texts = [f"rank {view.rank} of {size} on {view.host} {what}: {view.what}" for view in views]
    more = f" (and {len(texts) - _MOST_NAMED} more ranks)" if len(texts) > _MOST_NAMED else ""
    return "; ".join(texts[:_MOST_NAMED]) + more


def _reasons(views: Iterable[RankView], limit_s: float) -> dict[str, str]:
    tail = f"an earlier run hung here for {limit_s:g} s; --resume --retry-rejected tries it again"
    return {view.unit: f"{view.unit}: {tail}" for view in views if view.unit}
