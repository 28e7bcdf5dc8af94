"""What is odd about a source, but no reason to reject a patch."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["UNPLACED", "SourceWarning", "log_warnings", "summarise_warnings"]

UNPLACED = "files without georeference or a part of it, whose place could not be compared"
"""What a `SourceWarning` says of such files."""


class SourceWarning(NamedTuple):
    """One kind of oddity, and how often one rank or product has it."""

    what: str
    """What is odd and what follows from it, in the plural: the same words wherever it occurs."""

    example: str
    """The first file, product or patch that has it, with the reason."""

    times: int = 1


def summarise_warnings(warnings: Iterable[SourceWarning]) -> list[str]:
    """One line for each kind of oddity: how often it occurs, and its first example."""
    by_kind: dict[str, SourceWarning] = {}
    for warning in warnings:
        known = by_kind.get(warning.what)
        by_kind[warning.what] = known._replace(times=known.times + warning.times) if known else warning
    return [f"{warning.what}: {warning.times}, for example {warning.example}" for warning in by_kind.values()]


def log_warnings(log: logging.Logger, warnings: Iterable[SourceWarning]) -> None:
    """Log one warning for each kind of oddity."""
    for message in summarise_warnings(warnings):
        log.warning("%s", message)
