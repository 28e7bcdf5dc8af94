"""What became of each acquisition: the record that a run leaves beside the products, and what it prints."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from etl.download.settings import DownloadSettings
from etl.plural import counted
from etl.settings import settings_record

__all__ = ["ProductOutcome", "download_record", "expected_bytes", "print_expected", "summarise"]

log = logging.getLogger("etl.download")

_AVAILABLE = ("fetched", "present")

_NEEDED_SHARE = 0.6
"""Share of a product's bytes that the twelve bands, at their own resolutions, and the scene classes take."""


@dataclass(frozen=True, slots=True)
class ProductOutcome:
    """What became of one product, or of an acquisition without one."""

    acquisition: str
    """Mission, time and tile."""

    state: str
    """fetched, present, offline, deleted, not offered, missing, damaged, or failed: a later run can fetch it."""

    product: str = ""
    """Name of the product, if there is one."""

    reason: str = ""
    """Why it is not there."""

    @property
    def is_available(self) -> bool:
        """Whether the product is there."""
        return self.state in _AVAILABLE


def download_record(
    settings: DownloadSettings, outcomes: Sequence[ProductOutcome], fetched_bytes: int, seconds: float
) -> str:
    """The record of a run, in JSON."""
    record = {
        "settings": settings_record(settings),
        "seconds": round(seconds, 3),
        "fetched_bytes": fetched_bytes,
        "counts": dict(Counter(outcome.state for outcome in outcomes)),
        "products": [asdict(outcome) for outcome in outcomes],
    }
    return json.dumps(record, indent=1) + "\n"


def summarise(settings: DownloadSettings, outcomes: Sequence[ProductOutcome], fetched_bytes: int) -> None:
    """Log what is missing, and print how much is there."""
    _log_missing(outcomes)
    fetched = sum(outcome.state == "fetched" for outcome in outcomes)
    amount = f"{counted(fetched, 'product')} fetched ({fetched_bytes / 2**20:,.1f} MiB)"
    print(f"{settings.shown_out}: {amount}, {_counts(outcomes)}")


def expected_bytes(product_bytes: int, settings: DownloadSettings) -> int:
    """About how many of a product's bytes are fetched."""
    return int(product_bytes * (_NEEDED_SHARE if settings.files == "needed" else 1))


def print_expected(settings: DownloadSettings, sizes: Sequence[int], outcomes: Sequence[ProductOutcome]) -> None:
    """Print what would be fetched; `sizes`: bytes of each product to fetch, 0 where the service does not say."""
    unknown = f", and {sizes.count(0)} of unknown size" if 0 in sizes else ""
    hours = sum(sizes) / 2**20 / settings.rate_mib / 3600
    print(
        f"{settings.shown_out}: {counted(len(sizes), 'product')} to fetch, "
        f"about {sum(sizes) / 2**30:,.2f} GiB{unknown}; "
        f"{hours:,.1f} hours at {settings.rate_mib:g} MiB/s; {_counts(outcomes)}"
    )
    _log_missing(outcomes)


def _counts(outcomes: Sequence[ProductOutcome]) -> str:
    present = sum(outcome.state == "present" for outcome in outcomes)
    return f"{present} there already, {sum(not outcome.is_available for outcome in outcomes)} not available"


def _log_missing(outcomes: Sequence[ProductOutcome]) -> None:
    for outcome in outcomes:
        if not outcome.is_available:
            log.warning("%s: %s: %s", outcome.acquisition, outcome.state, outcome.reason)
