"""Which rank extracts which rows: rank 0 makes the plan and sends each rank its part."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.extract.inputs import CatalogueSelection, ExtractionInputs, PatchRows, initial_columns
from etl.extract.resume import ResumeState
from etl.mpi import Comm, RootOnly
from etl.plan.rounds import plan_rounds, predict_ready_s
from etl.plan.work import Block, Cost, PatchRange, Plan, ProductPatches, RankWork, make_plan
from etl.raster import Georeference
from etl.schema import RowSpan
from etl.source.archive import PlacedFolder

__all__ = ["ExtractionPlan", "RankAssignment", "plan_extraction", "scatter_assignments"]

_BATCH_S = 15.0
"""A batch holds no more rows than are extracted in this time: a kill loses what is not written yet."""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractionPlan:
    """The work of all ranks; rank 0 alone has it."""

    plan: Plan
    product_patches: list[ProductPatches]
    """Pending patches by product, in the order of `ExtractionInputs.inspections`."""
    rounds: list[list[RowSpan]]
    """By rank: rows that it writes in each collective round; empty in a round for which it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class RankAssignment:
    """The part of one rank."""

    work: RankWork
    """Patches that it extracts; blocks that it sends and receives."""

    product_patches: dict[int, ProductPatches]
    """Pending patches of the products that occur in `work`, by product index."""

    rows: npt.NDArray[np.intp]
    """Store rows that it extracts, ascending, shape (patch,)."""

    splits: npt.NDArray[np.uint8]
    """Split of each of `rows`."""

    served: dict[str, npt.NDArray[np.bytes_]]
    """`product` and `baseline` that each of `rows` is read from, by array name, shape (patch,)."""

    folders: list[PlacedFolder]
    """Folder in a patch archive of each of `rows`, and its place; empty if the source holds products."""

    rounds: list[RowSpan]
    """Rows that it writes in each collective round; empty in a round for which it has none."""

    needed_blocks: int
    """Blocks that the whole plan decodes, each counted once."""

    predicted_inefficiency: float
    """`Plan.inefficiency` of the whole plan."""

    @property
    def batches(self) -> list[RowSpan]:
        """Rows of the rounds in which this rank has any."""
        return [span for span in self.rounds if not span.empty]


def scatter_assignments(
    inputs: ExtractionInputs, store_state: RootOnly[ResumeState], comm: Comm, on_gpu: bool
) -> RankAssignment:
    """Collective: plan the pending rows on rank 0, by predicted seconds, and give every rank its assignment."""
    return store_state.scatter(lambda state: _assign(inputs, state.rows, comm.size, on_gpu))


def _assign(inputs: ExtractionInputs, pending: PatchRows, ranks: int, on_gpu: bool) -> list[RankAssignment]:
    """The assignment of every rank."""
    extraction_plan = plan_extraction(inputs, pending, ranks, on_gpu)
    plan = extraction_plan.plan
    catalogue = pending.selection.catalogue
    columns = initial_columns(inputs, pending.selection)
    assignments = []
    for work, rounds in zip(plan.work, extraction_plan.rounds, strict=True):
        rows = work.store_rows(extraction_plan.product_patches)
        parts: list[PatchRange | Block] = [*work.patches, *work.receives, *work.sends]
        used = {k: extraction_plan.product_patches[k] for k in sorted({part.product for part in parts})}
        folders = _patch_folders(pending.selection, rows)
        served = {name: columns[name][rows] for name in ("product", "baseline")}
        splits = catalogue.split[rows]
        assignments.append(
            RankAssignment(work, used, rows, splits, served, folders, rounds, plan.blocks, plan.inefficiency)
        )
    return assignments


def _patch_folders(selection: CatalogueSelection, rows: npt.NDArray[np.intp]) -> list[PlacedFolder]:
    """Folder in a patch archive of each of `rows`, and its place; none if the source holds products."""
    if selection.patch_folder is None:
        return []
    columns = (getattr(selection.catalogue, name)[rows].tolist() for name in ("patch", "epsg", "ulx", "uly"))
    return [
        PlacedFolder(selection.patch_folder(name.decode()), Georeference(epsg, ulx, uly, GROUPS[0].gsd_m))
        for name, epsg, ulx, uly in zip(*columns, strict=True)
    ]


def plan_extraction(inputs: ExtractionInputs, rows: PatchRows, ranks: int, on_gpu: bool = False) -> ExtractionPlan:
    """Plan of the pending rows on `ranks` ranks, by predicted seconds; `on_gpu`: whether networks run on one."""
    product_patches = []
    for number, inspection in enumerate(inputs.inspections):
        of_product = np.flatnonzero(rows.pending & (rows.selection.product_index == number))
        patch_row, patch_col = rows.cells[of_product].T
        product_patches.append(ProductPatches(of_product, patch_row, patch_col, inspection.layers))
    # networks can take longer than all decoding, so the plan must know of them
    cost = Cost(patch_s=Cost().patch_s + inputs.method.network_s(on_gpu))
    shard_rows = inputs.store.shard_rows  # a resumed store keeps the shards it was created with
    plan = make_plan(product_patches, ranks, inputs.settings.balance, cost, shard_rows)
    round_rows = (inputs.settings.round_mib << 20) // inputs.schema.row_bytes
    capacity = max(1, min(round_rows, int(_BATCH_S / cost.patch_s)))
    rows_by_rank = [work.store_rows(product_patches) for work in plan.work]
    ready = [predict_ready_s(work, dict(enumerate(product_patches)), cost) for work in plan.work]
    rounds = plan_rounds(rows_by_rank, ready, capacity, shard_rows, len(rows.pending))
    return ExtractionPlan(plan, product_patches, rounds)
