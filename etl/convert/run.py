"""One conversion, from settings to a complete store; rank 0 does it, other ranks have nothing to do."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.convert.choose import chosen_rows
from etl.convert.draft import draft_of, remove, size_bytes
from etl.convert.settings import ConvertSettings
from etl.convert.target import Target, make_target
from etl.exit_status import ExitStatus, JobError
from etl.mpi import Comm, on_root
from etl.progress import report_progress
from etl.schema import SPLITS, WRITTEN, Schema
from etl.store.backend import backend_of
from etl.store.checksum import checksum
from etl.store.location import is_remote, shown
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums, statistics_arrays
from etl.store.sync import sync_folder
from etl.store.virtual import manifest_of

__all__ = ["convert"]

_BATCH_ROWS = 32
"""Least rows that are read at once; whole shards where those are larger."""


def convert(settings: ConvertSettings, comm: Comm) -> int:
    """Collective: write a store anew and return the exit status."""
    on_root(comm, lambda: _convert(settings))
    return ExitStatus.DONE


def _convert(settings: ConvertSettings) -> None:
    start = time.perf_counter()
    out = shown(settings.out)
    if settings.out.exists() if settings.virtual else backend_of(settings.out).exists():
        raise ValueError(f"--out must not be there yet, got {out}; remove it or name another")
    with StoreReader(settings.store) as store:
        if not store.complete:
            raise ValueError(f"{shown(settings.store)} must be complete; python -m etl.extract --resume completes it")
        if settings.virtual:
            _refer(settings)
            return
        rows = chosen_rows(store, settings)
        schema = _schema(store, len(rows))
        mib = len(rows) * schema.row_bytes / 2**20
        plan = f"{len(rows)} of {store.schema.rows} rows, {mib:.1f} MiB before compression ({settings.codec})"
        if settings.dry_run:
            print(f"{plan} -> {out}; nothing written (--dry-run)")
            return
        _write(settings, store, rows, schema)
    seconds = time.perf_counter() - start
    taken = "" if is_remote(settings.out) else f", {size_bytes(settings.out) / 2**20:.1f} MiB"
    pace = f"{len(rows) / seconds:.0f} rows/s, {mib / seconds:.0f} MiB/s"
    print(f"{plan} in {seconds:.1f} s ({pace}) -> {out}{taken}")


def _refer(settings: ConvertSettings) -> None:
    """Write the manifest of an HDF5 store."""
    manifest = manifest_of(settings.store)
    text = json.dumps(manifest)
    said = f"{len(manifest['refs'])} references, {len(text) / 2**20:.1f} MiB, no pixel copied"
    if settings.dry_run:
        print(f"{said} -> {settings.out}; nothing written (--dry-run)")
        return
    draft = draft_of(settings.out)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.write_text(text, encoding="utf-8")
        draft.rename(settings.out)
    finally:
        remove(draft)
    print(f"{said} -> {settings.out}")


def _write(settings: ConvertSettings, store: StoreReader, rows: npt.NDArray[np.intp], schema: Schema) -> None:
    """Everything under a draft's name, which becomes the store's when all of it is on the disk.

    In a bucket nothing is renamed: there the store is incomplete until all of it is there.
    """
    draft = draft_of(settings.out)
    if draft != settings.out:
        remove(draft)
        draft.parent.mkdir(parents=True, exist_ok=True)
    identity = {name: column[rows] for name, column in store.columns.items()}
    target = make_target(draft, schema, identity, _attributes(store, rows, settings), settings)
    try:
        batch_rows = -(-_BATCH_ROWS // settings.shard_rows) * settings.shard_rows
        with report_progress("convert", len(rows), "row") as show:
            sums = _copy(store, target, rows, batch_rows, show)
        target.finish({**statistics_arrays(sums.of), "complete": np.ones((), np.uint8)})
    except BaseException:
        remove(draft)
        raise
    if draft != settings.out:
        draft.rename(settings.out)
        sync_folder(settings.out.parent)


def _copy(
    store: StoreReader, target: Target, rows: npt.NDArray[np.intp], batch_rows: int, on_rows: Callable[[int], None]
) -> Sums:
    """Write the pixels of `rows`, a batch at a time, each row held against its checksum; their exact sums.

    `on_rows` is called with the number of rows done.

    Raises:
        JobError: a row is not what was written.
    """
    pixels = store.schema.pixels
    sums = Sums(pixels)
    for first in range(0, len(rows), batch_rows):
        taken = rows[first : first + batch_rows]
        arrays = [store.read(item.name, taken) for item in pixels]
        for k, row in enumerate(taken.tolist()):
            parts = [array[k] for array in arrays]
            _hold(store, row, checksum(parts))
            if store.columns["state"][row] == WRITTEN:
                split = min(int(store.columns["split"][row]), len(SPLITS) - 1)
                for item, part in zip(pixels, parts, strict=True):
                    sums.add(split, item.name, row_sums(part))
            if k % 512 == 511:
                sums.fold()
        sums.fold()
        for item, array in zip(pixels, arrays, strict=True):
            target.write(item.name, first, array)
        on_rows(first + len(taken))
    return sums


def _hold(store: StoreReader, row: int, counted: int) -> None:
    stored = int(store.columns["checksum"][row])
    if counted != stored:
        name = store.columns["patch"][row].decode(errors="replace")
        raise JobError(
            f"{shown(store.path)}, row {row} {name}: pixels must give the stored checksum {stored:016x}, "
            f"got {counted:016x}; python -m etl.verify lists all such rows",
            ExitStatus.FAILED,
        )


def _schema(store: StoreReader, rows: int) -> Schema:
    old = store.schema
    return Schema(rows, old.nomenclature, old.upsampled, old.name_bytes, old.product_bytes)


def _attributes(store: StoreReader, rows: npt.NDArray[np.intp], settings: ConvertSettings) -> dict[str, Any]:
    """Those of the source; a part of its rows no longer names the catalogue of all of them."""
    found = dict(store.attributes)
    taken = {name: getattr(settings, name) for name in ("split", "tile", "label") if getattr(settings, name)}
    found["converted"] = json.dumps(
        {"from": settings.store.name, "rows": f"{len(rows)} of {store.schema.rows}", **taken}
    )
    if len(rows) < store.schema.rows:
        said = json.loads(found.get("settings", "{}"))
        found["settings"] = json.dumps({key: value for key, value in said.items() if key != "catalogue"})
    return found
