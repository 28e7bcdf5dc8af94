"""One extraction, from settings to a finished store: the collective steps, in order.

Every rank runs this file line by line. What only rank 0 knows (the selected patches, the state of the store) is wrapped
in a `RootOnly`. What differs between ranks is in `RankAssignment`.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from etl.exit_status import ExitStatus
from etl.extract import report
from etl.extract.access import lock_store
from etl.extract.assignment import RankAssignment, scatter_assignments
from etl.extract.candidates import OpenRow, log_candidates
from etl.extract.exchange import Exchange
from etl.extract.file_check import check_files
from etl.extract.inputs import ExtractionInputs, inspect_inputs, pass_over_unusable
from etl.extract.patch_rows import place_patches
from etl.extract.pipeline import PatchPipeline
from etl.extract.resume import ResumeState, begin_store, verify_finished_rows
from etl.extract.same_patches import require_same_patches
from etl.extract.settings import ExtractSettings
from etl.extract.upsampling import ReadyUpsampling, open_upsampling
from etl.extract.watchdog import end_if_held, watch_ranks
from etl.extract.write_loop import WriteLoop
from etl.heartbeat import doing, now_doing
from etl.mpi import Comm, RootOnly, file_hints, on_every_rank, raise_if_any_failed
from etl.progress import report_progress
from etl.raster import configure
from etl.source.archive import ArchivePatches
from etl.source.images import ImagePatches
from etl.source.sentinel1 import Sentinel1Patches
from etl.source.tiles import TilePatches
from etl.source.unit_guard import UnitGuard
from etl.source.warning import log_warnings
from etl.stage_timer import StageTimer
from etl.store.digests import mark_complete
from etl.store.hdf5.writer import serial_h5py_problem
from etl.store.journal import row_ranges
from etl.store.reader import StoreReader
from etl.store.stalled_units import read_stalled_units
from etl.store.statistics import Sums, statistics_arrays

__all__ = ["extract"]


def extract(settings: ExtractSettings, comm: Comm, lease_s: float | None = None) -> ExitStatus:
    """Collective: run one extraction and return its exit status.

    `lease_s`: in a bucket, seconds after which another run may take over from one that no longer renews its lease.
    """
    with contextlib.ExitStack() as held, doing("starting"):
        return _extract(settings, comm, held, lease_s)


def _extract(settings: ExtractSettings, comm: Comm, held: contextlib.ExitStack, lease_s: float | None) -> ExitStatus:
    steps = StageTimer()
    configure(settings.decode_threads)
    # Before any work: can h5py write the store from this many ranks?
    problem = serial_h5py_problem(settings.out, settings.write == "collective", comm.size)
    raise_if_any_failed(comm, "preparing collective writes", problem, ExitStatus.BAD_INPUT)

    # From now on a rank that hangs ends the job; what earlier runs hung at is refused.
    watchdog = held.enter_context(watch_ranks(settings, comm))
    now_doing(f"reading the journal of {settings.out}")
    guard = UnitGuard(settings.block_s, RootOnly(comm, lambda: _refused_units(settings)).bcast(dict))

    # The patches to extract, and the products or patch folders that hold them.
    inputs, selection = inspect_inputs(settings, guard, comm)
    if settings.dry_run:
        planned, passed_over = pass_over_unusable(inputs)
        selection.apply_on_root(lambda _: log_candidates(planned.candidates, passed_over, planned.inspections))
        selection.apply_on_root(lambda chosen: report.print_dry_run(planned, place_patches(planned, chosen), comm.size))
        return ExitStatus.DONE
    now_doing("preparing to upsample")
    upsampling = open_upsampling(inputs.method, settings, comm)
    if not inputs.is_archive:
        inputs, selection = check_files(inputs, selection, comm)
    inputs, passed_over = pass_over_unusable(inputs)

    # The store, locked against other runs: created, or resumed from an interrupted run.
    now_doing(f"locking {settings.out}")
    lock = held.enter_context(lock_store(settings, inputs.store, comm, lease_s))
    watchdog.store, watchdog.lock = inputs.store, lock
    inputs = replace(inputs, lock=lock)
    now_doing(f"creating {settings.out}, or reading what it holds")
    sums, damage = Sums(inputs.schema.pixels), None
    if settings.recheck:
        from etl.extract.recheck import recheck_store, require_repaired  # without it other runs start sooner

        damage, sums = recheck_store(inputs, selection, comm)
        now_doing(f"resuming {settings.out}")
    store_state = selection.apply_on_root(lambda chosen: begin_store(inputs, chosen, damage))
    schema, candidates = store_state.bcast(lambda state: (state.schema, state.candidates))
    inputs = replace(inputs, schema=schema, candidates=candidates)
    store_state.apply_on_root(lambda state: log_candidates(state.candidates, passed_over, inputs.inspections))
    if store_state.bcast(lambda state: state.complete):
        undamaged = " and undamaged" if damage else ""
        store_state.apply_on_root(
            lambda state: print(f"{settings.out} is complete{undamaged}, {state.rejected} rejected: nothing to do")
        )
        return _exit_status(settings, store_state)
    verify_finished_rows(inputs, store_state, sums, comm)
    require_same_patches(inputs, selection, store_state.apply_on_root(lambda state: state.kept), comm)

    # Which rank extracts which rows; then decode, upsample and write them.
    now_doing("planning")
    assignment = scatter_assignments(inputs, store_state, comm, upsampling.on_gpu)
    steps.lap("prepare")
    rank_report = _write_passes(inputs, store_state, assignment, upsampling, sums, comm)
    steps.lap("write")

    # Statistics and rejected.csv; then the store is marked complete.
    now_doing(f"completing {settings.out}")
    totals, kept = comm.gather(sums.totals), comm.gather(rank_report.unrepaired)
    unrepaired = {row: reason for part in kept or [] for row, reason in part.items()}
    store_state.apply_on_root(lambda state: _complete_store(inputs, state, totals or [], unrepaired))
    steps.lap("finish")

    # The record of the run; the store is complete even if this fails.
    reports = comm.gather(rank_report)
    log_warnings(report.log, (item for each in reports or [] for item in each.warnings))
    store_state.apply_on_root(
        lambda state: report.write_extraction_record(
            inputs, state.journal, report.extraction_record(reports or [], assignment, steps) | upsampling.record
        )
    )
    if settings.recheck:
        selection.apply_on_root(lambda chosen: require_repaired(settings.out, chosen, unrepaired))
    return _exit_status(settings, store_state)


def _refused_units(settings: ExtractSettings) -> dict[str, str]:
    """Reason by unit of the source at which earlier runs hung, unless those are to be tried again; on rank 0."""
    return read_stalled_units(settings.out) if settings.resume and not settings.retry_rejected else {}


def _exit_status(settings: ExtractSettings, store_state: RootOnly[ResumeState]) -> ExitStatus:
    """Collective: the exit status of a run whose store is complete.

    Raises:
        JobError: on every rank, with status 2, if no row is written.
    """
    store_state.apply_on_root(lambda state: report.require_written(settings.out, state.journal, state.schema.rows))
    rejected = store_state.bcast(lambda state: state.rejected)
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


def _write_passes(
    inputs: ExtractionInputs,
    store_state: RootOnly[ResumeState],
    assignment: RankAssignment,
    upsampling: ReadyUpsampling,
    sums: Sums,
    comm: Comm,
) -> report.RankReport:
    """Collective: write this rank's rows; then those that lack pixels, from the next product of their acquisition.

    Their statistics are added to `sums`. Returns counts, and seconds by stage.
    """
    total = _write_rows(inputs, store_state, assignment, upsampling, sums, comm)
    while inputs.passes > 1:  # the same on every rank: with one product an acquisition they need not talk
        candidate = _next_candidate(store_state, assignment.candidate, total.open_rows, comm)
        if not candidate:
            break
        assignment = scatter_assignments(inputs, store_state, comm, upsampling.on_gpu, candidate)
        total = total.plus(_write_rows(inputs, store_state, assignment, upsampling, sums, comm))
    return total


def _next_candidate(
    store_state: RootOnly[ResumeState], candidate: int, open_rows: Mapping[int, OpenRow], comm: Comm
) -> int:
    """Collective: begin the pass after that over the `candidate`-th products; the number of the products then read.

    0 if no rank has a row left that needs a further product.
    """
    parts = comm.gather(open_rows) or []
    following = store_state.bcast(lambda state: state.next_pass(candidate, parts))
    if following:
        store_state.apply_on_root(lambda state: report.log_pass(state.open_rows))
    return following


def _write_rows(
    inputs: ExtractionInputs,
    store_state: RootOnly[ResumeState],
    assignment: RankAssignment,
    upsampling: ReadyUpsampling,
    sums: Sums,
    comm: Comm,
) -> report.RankReport:
    """Collective: decode, upsample and write this rank's rows of one pass; statistics of those finished go to `sums`.

    Returns counts, and seconds by stage.
    """
    now_doing(f"opening {inputs.settings.out}")
    settings, timer, cpu_s = inputs.settings, StageTimer(*report.RANK_STAGES), time.process_time()
    exchange = Exchange(comm, assignment.work, assignment.product_patches)
    source = _source_of(inputs, assignment, exchange, timer)
    journal = store_state.apply_on_root(lambda state: state.journal).value_on_root
    stored = on_every_rank(comm, f"opening {settings.out} for reading", lambda: _stored_rows(inputs, assignment))
    to_open = f"opening {settings.out} for writing"
    with end_if_held(settings.stall, comm):
        opened = on_every_rank(comm, to_open, lambda: inputs.store.writer(comm, file_hints()))
    sentinel1 = None
    if settings.sentinel1 is not None:
        sentinel1 = Sentinel1Patches(settings.sentinel1, settings.allow_links, inputs.guard)
    pipeline = PatchPipeline(
        source, sentinel1, inputs.schema, upsampling, settings, assignment, exchange.post, stored, timer
    )
    with (
        report_progress("extract", len(assignment.rounds), "round", comm.rank == 0) as on_round,
        stored or contextlib.nullcontext(),
        opened as writer,
    ):
        pipeline.start()
        loop = WriteLoop(comm, writer, pipeline, exchange, journal, settings.sync_s, on_round, timer, inputs.lock)
        loop.run(assignment.rounds)
    timer.add("cpu_s", time.process_time() - cpu_s)
    sums.merge([pipeline.sums.totals])
    counts = {
        "patches_with_nodata": pipeline.with_nodata,
        "patches_with_empty_band": pipeline.with_empty_band,
        "patches_of_further_products": pipeline.from_later,
        **({"patches_without_sentinel1": pipeline.without_backscatter} if sentinel1 else {}),
    }
    blocks, rows = (source.decoded, assignment.needed_blocks), (pipeline.open_rows, pipeline.unrepaired)
    warnings = [*source.warnings, *(sentinel1.warnings if sentinel1 else ())]
    return report.RankReport(pipeline.written, *blocks, timer.seconds, counts, *rows, warnings)


def _source_of(
    inputs: ExtractionInputs, assignment: RankAssignment, exchange: Exchange, timer: StageTimer
) -> ArchivePatches | ImagePatches | TilePatches:
    """Where this rank's patches come from."""
    if inputs.schema.images is not None:
        rows, files = assignment.rows.tolist(), assignment.files
        return ImagePatches(rows, files, inputs.schema.images, inputs.links, timer, inputs.guard)
    if inputs.is_archive:
        rows, folders, halo_px = assignment.rows.tolist(), assignment.folders, inputs.method.halo_px
        return ArchivePatches(rows, folders, halo_px, timer, inputs.links, inputs.guard)
    inspected = ((number, inputs.inspections[k].product) for number, k in assignment.inspections.items())
    products = {number: product for number, product in inspected if product}
    return TilePatches(assignment.work, assignment.product_patches, products, exchange, timer, inputs.guard)


