"""Every way in which a store is read, and a watch over the files that reading it must not open."""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mpi4py import MPI

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError, exit_status_of
from etl.preview.contact_sheet import read_contact_sheet
from etl.preview.settings import PreviewSettings
from etl.stats.counting import count_store
from etl.store.backend import backend_of
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.verify.run import verify
from etl.verify.settings import VerifySettings
from trainer.config import BandSelection
from trainer.data.selection import RowSelection, select_rows

__all__ = ["READERS", "all_arrays", "opened_below", "refused_by"]

_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000
_EVENT = struct.Struct("iIII")


def all_arrays(store: StoreReader) -> dict[str, bytes]:
    """Bytes of every array of a store."""
    pixels = {item.name for item in store.schema.pixels}
    rows = np.arange(store.schema.rows)
    return {name: (store.read(name, rows) if name in pixels else store.column(name)).tobytes() for name in store.names}


def _read(path: Path | str, folder: Path) -> dict[str, bytes]:
    with StoreReader(path) as store:
        return all_arrays(store)


def _resume(path: Path | str, folder: Path) -> dict[str, bytes]:
    with backend_of(path).reader() as store:
        return all_arrays(store)


def _open_store(path: Path | str, folder: Path) -> dict[str, bytes]:
    with etl.open_store(path, all_rows=True) as ds:
        return {str(name): array.values.tobytes() for name, array in ds.data_vars.items()}


def _train(path: Path | str, folder: Path) -> dict[str, bytes]:
    bands = (BandSelection("data_10m"), BandSelection("data_60m"))
    rows = select_rows(path, RowSelection(bands, "all", labelled_only=False))
    with rows.reader as store:
        return {item.name: store.read(item.name, rows.store_rows).tobytes() for item in rows.pixels}


def _convert(path: Path | str, folder: Path) -> dict[str, bytes]:
    out = folder / "converted.h5"
    try:
        convert(ConvertSettings(Location.parse(path), Location.parse(out), keep_rejected=True), MPI.COMM_SELF)
    except (JobError, ValueError):
        assert not out.exists()
        raise
    try:
        return _read(out, folder)
    finally:
        out.unlink()


def _stats(path: Path | str, folder: Path) -> dict[str, bytes]:
    with StoreReader(path) as store:
        counts = count_store(store, 1, 8, scheduler="synchronous")
    return {name: values.count.tobytes() for name, values in counts.items()}


def _preview(path: Path | str, folder: Path) -> dict[str, bytes]:
    sheet = read_contact_sheet(PreviewSettings(Location.parse(path), folder / "p.png"))
    return {"cards": b"".join(card.pixels.tobytes() for card in sheet.cards)}


def _verify(path: Path | str, folder: Path) -> dict[str, bytes]:
    if verify(VerifySettings(Location.parse(path)), MPI.COMM_SELF):
        raise ValueError("verify says what is wrong")
    return {}


READERS: dict[str, Callable[[Path | str, Path], dict[str, bytes]]] = {
    "reader": _read, "resume": _resume, "open_store": _open_store, "train": _train, "convert": _convert,
    "stats": _stats, "preview": _preview, "verify": _verify,
}  # fmt: skip
"""Each reads a store, with a folder for what it writes, and returns bytes that must not depend on damage."""


def refused_by(name: str, path: Path | str, folder: Path) -> tuple[str, int]:
    """The words in which a reader refuses a store, and its exit status; ("", 0) if it does not.

    Any other exception than those of bad input and damage is the caller's.
    """
    try:
        READERS[name](path, folder)
    except (JobError, ValueError, OSError) as error:
        return str(error), exit_status_of(error)
    return "", 0


@contextmanager
def opened_below(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Names of the files in `folder` that this process, or any other, opened since; also by C libraries."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(_IN_NONBLOCK)
    assert fd >= 0 <= libc.inotify_add_watch(fd, os.fsencode(folder), _IN_OPEN)

    def names() -> list[str]:
        found: list[str] = []
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return found
        while data:
            length = _EVENT.unpack(data[: _EVENT.size])[3]
            name, data = data[_EVENT.size : _EVENT.size + length], data[_EVENT.size + length :]
            found.append(name.rstrip(b"\0").decode())
        return [name for name in found if name]

    try:
        yield names
    finally:
        os.close(fd)
