"""Which tests start processes: those that reach the module `subprocess` through their own code or their fixtures'."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

__all__ = ["starts_process"]

HERE = Path(__file__).parent


def starts_process(item: pytest.Item) -> bool:
    """Whether a test may start a process, so that `make test-fast` leaves it out."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    todo, seen = [*_functions(item.function), *(several[-1].func for several in fixtures)], set[FunctionType]()
    while todo:
        function = todo.pop()
        if isinstance(function, FunctionType) and function not in seen:
            seen.add(function)
            named = _named(function)
            if any(value is subprocess for value in named):
                return True
            todo += [one for value in named for one in _functions(value)]
    return False


@functools.cache
def _named(function: FunctionType) -> list[Any]:
    """What a function of the tests names of its module; nothing for a function of other code."""
    if not Path(function.__code__.co_filename).is_relative_to(HERE):
        return []
    return [function.__globals__.get(name) for name in _names(function.__code__)]


def _names(code: CodeType) -> Iterator[str]:
    """Names of a code and of what is defined in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _functions(value: Any) -> list[FunctionType]:
    """A function, also one behind a decorator; or a class's methods."""
    values = vars(value).values() if isinstance(value, type) else [getattr(value, "__wrapped__", value)]
    return [one for one in values if isinstance(one, FunctionType)]
