"""Fetch one product: its manifest, then the files that the manifest lists, several at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

from etl.bands import BANDS
from etl.download.fetch import DamagedFileError, FileFetcher, RemoteSource
from etl.download.offer import Offer
from etl.download.remote import RemoteFiles
from etl.download.target import Target
from etl.input_files import MOST_FILES, NO_LINKS, fault_text, read_bytes, refused_name, shortened
from etl.safe_manifest import MANIFEST, ListedFile, listed_files
from etl.source.safe import files_to_read

__all__ = ["ProductFetcher", "is_present"]


def is_present(target: Target, stem: str, only_needed: bool) -> bool:
    """Whether all files that are asked for are there; does not ask the service."""
    files = _finished_files(target, stem, only_needed)
    return files is not None and not target.missing(stem, files)


@dataclass(frozen=True, slots=True)
class ProductFetcher:
    """Fetches products; used by several threads."""

    fetcher: FileFetcher
    remote: RemoteFiles
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
        manifest = target.unfinished(offer.stem) / MANIFEST
        files = _finished_files(target, offer.stem, self.only_needed)
        try:
            if files is None:
                self.pool.submit(self._fetch_file, offer, MANIFEST, None).result()
                files = _chosen(offer.stem, lambda: read_bytes(manifest, NO_LINKS), self.only_needed)
            missing = target.missing(offer.stem, files)
            _wait_for([self.pool.submit(self._fetch_file, offer, one.name, one) for one in missing])
        except DamagedFileError:
            # the manifest can be what is damaged: the next run fetches it again
            manifest.unlink(missing_ok=True)
            raise
        if target.unfinished(offer.stem).exists():
            target.finish(offer.stem, files)

    def _fetch_file(self, offer: Offer, name: str, listed: ListedFile | None) -> None:
        """Fetch a file of a product, unless an earlier run did, and deliver it; `listed`: its entry in the manifest."""
        target, fetcher = self.fetcher.target, self.fetcher
        path = target.unfinished(offer.stem) / name
        if not path.is_file():
            checksum = (listed.checksum_name, listed.digest) if listed else None
            pieces, has_ranges = partial(self.remote.pieces, offer, name), self.remote.has_ranges
            fetcher.fetch(RemoteSource(f"{offer.stem}: {name}", pieces, has_ranges, checksum, MANIFEST), path)
        if listed is not None:
            target.deliver(offer.stem, listed, fetcher.stopping.is_set)


def _finished_files(target: Target, stem: str, only_needed: bool) -> list[ListedFile] | None:
    """Files that are asked for, as the manifest in its place lists them; None if there is none that can be used."""
    try:
        return _chosen(stem, lambda: target.manifest(stem), only_needed)
    except DamagedFileError:
        return None


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


def _chosen(stem: str, read: Callable[[], bytes | None], only_needed: bool) -> list[ListedFile]:
    """Files that are asked for, as the manifest lists them that `read` gives.

    Raises:
        DamagedFileError: it is no manifest, or lists no product.
        ConnectionError: it is in a bucket whose server does not answer.
    """
    try:
        root = ElementTree.fromstring(read() or b"")
        listed = {one.name: one for one in listed_files(root)}
    except ConnectionError:
        raise
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
    return chosen
