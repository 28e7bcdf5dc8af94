"""One extraction, from settings to a finished store: the collective steps, in order.

Every rank runs this file line by line. What rank 0 alone knows, the catalogue's patches and the state of the store, is
held in a `RootOnly`; what differs between the other ranks is in their assignment.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from etl.exit_status import ExitStatus, JobError
from etl.extract import report
from etl.extract.access import lock_store, open_writer, require_parallel_h5py
from etl.extract.assignment import RankAssignment, scatter_assignments
from etl.extract.exchange import Exchange
from etl.extract.inputs import ExtractionInputs, inspect_inputs, place_patches
from etl.extract.pipeline import PatchPipeline, PatchSource
from etl.extract.resume import ResumeState, begin_store, verify_finished_rows
from etl.extract.settings import ExtractSettings
from etl.extract.upsampling import ReadyUpsampling, open_upsampling
from etl.extract.write_loop import WriteLoop
from etl.mpi import Comm, RootOnly
from etl.progress import report_progress
from etl.raster import configure
from etl.source.archive import ArchivePatches
from etl.source.tiles import TilePatches
from etl.stage_timer import StageTimer
from etl.store.statistics import Sums, statistics_arrays

__all__ = ["extract"]


def extract(settings: ExtractSettings, comm: Comm) -> ExitStatus:
    """Collective: run one extraction and return its exit status."""
    steps = StageTimer()
    configure(settings.decode_threads)
    require_parallel_h5py(settings, comm)

    # What is asked for, and what the source has of it.
    inputs, selection = inspect_inputs(settings, comm)
    if settings.dry_run:
        selection.then(lambda chosen: report.print_dry_run(inputs, place_patches(inputs, chosen), comm.size))
        return ExitStatus.DONE
    upsampling = open_upsampling(inputs.method, settings, comm)

    # The store, which no other run writes meanwhile: created, or as an interrupted run left it.
    lock = lock_store(settings, inputs.store, comm)
    state = selection.then(lambda chosen: begin_store(inputs, place_patches(inputs, chosen)))
    if state.bcast(lambda root: root.complete):
        state.then(lambda root: print(f"{settings.out} is complete, {root.rejected} rejected: nothing to do"))
        return _done(settings, state)
    sums = verify_finished_rows(inputs, state, comm)

    # Which rank makes which rows; then decode, upsample and write them.
    assignment = scatter_assignments(inputs, state, comm, upsampling.on_gpu)
    steps.lap("prepare")
    timer = _write_rows(inputs, state, assignment, upsampling, sums, comm)
    steps.lap("write")

    # Statistics and rejected.csv; only then does the store say that it is complete.
    totals = comm.gather(sums.totals)
    state.then(lambda root: _complete_store(inputs, root, totals or []))
    lock.release()
    steps.lap("finish")

    # The record of the run, beside a store that is complete whether or not this succeeds.
    reports = comm.gather(report.RankReport(len(assignment.rows), timer.entries["decode_s"], timer.seconds))
    state.then(
        lambda root: report.write_extraction_record(
            inputs, root.journal, report.extraction_record(reports or [], assignment, steps) | upsampling.record
        )
    )
    return _done(settings, state)


def _done(settings: ExtractSettings, state: RootOnly[ResumeState]) -> ExitStatus:
    """Collective: the exit status of a run whose store is complete."""
    rejected = state.bcast(lambda root: root.rejected)
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


def _write_rows(
    inputs: ExtractionInputs,
    state: RootOnly[ResumeState],
    assignment: RankAssignment,
    upsampling: ReadyUpsampling,
    sums: Sums,
    comm: Comm,
) -> StageTimer:
    """Collective: decode, upsample and write this rank's rows; `sums` takes their statistics. Seconds by stage."""
    settings, timer, cpu_s = inputs.settings, StageTimer(*report.RANK_STAGES), time.process_time()
    exchange = Exchange(comm, assignment.work, assignment.tiles)
    source: PatchSource
    if inputs.is_archive:
        source = ArchivePatches(assignment.rows.tolist(), assignment.folders, inputs.method.halo_px, timer)
    else:
        products = {number: item.product for number, item in enumerate(inputs.inspections) if item.product}
        source = TilePatches(assignment.work, assignment.tiles, products, exchange.take, timer)
    upsampler, workers = upsampling.upsampler, upsampling.workers
    pipeline = PatchPipeline(source, inputs.schema, upsampler, settings, assignment, exchange.post, timer, workers)
    shown_progress = report_progress("extract", len(assignment.rounds), "round", enabled=comm.rank == 0)
    journal = state.then(lambda root: root.journal).local
    with shown_progress as on_round, open_writer(settings.out, inputs.store, comm) as writer:
        pipeline.start()
        loop = WriteLoop(comm, writer, pipeline, exchange, journal, settings.sync_s, on_round, timer)
        try:
            loop.run(assignment.rounds)
        except JobError:
            writer.close()  # collective: every rank raises this error; after any other, closing could hang
            raise
    timer.add("cpu_s", time.process_time() - cpu_s)
    sums.merge([pipeline.sums.totals])
    return timer


def _complete_store(
    inputs: ExtractionInputs, state: ResumeState, totals: Sequence[Mapping[str, npt.NDArray[np.object_]]]
) -> None:
    """Write the statistics of all rows and `rejected.csv`, then set the store's `complete`; on rank 0.

    `totals`: every rank's sums by data set, shape (split, statistic, band), Python integers.
    """
    sums = Sums(inputs.schema.pixels)
    sums.merge(totals)
    inputs.store.overwrite(statistics_arrays(sums.totals))
    report.write_rejected(inputs.settings.out, state)
    inputs.store.overwrite({"complete": np.ones((), np.uint8)})
