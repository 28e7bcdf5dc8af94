"""Fetch one product: its manifest, then the files that the manifest lists, several at a time."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from etl.bands import BANDS
from etl.download.fetch import DamagedFileError, FileFetcher
from etl.download.offer import Offer
from etl.download.target import Target
from etl.input_files import MOST_FILES, MOST_METADATA_BYTES, NO_LINKS, fault_text, read_bytes, refused_name, shortened
from etl.safe_manifest import MANIFEST, ListedFile, listed_files
from etl.source.safe import files_to_read

__all__ = ["ProductFetcher", "is_present"]


def is_present(target: Target, stem: str, only_needed: bool) -> bool:
    """Whether all files that are asked for are there; asks no server."""
    try:
        return (target.finished(stem) / MANIFEST).is_file() and not _missing(target, stem, only_needed)
    except DamagedFileError:
        return False


@dataclass(frozen=True, slots=True)
class ProductFetcher:
    """Fetches products; used by several threads."""

    fetcher: FileFetcher
    pool: Executor
    """Runs the fetching of files."""
    only_needed: bool
    """Whether only the files that extraction reads are fetched."""

    def fetch(self, offer: Offer) -> None:
        """Fetch what is not there of a product, and put it in its place.

        Raises:
            MissingFileError: the product, or a file of it, is not there.
            DamagedFileError: a file differs from the manifest, or the manifest cannot be used.
            ConnectionError: the service does not answer.
            InterruptedError: the run ends.
            OSError: something cannot be written.
        """
        target = self.fetcher.target
        finished = target.finished(offer.stem) / MANIFEST
        if finished.is_file() and not _is_manifest(target, offer.stem):
            finished.unlink()
        self.pool.submit(self.fetcher.fetch, offer, MANIFEST, None).result()
        try:
            missing = _missing(target, offer.stem, self.only_needed)
            _wait_for([self.pool.submit(self.fetcher.fetch, offer, one.name, one) for one in missing])
        except DamagedFileError:
            # the manifest can be what is damaged: the next run fetches it again
            (target.unfinished(offer.stem) / MANIFEST).unlink(missing_ok=True)
            raise
        if target.unfinished(offer.stem).exists():
            target.finish(offer.stem)


def _is_manifest(target: Target, stem: str) -> bool:
    try:
        _missing(target, stem, only_needed=False)
    except DamagedFileError:
        return False
    return True


def _wait_for(files: Sequence[Future[Any]]) -> None:
    """Wait for all files; the first error cancels those that have not begun."""
    try:
        for file in files:
            file.result()
    except BaseException:
        for file in files:
            file.cancel()
        wait(files)
        raise


def _missing(target: Target, stem: str, only_needed: bool) -> list[ListedFile]:
    """Files that are asked for, as the manifest lists them, and that are not in the product's place.

    Raises:
        DamagedFileError: it is no manifest, or lists no product.
    """
    path = target.path_of(stem, MANIFEST)
    assert path is not None
    try:
        root = ElementTree.fromstring(read_bytes(path, NO_LINKS, MOST_METADATA_BYTES))
        listed = {one.name: one for one in listed_files(root)}
    except (ElementTree.ParseError, LookupError, ValueError, MemoryError, RecursionError, OSError) as error:
        raise DamagedFileError(f"{stem}: {MANIFEST} cannot be read: {fault_text(error)}") from None
    refused = [name for name in listed if refused_name(name)] or ["more of them"] * (len(listed) > MOST_FILES)
    if refused:
        raise DamagedFileError(
            f"{stem}: {MANIFEST} must list up to {MOST_FILES} files of the product, got {shortened(refused[0])}"
        )
    needed = files_to_read(listed)
    absent = [band.name for band in BANDS if band.name not in needed]
    if absent:
        raise DamagedFileError(f"{stem}: {MANIFEST} must list all twelve bands; {', '.join(absent)} missing")
    chosen = [listed[name] for name in sorted(set(needed.values()))] if only_needed else list(listed.values())
    try:
        for one in chosen:
            one.require_known_checksum()
    except ValueError as error:
        raise DamagedFileError(f"{stem}: {error}") from None
    return [one for one in chosen if not (target.finished(stem) / one.name).is_file()]
