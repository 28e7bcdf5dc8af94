"""Compare two records of one scenario, figure by figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["changes", "compare"]

_NOTABLE = 0.05
"""Smallest change that is reported, as a fraction of the first record's figure."""

_LESS_IS_BETTER = ("seconds", "mib", "inefficiency")
_MORE_IS_BETTER = ("per_second", "f1_")


def compare(first: Path, second: Path) -> list[str]:
    """Lines that name the figures of `second` that are worse than those of `first` by 5 % or more.

    Raises:
        ValueError: a file is not a record, or the records are of different scenarios or sizes.
    """
    records = [_read(path) for path in (first, second)]
    names = [f"{record['benchmark']} ({record['size']})" for record in records]
    if names[0] != names[1]:
        raise ValueError(f"both records must be of one scenario and size, got {names[0]} and {names[1]}")
    return [
        f"{name}: {before:.4g} -> {after:.4g}, worse by {worse:.0%}"
        for name, before, after, worse in changes(*records)
        if worse >= _NOTABLE
    ]


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """(figure, first, second, fraction by which the second is worse; negative if it is better), the worst first.

    Figures that are in only one record are left out, and those of which it is not known whether larger is better.
    """
    at_least = {bar["figure"]: bool(bar["at_least"]) for record in (first, second) for bar in record["bars"]}
    out = []
    for name, before in first["figures"].items():
        after, more = second["figures"].get(name), at_least.get(name, _more_is_better(name))
        if after is None or more is None or before <= 0 or after <= 0:
            continue
        out.append((name, before, after, before / after - 1 if more else after / before - 1))
    return sorted(out, key=lambda item: -item[3])


def _more_is_better(name: str) -> bool | None:
    if any(word in name for word in _MORE_IS_BETTER):
        return True
    return False if any(word in name for word in _LESS_IS_BETTER) and "ratio" not in name else None


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["figures"], record["bars"], record["benchmark"], record["size"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a record of python -m benchmarks: {error!r}") from None
    return record
