"""One extraction, from settings to a finished store: the collective steps, in order.

Every rank runs this file line by line; what differs between ranks is in its assignment.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl import schema as on_disk
from etl.exit_status import ExitStatus, JobError, exit_status_of
from etl.extract import prepare, resume, summary
from etl.extract.access import check_h5py, lock_store, open_writer
from etl.extract.batches import Limits, Producer
from etl.extract.exchange import Exchange
from etl.extract.ground import Begun, Ground
from etl.extract.rounds import Rounds
from etl.extract.settings import ExtractSettings
from etl.extract.upsampling import Opened, choose, open_method
from etl.mpi import Comm, agree, on_root
from etl.plan.rounds import ready_s, rounds_of
from etl.plan.work import Cost, Plan, Tile, make_plan
from etl.raster import configure
from etl.source.archive import ArchivePatches
from etl.source.tiles import TilePatches
from etl.store.checksum import zero_row_checksum
from etl.store.journal import Journal, journal_path, row_ranges
from etl.store.statistics import Sums, statistics_arrays

__all__ = ["extract"]

_BATCH_S = 15.0
"""Rows that take longer to make than this are not kept back for one batch: a kill would lose them."""


@dataclass(slots=True)
class Times:
    """Seconds of the steps of a run."""

    start: float = field(default_factory=time.perf_counter)
    prepared_s: float = 0.0
    written_s: float = 0.0


def extract(settings: ExtractSettings, comm: Comm) -> int:
    """Collective: run one extraction and return its exit status."""
    times = Times()
    check_h5py(settings, comm)
    configure(settings.decode_threads)
    ground = _look_over(settings, comm)
    if settings.dry_run:
        return _dry_run(ground)
    opened = open_method(ground.method, settings, comm)
    lock = lock_store(settings, ground.store, comm)
    begun = on_root(comm, lambda: _begin(ground))
    if comm.bcast(begun.complete if begun else None):
        return summary.already_complete(settings, comm, begun.journal if begun else None)
    sums = _recheck(ground, begun)
    assignment, plan = _share_out(ground, begun, opened.on_gpu)
    times.prepared_s = time.perf_counter() - times.start
    report = _write(ground, begun, assignment, opened, sums)
    times.written_s = time.perf_counter() - times.start
    totals = comm.gather(sums.of)
    on_root(comm, lambda: _finish(ground, begun, totals or []))
    lock.release()
    total_s = time.perf_counter() - times.start
    record = summary.collect(comm, report, plan, (times.prepared_s, times.written_s, total_s))
    rejected = comm.bcast(len(begun.journal.rejected) if begun else None)
    if record is not None and begun is not None:
        record |= opened.said
        journal = begun.journal
        on_root(comm, lambda: summary.finish(settings, ground.schema, record, journal))
    else:
        on_root(comm, lambda: None)
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


def _look_over(settings: ExtractSettings, comm: Comm) -> Ground:
    """Catalogue and source, and the products inspected by all ranks between them."""
    method = choose(settings, comm)
    wanted = on_root(comm, lambda: prepare.want(settings))
    listed, paths, archive = comm.bcast((wanted.listed, wanted.serving, wanted.folder is not None) if wanted else None)
    if archive:
        inspected = [prepare.Inspected(None, (), "") for _ in listed]
    else:
        inspected = prepare.inspect_products(paths, listed, method.halo_px, comm)
    schema = comm.bcast(prepare.schema_for(wanted, inspected, method.name != "none") if wanted else None)
    return Ground(settings, comm, method, inspected, schema, archive, wanted)


def _begin(ground: Ground) -> Begun:
    """Create the store, or take up what an interrupted run left; on rank 0."""
    assert ground.wanted is not None
    reasons, cells = prepare.problems(ground.wanted, ground.inspected)
    path = ground.settings.out
    begun_with = prepare.begun_with(ground.settings, ground.wanted, ground.method)
    pending = np.ones(ground.schema.rows, bool)
    pending[list(reasons)] = False
    columns = prepare.initial_columns(ground.wanted, ground.inspected)
    columns["state"][list(reasons)] = on_disk.REJECTED
    columns["checksum"][list(reasons)] = zero_row_checksum(ground.schema)
    settled = row_ranges(np.array(sorted(reasons), np.intp))
    if ground.settings.resume and ground.store.exists():
        return _take_up(ground, cells, reasons, begun_with)
    journal = Journal.begin(journal_path(path), begun_with)
    attributes = summary.attributes(ground.settings, ground.wanted.catalogue.nomenclature, ground.method)
    ground.store.create(ground.schema, columns, attributes)
    journal.add(settled, reasons)
    return Begun(journal, pending, np.empty(0, np.intp), cells, ground.store.shard_rows)


def _take_up(
    ground: Ground, cells: npt.NDArray[np.intp], reasons: dict[int, str], begun_with: dict[str, object]
) -> Begun:
    """What an interrupted run left."""
    assert ground.wanted is not None
    path, store = ground.settings.out, ground.store
    journal = Journal.read(journal_path(path), repair=True)
    found = resume.found(store, path, journal, begun_with)
    done = found.done.copy()
    if ground.settings.retry_rejected:
        done &= found.state != on_disk.REJECTED
    columns = prepare.initial_columns(ground.wanted, ground.inspected)
    gone = [row for row in sorted(reasons) if done[row] and found.state[row] == on_disk.WRITTEN]
    if gone:
        raise ValueError(
            f"row {gone[0]} of {path} was made from {found.product[gone[0]].decode()}, but cannot be made again: "
            f"{reasons[gone[0]]}; resume with the same --source"
        )
    changed = (
        done & (found.state == on_disk.WRITTEN) & (found.product != columns["product"].astype(found.product.dtype))
    )
    if changed.any():
        row = int(np.flatnonzero(changed)[0])
        raise ValueError(
            f"row {row} of {path} was made from {found.product[row].decode()}, which is not the product that serves it "
            "now; resume with the same --source"
        )
    settled = np.array([row for row in sorted(reasons) if not done[row]], np.intp)
    pending = ~done
    pending[settled] = False
    if not pending.any() and found.complete and not len(settled):
        return Begun(journal, pending, np.empty(0, np.intp), cells, 1, complete=True)
    names = {
        name: columns[name].astype(f"S{width}")
        for name, width in (("product", ground.schema.product_bytes), ("baseline", 5))
    }
    state = np.where(done, found.state, np.uint8(on_disk.UNWRITTEN))  # a rejected row that is tried again, too
    store.overwrite({**names, "complete": np.zeros((), np.uint8), "state": state})
    resume.reject(store, ground.schema, settled)
    journal.add(row_ranges(settled), {int(row): reasons[int(row)] for row in settled})
    rejected = done & (found.state == on_disk.REJECTED)
    rejected[list(reasons)] = True
    shard_rows = store.shard_rows
    pending = resume.whole_shards(pending, rejected, shard_rows)
    done &= ~pending & (found.state == on_disk.WRITTEN)
    return Begun(journal, pending, np.flatnonzero(done), cells, shard_rows)


def _recheck(ground: Ground, begun: Begun | None) -> Sums:
    """Collective: hold finished rows against their checksums; torn ones become pending again."""
    comm = ground.comm
    sums = Sums(ground.schema.pixels)
    dealt = resume.deal_shards(begun.done, begun.shard_rows, comm.size) if begun else None
    rows, shard_rows = comm.scatter(dealt), comm.bcast(begun.shard_rows if begun else None)
    torn, problem, status = [], None, ExitStatus.FAILED
    try:
        torn = resume.check_rows(ground.store, ground.schema, rows, shard_rows, sums) if len(rows) else []
    except (OSError, ValueError) as error:
        problem, status = str(error), exit_status_of(error)
    agree(comm, "reading finished rows", problem, status)
    lost = comm.gather(torn)
    if begun is not None and lost is not None:
        begun.pending[[row for part in lost for row in part]] = True
    return sums


def _plan(
    ground: Ground,
    pending: npt.NDArray[np.bool_],
    cells: npt.NDArray[np.intp],
    shard_rows: int,
    on_gpu: bool = False,
) -> tuple[Plan, list[Tile], list[list[tuple[int, int]]]]:
    """Plan, tiles with pending rows, and the rows of every rank's batches; on rank 0."""
    assert ground.wanted is not None
    tiles = prepare.pending_tiles(ground.wanted, ground.inspected, cells, pending)
    cost = Cost(patch_s=Cost().patch_s + ground.method.network_s(on_gpu))
    plan = make_plan(tiles, ground.comm.size, ground.settings.balance, cost, shard_rows)
    capacity = max(1, min((ground.settings.round_mib << 20) // ground.schema.row_bytes, int(_BATCH_S / cost.patch_s)))
    rows = [prepare.rows_of(share, tiles) for share in plan.shares]
    ready = [ready_s(share, dict(enumerate(tiles)), cost) for share in plan.shares]
    return plan, tiles, rounds_of(rows, ready, capacity, shard_rows, len(pending))


def _share_out(ground: Ground, begun: Begun | None, on_gpu: bool) -> tuple[prepare.Assignment, Plan | None]:
    """Collective: every rank's assignment; the plan on rank 0."""
    plan, assignments = None, None
    if begun is not None and ground.wanted is not None:
        plan, tiles, ranges = _plan(ground, begun.pending, begun.cells, begun.shard_rows, on_gpu)
        assignments = prepare.assign(plan, tiles, ground.wanted, ranges)
    return ground.comm.scatter(assignments), plan


def _write(
    ground: Ground, begun: Begun | None, assignment: prepare.Assignment, opened: Opened, sums: Sums
) -> summary.RankReport:
    """Collective: decode, upsample and write this rank's rows."""
    comm, settings, cpu_s = ground.comm, ground.settings, time.process_time()
    exchange = Exchange(comm, assignment.share, {number: tile.layers for number, tile in assignment.tiles.items()})
    source: TilePatches | ArchivePatches
    if ground.archive:
        source = ArchivePatches(assignment.rows.tolist(), assignment.folders, ground.method.halo_px)
    else:
        products = {number: found.product for number, found in enumerate(ground.inspected) if found.product}
        source = TilePatches(assignment.share, assignment.tiles, products, exchange.take)
    limits = Limits(settings.max_cloud_share, settings.max_snow_share)
    batches = [(first, stop) for first, stop in assignment.ranges if stop > first]
    mine = (batches, assignment.rows, assignment.splits)
    producer = Producer(source, ground.schema, opened.upsampler, limits, *mine, exchange, windows=opened.windows)
    progress = summary.Progress(comm, len(assignment.ranges))
    with open_writer(settings.out, ground.store, comm) as writer:
        producer.start()
        journal = begun.journal if begun else None
        rounds = Rounds(comm, writer, producer, exchange, journal, settings.sync_s, progress)
        try:
            rounds.run(assignment.ranges)
        except JobError:
            writer.close()  # every rank raises it
            raise
    rounds.seconds.cpu_s = time.process_time() - cpu_s
    sums.merge([producer.sums.of])
    return summary.RankReport.of(assignment, source.timer, producer.stages, rounds.seconds)


def _finish(ground: Ground, begun: Begun | None, totals: Sequence[dict[str, npt.NDArray[np.object_]]]) -> None:
    """Write the statistics of all rows and the rejected ones, then say that the store is complete; on rank 0."""
    assert begun is not None
    assert ground.wanted is not None
    sums = Sums(ground.schema.pixels)
    sums.merge(totals)
    ground.store.overwrite(statistics_arrays(sums.of))
    summary.write_rejected(ground.settings.out, begun.journal, ground.wanted)
    ground.store.overwrite({"complete": np.ones((), np.uint8)})


def _dry_run(ground: Ground) -> int:
    """Collective: say what would be done; write nothing."""
    if ground.wanted is not None:
        reasons, cells = prepare.problems(ground.wanted, ground.inspected)
        pending = np.ones(ground.schema.rows, bool)
        pending[list(reasons)] = False
        plan, _, _ = _plan(ground, pending, cells, ground.store.shard_rows)
        summary.print_plan(ground.settings, ground.schema, plan, reasons)
    return ExitStatus.DONE
