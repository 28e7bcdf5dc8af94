"""One conversion, from settings to a complete store; rank 0 does it, other ranks have nothing to do."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.convert.selection import select_rows_to_copy
from etl.convert.settings import ConvertSettings
from etl.exit_status import ExitStatus, JobError
from etl.files import replace_atomically, sync_path
from etl.mpi import Comm, comm_self, file_hints, on_root
from etl.progress import report_progress
from etl.schema import SPLITS, WRITTEN, Schema
from etl.store.backend import backend_of
from etl.store.checksum import checksum
from etl.store.digests import mark_complete
from etl.store.interface import Backend, Writer
from etl.store.location import Location
from etl.store.manifest import build_manifest
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums, statistics_arrays

__all__ = ["convert", "draft_of"]

_BATCH_ROWS = 32
"""Rows that are read at once, rounded up to whole shards."""


def convert(settings: ConvertSettings, comm: Comm) -> int:
    """Collective: copy a store into another format and return the exit status."""
    on_root(comm, lambda: _convert(settings))
    return ExitStatus.DONE


def _convert(settings: ConvertSettings) -> None:
    start = time.perf_counter()
    out = settings.out
    if out.path.exists() if settings.is_manifest else backend_of(out).exists():
        raise ValueError(f"--out must not be there yet, got {out}; remove it or name another")
    with StoreReader(settings.store) as store:
        if not store.complete:
            raise ValueError(f"{settings.store} must be complete; python -m etl.extract --resume completes it")
        store.require_written()
        if settings.is_manifest:
            _write_manifest(settings)
            return
        rows = select_rows_to_copy(store, settings)
        schema = replace(store.schema, rows=len(rows), absent=frozenset())
        mib = len(rows) * schema.row_bytes / 2**20
        plan = f"{len(rows)} of {store.schema.rows} rows, {mib:.1f} MiB before compression ({settings.codec})"
        if settings.dry_run:
            print(f"{plan} -> {out}; nothing written (--dry-run)")
            return
        _write(settings, store, rows, schema)
    seconds = time.perf_counter() - start
    files = out.files()
    size = f", {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB" if files else ""
    pace = f"{len(rows) / seconds:.0f} rows/s, {mib / seconds:.0f} MiB/s"
    print(f"{plan} in {seconds:.1f} s ({pace}) -> {out}{size}")


def _write_manifest(settings: ConvertSettings) -> None:
    """Write the manifest of an HDF5 store."""
    manifest = build_manifest(settings.store.path)
    text = json.dumps(manifest)
    summary = f"{len(manifest['refs'])} references, {len(text) / 2**20:.1f} MiB, no pixel copied"
    if settings.dry_run:
        print(f"{summary} -> {settings.out}; nothing written (--dry-run)")
        return
    settings.out.path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(settings.out.path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{summary} -> {settings.out}")


def draft_of(out: Location) -> Location:
    """Location at which `out` is written before it is renamed; `out` itself in a bucket, which cannot rename."""
    # Not that of etl.files: the suffix must be that of a store.
    return out if out.is_remote else out.sibling("." + out.name).with_suffix(".draft" + out.suffix)


def _write(settings: ConvertSettings, store: StoreReader, rows: npt.NDArray[np.intp], schema: Schema) -> None:
    """Write the store under a draft's name, and rename it when all of it is on the disk.

    A bucket cannot rename: there the store is marked incomplete until all of it is written, and locked against runs of
    etl.extract.
    """
    draft = draft_of(settings.out)
    target = backend_of(draft, settings.layout)
    with contextlib.ExitStack() as held:
        if draft != settings.out:
            target.remove()  # left by a killed process
            target.prepare_parent()
        else:
            lock = target.lock()
            lock.acquire()
            held.callback(lock.release)
        _write_draft(settings, store, rows, schema, target)
    if draft != settings.out:
        try:
            draft.path.rename(settings.out.path)
        except OSError:
            target.remove()
            raise
        sync_path(settings.out.path.parent)


def _write_draft(
    settings: ConvertSettings, store: StoreReader, rows: npt.NDArray[np.intp], schema: Schema, target: Backend
) -> None:
    """Create and fill the store `target`; remove it after an error."""
    identity = {name: column[rows] for name, column in store.columns.items()}
    target.create(schema, identity, _attributes(store, rows, settings))
    try:
        with target.writer(comm_self(), file_hints()) as writer:
            # whole shards, since each is written once
            batch_rows = -(-_BATCH_ROWS // settings.layout.file_rows) * settings.layout.file_rows
            with report_progress("convert", len(rows), "row") as show:
                sums, checksums = _copy(store, writer, rows, batch_rows, show)
            writer.sync()
        if "checksum" in store.schema.absent:
            target.overwrite({"checksum": checksums})
        target.overwrite(statistics_arrays(sums.totals))
        mark_complete(target)
    except BaseException:
        target.remove()
        raise


def _copy(
    store: StoreReader, writer: Writer, rows: npt.NDArray[np.intp], batch_rows: int, on_rows: Callable[[int], None]
) -> tuple[Sums, npt.NDArray[np.uint64]]:
    """Copy the pixels of `rows`, a batch at a time; their exact statistics, and the checksum of each, shape (row,).

    Checksums are compared with those of the store, if it has any. `on_rows` is called with the number of rows done.

    Raises:
        JobError: the pixels of a row do not match its checksum.
    """
    pixels, has_checksums = store.schema.pixels, "checksum" not in store.schema.absent
    sums, checksums = Sums(pixels), np.zeros(len(rows), np.uint64)
    for first in range(0, len(rows), batch_rows):
        batch = rows[first : first + batch_rows]
        arrays = [store.read(item.name, batch) for item in pixels]
        for k, row in enumerate(batch.tolist()):
            parts = [array[k] for array in arrays]
            checksums[first + k] = counted = checksum(parts)
            if has_checksums and counted != (stored := int(store.column("checksum")[row])):
                name = store.column("patch")[row].decode(errors="replace")
                raise JobError(
                    f"{store.location}, row {row} {name}: pixels must give the stored checksum {stored:016x}, "
                    f"got {counted:016x}; python -m etl.verify lists all such rows"
                )
            if store.column("state")[row] == WRITTEN:
                split = min(int(store.column("split")[row]), len(SPLITS) - 1)
                for item, part in zip(pixels, parts, strict=True):
                    sums.add(split, item.name, row_sums(part, item.nodata, item.saturated))
        for item, array in zip(pixels, arrays, strict=True):
            writer.write(item.name, first, array)
            writer.wait()
        on_rows(first + len(batch))
    return sums, checksums


def _attributes(store: StoreReader, rows: npt.NDArray[np.intp], settings: ConvertSettings) -> dict[str, Any]:
    """Root attributes of the new store: those of the source, and how it was converted."""
    attributes = dict(store.attributes)
    options = {
        item.name: value
        for item in fields(settings)
        if item.name not in ("store", "out") and (value := getattr(settings, item.name)) != item.default
    }
    origin = {"from": settings.store.name, "rows": f"{len(rows)} of {store.schema.rows}", **options}
    attributes["converted"] = json.dumps(origin)
    if len(rows) < store.schema.rows:
        # without the catalogue's path, as etl.verify would compare these rows with a catalogue of all rows
        attributes["settings"] = json.dumps({key: value for key, value in store.settings.items() if key != "catalogue"})
    return attributes