def _stored_rows(inputs: ExtractionInputs, assignment: RankAssignment) -> StoreReader | None:
    """The store as it is now, if rows that this rank writes can stay as they are: of earlier passes, or damaged."""
    rows = sum(span.stop - span.first for span in assignment.batches)
    if not (assignment.earlier or assignment.repair) and rows == len(assignment.rows):
        return None
    reader = inputs.store.reader()
    reader.read_columns(item.name for item in inputs.schema.results)  # now: they change while the store is written
    return reader


def _complete_store(
    inputs: ExtractionInputs,
    state: ResumeState,
    totals: Sequence[Mapping[str, npt.NDArray[np.object_]]],
    unrepaired: Mapping[int, str],
) -> None:
    """Write the statistics of all rows and `rejected.csv`, then set the store's `complete`; on rank 0.

    `totals`: every rank's sums by data set, shape (split, statistic, band), Python integers. If damaged rows are
    `unrepaired`, they are as before: statistics and digests, which are those of the undamaged rows, stay, too.
    """
    if unrepaired:
        state.journal.add(row_ranges(np.array(sorted(unrepaired), np.intp)), {})
        report.write_rejected(inputs.store, state)
        inputs.store.overwrite({"complete": np.ones((), np.uint8)})
        return
    sums = Sums(inputs.schema.pixels)
    sums.merge(totals)
    if inputs.lock is not None:
        inputs.lock.require_not_replaced()
    inputs.store.overwrite(statistics_arrays(sums.totals))
    report.write_rejected(inputs.store, state)
    mark_complete(inputs.store)
