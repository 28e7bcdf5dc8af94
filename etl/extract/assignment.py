"""Which rank makes which rows: the plan, made on rank 0, and the part of it that each rank is sent."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.extract.inputs import ExtractionInputs, PatchRows
from etl.extract.resume import ResumeState
from etl.mpi import Comm, RootOnly
from etl.plan.rounds import plan_rounds, predict_ready_s
from etl.plan.work import Cost, Plan, RankWork, Tile, make_plan

__all__ = ["ExtractionPlan", "RankAssignment", "plan_extraction", "scatter_assignments"]

_BATCH_S = 15.0
"""A batch holds no more rows than are made in this time: a kill loses what is not written yet."""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractionPlan:
    """The work of all ranks; rank 0 alone has it."""

    plan: Plan
    tiles: list[Tile]
    """By product: the rows of it that are to be made."""
    rounds: list[list[tuple[int, int]]]
    """By rank: rows [first, stop) that it writes in each collective round; first = stop where it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class RankAssignment:
    """What one rank needs to know to do its part."""

    work: RankWork
    """Its part of the plan."""

    tiles: dict[int, Tile]
    """The tiles that occur in `work`, by their index in the plan."""

    rows: npt.NDArray[np.intp]
    """Store rows that it makes, ascending, shape (patch,)."""

    splits: npt.NDArray[np.uint8]
    """Split of each of `rows`."""

    folders: list[Path]
    """Folder in a patch archive of each of `rows`; empty where the source holds products."""

    rounds: list[tuple[int, int]]
    """Rows [first, stop) that it writes in each collective round; first = stop where it has none."""

    needed_blocks: int
    """Blocks that the whole plan decodes, each counted once."""

    predicted_inefficiency: float
    """`Plan.inefficiency` of the whole plan."""

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Rounds in which this rank has rows."""
        return [(first, stop) for first, stop in self.rounds if stop > first]


def scatter_assignments(
    inputs: ExtractionInputs, state: RootOnly[ResumeState], comm: Comm, on_gpu: bool
) -> RankAssignment:
    """Collective: plan the pending rows on rank 0, by predicted seconds, and give every rank its assignment."""
    return state.scatter(lambda root: _assign(inputs, root.rows, comm.size, on_gpu))


def _assign(inputs: ExtractionInputs, pending: PatchRows, ranks: int, on_gpu: bool) -> list[RankAssignment]:
    made = plan_extraction(inputs, pending, ranks, on_gpu)
    catalogue, folder = pending.selection.catalogue, pending.selection.patch_folder
    assignments = []
    for work, rounds in zip(made.plan.work, made.rounds, strict=True):
        rows = work.store_rows(made.tiles)
        blocks = [*work.receives, *(block for block, _ in work.sends)]
        used = {part.tile for part in work.patches} | {block.tile for block in blocks}
        folders = [folder(name.decode()) for name in catalogue.patch[rows]] if folder else []
        tiles = {number: made.tiles[number] for number in sorted(used)}
        whole = (made.plan.blocks, made.plan.inefficiency)
        assignments.append(RankAssignment(work, tiles, rows, catalogue.split[rows], folders, rounds, *whole))
    return assignments


def plan_extraction(inputs: ExtractionInputs, rows: PatchRows, ranks: int, on_gpu: bool = False) -> ExtractionPlan:
    """Plan of the pending rows on `ranks` ranks, by predicted seconds; `on_gpu`: whether networks run on one."""
    tiles = []
    for number, inspection in enumerate(inputs.inspections):
        of_product = np.flatnonzero(rows.pending & (rows.selection.product_of == number))
        j, i = rows.cells[of_product].T
        tiles.append(Tile(of_product, j, i, inspection.layers))
    # networks can take longer than all decoding, so the plan must know of them
    cost = Cost(patch_s=Cost().patch_s + inputs.method.network_s(on_gpu))
    shard_rows = inputs.store.shard_rows  # a resumed store keeps the shards it was made with
    plan = make_plan(tiles, ranks, inputs.settings.balance, cost, shard_rows)
    round_rows = (inputs.settings.round_mib << 20) // inputs.schema.row_bytes
    capacity = max(1, min(round_rows, int(_BATCH_S / cost.patch_s)))
    rows_of = [work.store_rows(tiles) for work in plan.work]
    ready = [predict_ready_s(work, dict(enumerate(tiles)), cost) for work in plan.work]
    return ExtractionPlan(plan, tiles, plan_rounds(rows_of, ready, capacity, shard_rows, len(rows.pending)))
