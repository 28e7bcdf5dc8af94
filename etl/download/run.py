"""One download, from settings to products in a folder or bucket: look for them, choose, fetch, report."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from typing import TYPE_CHECKING, NamedTuple

from etl.bucket_files import is_remote
from etl.catalogue.names import parse_product
from etl.catalogue.table import read_catalogue_table
from etl.download.archive import download_archive
from etl.download.bucket import BucketTarget
from etl.download.fetch import DamagedFileError, FileFetcher
from etl.download.odata import ODataCatalogue
from etl.download.offer import Acquisition, Offer, acquisition_of, best_offers, offers_of
from etl.download.product import ProductFetcher, is_present
from etl.download.remote import HttpFiles, MissingFileError, RemoteFiles, S3Files
from etl.download.report import ProductOutcome, download_record, expected_bytes, print_expected, summarise
from etl.download.settings import DownloadSettings
from etl.download.target import FolderTarget, Target
from etl.download.tokens import AccessTokens, account_for, service_server
from etl.download.web import new_session
from etl.download.workers import Arrived, fetch_threads
from etl.exit_status import ExitStatus
from etl.plural import counted
from etl.progress import report_progress

if TYPE_CHECKING:
    from etl.download.stac import StacCatalogue

__all__ = ["download"]

log = logging.getLogger("etl.download")

_PRODUCTS_AT_ONCE = 2
"""So that all connections are in use while the last files of a product arrive."""

_MOST_FAILURES = 3
"""Products in a row that the service does not send, after which no other is tried."""

_OFFLINE = "the service has it in its archive only; order it there, and run this again"

_WAIT_S = 1.0
"""Seconds between two looks at a product that another run fetches."""


def download(settings: DownloadSettings) -> ExitStatus:
    """Fetch what `settings` ask for, print and record what became of it, and return the exit status.

    Raises:
        ValueError: the settings, the catalogue or the account cannot be used.
        ConnectionError: a service does not answer, or some products could not be fetched; a later run goes on.
        OSError: something cannot be written.
    """
    if settings.archive:
        return download_archive(settings)
    start, only_needed = time.monotonic(), settings.files == "needed"
    remote = None if settings.dry_run else _remote_files(settings)  # first: it can lack an account
    target, outcomes, to_fetch = _target(settings), list[ProductOutcome](), list[_Job]()
    for wanted, offers in _search(settings):
        chosen = best_offers(offers)
        outcomes += [] if chosen else [_without_product(wanted, offers)]
        for newer in offers[: offers.index(chosen[0])] if chosen else ():
            log.warning("%s: %s is %s; an older one is taken", wanted, newer.stem, newer.deleted or "offline")
        for offer in chosen:
            if is_present(target, offer.stem, only_needed):
                outcomes.append(ProductOutcome(str(wanted), "present", offer.stem))
            elif not offer.is_online:
                outcomes.append(ProductOutcome(str(wanted), "offline", offer.stem, _OFFLINE))
            else:
                to_fetch.append(_Job(wanted, offer))
    sizes = [expected_bytes(job.offer.size_bytes, settings) for job in to_fetch]
    if remote is None:
        print_expected(settings, sizes, outcomes)
        return ExitStatus.DONE
    target.make()
    with report_progress("download", sum(sizes) >> 20, "MiB") as show:
        arrived = Arrived(show)
        fetcher = FileFetcher(target, settings.attempts, arrived.add, threading.Event())
        try:
            with fetch_threads(target.threads, "file", fetcher.stopping) as pool:
                outcomes += _fetch_all(ProductFetcher(fetcher, remote, pool, only_needed), to_fetch)
        except BaseException:
            target.settle()
            raise
    outcomes.sort(key=lambda outcome: (outcome.acquisition, outcome.product))
    target.write_record(download_record(settings, outcomes, arrived.bytes, time.monotonic() - start))
    summarise(settings, outcomes, arrived.bytes)
    if failed := [outcome for outcome in outcomes if outcome.state == "failed"]:
        raise ConnectionError(f"{counted(len(failed), 'product')} not fetched, the first: {failed[0].reason}")
    complete = all(outcome.is_available for outcome in outcomes)
    return ExitStatus.DONE if complete or not settings.strict else ExitStatus.REJECTED


class _Job(NamedTuple):
    """A product to fetch."""

    wanted: Acquisition
    offer: Offer


def _target(settings: DownloadSettings) -> Target:
    return (BucketTarget if is_remote(settings.out) else FolderTarget)(settings.out, settings.connections)


def _remote_files(settings: DownloadSettings) -> RemoteFiles:
    if settings.transfer == "s3":
        return S3Files(settings.s3_url, service_server(settings.s3_url, is_remote(settings.out)))
    tokens = AccessTokens(new_session(settings.attempts), settings.token_url, account_for(settings.token_url))
    return HttpFiles(lambda: new_session(1), tokens, settings.download_url)


def _catalogue(settings: DownloadSettings) -> "ODataCatalogue | StacCatalogue":
    if settings.search == "odata":
        return ODataCatalogue(new_session(settings.attempts), settings.odata_url, settings.download_url)
    from etl.download.stac import StacCatalogue  # with 25 packages that nothing else needs

    return StacCatalogue(settings.stac_url, settings.attempts)


def _search(settings: DownloadSettings) -> list[tuple[Acquisition, list[Offer]]]:
    """The acquisitions that are wanted, in order, and all offers of each.

    Raises: as `download`.
    """
    catalogue = _catalogue(settings)
    if settings.catalogue is not None:
        wanted = _wanted(settings)
        offers = list(catalogue.of_acquisitions(wanted))
    else:
        offers = list(catalogue.in_area(settings.bounds, *settings.days, settings.max_cloud))
        wanted = sorted({acquisition_of(offer.name) for offer in offers})
    if not wanted:
        raise ValueError(f"--area {settings.area}, --time {settings.time}: the catalogue has no Level-2A product there")
    log.info("%s wanted, %s offered", counted(len(wanted), "acquisition"), counted(len(offers), "product"))
    return [(one, offers_of(one, offers)) for one in wanted]


def _wanted(settings: DownloadSettings) -> list[Acquisition]:
    """The acquisitions that a catalogue lists, in order."""
    assert settings.catalogue is not None
    table = read_catalogue_table(settings.catalogue).select(["product", "tile"])
    found = set[Acquisition]()
    for row in table.group_by(["product", "tile"]).aggregate([]).to_pylist():
        if not row["product"] or not row["tile"]:
            raise ValueError(f"{settings.catalogue} must name product and tile of each patch, as of Sentinel-2")
        name = parse_product(row["product"])
        found.add(Acquisition(name.mission, name.acquired, row["tile"].removeprefix("T")))
    return sorted(found)


def _without_product(wanted: Acquisition, offers: Sequence[Offer]) -> ProductOutcome:
    """Why there is no product to fetch for an acquisition."""
    if not offers:
        return ProductOutcome(str(wanted), "not offered", "", "the catalogue has no product of it")
    first = offers[0]
    if first.deleted:
        return ProductOutcome(str(wanted), "deleted", first.stem, first.deleted)
    return ProductOutcome(str(wanted), "offline", first.stem, _OFFLINE)


def _fetch_all(products: ProductFetcher, jobs: Sequence[_Job]) -> list[ProductOutcome]:
    """Fetch products, some at a time; those that other runs fetch come last, and failures in a row end it."""
    outcomes, left, failures = list[ProductOutcome](), list(jobs), 0
    with fetch_threads(_PRODUCTS_AT_ONCE, "product", products.fetcher.stopping) as pool:
        while left:
            running = {pool.submit(_fetch_one, products, job): job for job in left}
            left = []
            for future in as_completed(running):
                if future.cancelled():
                    continue
                outcome = future.result()
                if outcome is None:
                    left.append(running[future])
                    continue
                outcomes.append(outcome)
                failures = failures + 1 if outcome.state == "failed" else 0
                if failures == _MOST_FAILURES:
                    log.warning("%d products in a row failed: no other is tried", failures)
                    for other in running:
                        other.cancel()
            products.fetcher.stopping.wait(_WAIT_S if left else 0)
    return outcomes


def _fetch_one(products: ProductFetcher, job: _Job) -> ProductOutcome | None:
    """Fetch a product, and tell what became of it; None if another run fetches it."""
    target, stem = products.fetcher.target, job.offer.stem
    with target.product(stem) as is_held:
        if not is_held:
            return None
        if is_present(target, stem, products.only_needed):  # another run has fetched it meanwhile
            return ProductOutcome(str(job.wanted), "present", stem)
        try:
            products.fetch(job.offer)
        except ConnectionError as error:
            return ProductOutcome(str(job.wanted), "failed", stem, str(error))
        except MissingFileError as error:
            return ProductOutcome(str(job.wanted), "missing", stem, str(error))
        except DamagedFileError as error:
            return ProductOutcome(str(job.wanted), "damaged", stem, str(error))
        return ProductOutcome(str(job.wanted), "fetched", stem)
