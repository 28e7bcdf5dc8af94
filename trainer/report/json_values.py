"""Values of a JSON record that may be missing or damaged, as the type that is wanted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_list", "as_mapping", "as_number", "at_path"]

_MOST = 1e15
"""Least number that is not drawn."""


def as_mapping(value: object) -> Mapping[str, Any]:
    """A mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_number(value: object) -> float:
    """A number that can be drawn; NaN for anything else, also for infinity."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
    return float(value) if good and isinstance(value, int | float) else math.nan


def at_path(value: object, path: Sequence[str]) -> object:
    """What lies below these keys; None if a key is missing."""
    for key in path:
        value = as_mapping(value).get(key)
    return value
