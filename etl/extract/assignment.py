"""Which rank extracts which rows: rank 0 makes the plan and sends each rank its part."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.extract.candidates import OpenRow, next_candidates, served_by
from etl.extract.inputs import CatalogueSelection, ExtractionInputs
from etl.extract.patch_rows import PatchRows
from etl.extract.resume import ResumeState
from etl.mpi import Comm, RootOnly
from etl.plan.layers import IntArray
from etl.plan.rounds import plan_rounds, predict_ready_s
from etl.plan.work import Block, Cost, PatchRange, Plan, ProductPatches, RankWork, make_plan
from etl.raster import Georeference
from etl.schema import RowSpan
from etl.source.archive import PlacedFolder
from etl.source.images import PlacedImage
from etl.source.sentinel1 import PairedPatch

__all__ = [
    "ExtractionPlan",
    "RankAssignment",
    "image_files",
    "make_assignments",
    "paired_patches",
    "patch_folders",
    "plan_extraction",
    "scatter_assignments",
]

_BATCH_S = 15.0
"""A batch holds no more rows than are extracted in this time: a kill loses what is not written yet."""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractionPlan:
    """The work of all ranks; rank 0 alone has it."""

    plan: Plan
    product_patches: list[ProductPatches]
    """Pending patches that are read from one product, in store order."""
    inspections: list[int]
    """Product of each of `product_patches`: its number among `ExtractionInputs.inspections`."""
    rounds: list[list[RowSpan]]
    """By rank: rows that it writes in each collective round; empty in a round for which it has none."""
    candidate: int
    """Number of the candidate that the patches are read from: 0 in the first pass."""


@dataclass(frozen=True, slots=True, eq=False)
class RankAssignment:
    """The part of one rank."""

    work: RankWork
    """Patches that it extracts; blocks that it sends and receives."""

    product_patches: dict[int, ProductPatches]
    """Pending patches of the products that occur in `work`, by product index."""

    inspections: dict[int, int]
    """Which of `ExtractionInputs.inspections` each of these products is, by product index."""

    rows: npt.NDArray[np.intp]
    """Store rows that it extracts, ascending, shape (patch,)."""

    splits: npt.NDArray[np.uint8]
    """Split of each of `rows`."""

    served: dict[str, npt.NDArray[np.bytes_]]
    """`product` and `baseline` of the products that `rows` are read from, by array name, shape (product,)."""

    serving: npt.NDArray[np.intp]
    """Which of them serves each of `rows`, shape (patch,)."""

    candidate: int
    """Number of the candidate that each of `rows` is read from: 0 in the first pass."""

    following: IntArray
    """Candidates to read next where one lacks pixels, and where it is broken, 0 for none; shape (patch, 2)."""

    earlier: dict[int, OpenRow]
    """What earlier passes gave, by row; empty in the first pass."""

    repair: frozenset[int]
    """Those of `rows` that are to get the pixels that they had, whose checksums the store holds."""

    folders: list[PlacedFolder]
    """Folder in a patch archive of each of `rows`, and its place; empty if the source holds products or image files."""

    files: list[PlacedImage]
    """Image file of each of `rows`, and its place; empty if the source holds others."""

    paired: list[PairedPatch]
    """Patch of Sentinel-1 of each of `rows`; empty if they are not wanted."""

    rounds: list[RowSpan]
    """Rows that it writes in each collective round; empty in a round for which it has none."""

    needed_blocks: int
    """Blocks that the plan of all ranks decodes, each counted once."""

    predicted_inefficiency: float
    """`Plan.inefficiency` of the whole plan."""

    @property
    def batches(self) -> list[RowSpan]:
        """Rows of the rounds in which this rank has any."""
        return [span for span in self.rounds if not span.empty]


def scatter_assignments(
    inputs: ExtractionInputs, store_state: RootOnly[ResumeState], comm: Comm, on_gpu: bool, candidate: int = 0
) -> RankAssignment:
    """Collective: plan the pending rows on rank 0, by predicted seconds, and give every rank its assignment.

    `candidate`: number of the candidate from which all of them are read.
    """
    return store_state.scatter(
        lambda state: make_assignments(inputs, state, plan_extraction(inputs, state.rows, comm.size, on_gpu, candidate))
    )


def make_assignments(
    inputs: ExtractionInputs, state: ResumeState, extraction_plan: ExtractionPlan
) -> list[RankAssignment]:
    """The assignment of every rank."""
    plan, product_patches = extraction_plan.plan, extraction_plan.product_patches
    selection, candidate = state.rows.selection, extraction_plan.candidate
    read_from = _inspection_of_rows(inputs, selection, candidate)
    served = np.array([served_by(inspection) for inspection in inputs.inspections], "S").reshape(-1, 2)
    names = ([inputs.inspections[number].name for number in numbers] for numbers in inputs.candidates)
    following = np.array([next_candidates(of_listed, candidate) for of_listed in names], np.intp)
    repairs = state.journal.repairs
    assignments = []
    for work, rounds in zip(plan.work, extraction_plan.rounds, strict=True):
        rows = work.store_rows(product_patches)
        parts: list[PatchRange | Block] = [*work.patches, *work.receives, *work.sends]
        used = sorted({part.product for part in parts})
        numbers, serving = np.unique(read_from[rows], return_inverse=True)
        product, baseline = served[numbers].T
        assignments.append(
            RankAssignment(
                work=work,
                product_patches={k: product_patches[k] for k in used},
                inspections={k: extraction_plan.inspections[k] for k in used},
                rows=rows,
                splits=selection.catalogue.split[rows],
                served={"product": product, "baseline": baseline},
                serving=serving,
                candidate=candidate,
                following=following[selection.product_index[rows]],
                earlier={row: state.open_rows[row] for row in rows.tolist()} if candidate else {},
                repair=frozenset(np.intersect1d(rows, repairs).tolist()),
                folders=patch_folders(selection, rows),
                files=image_files(selection, inputs.settings.source, rows),
                paired=paired_patches(selection, rows),
                rounds=rounds,
                needed_blocks=plan.blocks,
                predicted_inefficiency=plan.inefficiency,
            )
        )
    return assignments


def patch_folders(selection: CatalogueSelection, rows: npt.NDArray[np.intp]) -> list[PlacedFolder]:
    """Folder in a patch archive of each of `rows`, and its place; none if the source holds products."""
    if selection.patch_folder is None:
        return []
    return [
        PlacedFolder(selection.patch_folder.copies(name), Georeference(epsg, ulx, uly, GROUPS[0].gsd_m))
        for name, epsg, ulx, uly in _places(selection, rows)
    ]


def image_files(selection: CatalogueSelection, source: Path, rows: npt.NDArray[np.intp]) -> list[PlacedImage]:
    """Image file of each of `rows`, and its place; none if the source holds others."""
    if selection.images is None:
        return []
    return [PlacedImage(source / name, epsg, ulx, uly) for name, epsg, ulx, uly in _places(selection, rows)]


def paired_patches(selection: CatalogueSelection, rows: npt.NDArray[np.intp]) -> list[PairedPatch]:
    """The patch of Sentinel-1 of each of `rows`; none if they are not wanted."""
    if selection.sentinel1 is None or selection.catalogue.s1_name is None:
        return []
    names = [name.decode() for name in selection.catalogue.s1_name[rows].tolist()]
    places = (Georeference(epsg, ulx, uly, GROUPS[0].gsd_m) for _, epsg, ulx, uly in _places(selection, rows))
    folders = (selection.sentinel1(name) if name else None for name in names)
    return list(map(PairedPatch, folders, places))


def _places(selection: CatalogueSelection, rows: npt.NDArray[np.intp]) -> Iterator[tuple[str, int, float, float]]:
    """Name, EPSG code and corner in m of each of `rows`."""
    patch, *columns = (getattr(selection.catalogue, name)[rows].tolist() for name in ("patch", "epsg", "ulx", "uly"))
    return zip((name.decode() for name in patch), *columns, strict=True)


def _inspection_of_rows(inputs: ExtractionInputs, selection: CatalogueSelection, candidate: int) -> IntArray:
    """Number among `ExtractionInputs.inspections` of each patch's `candidate`-th product, or -1; shape (patch,)."""
    numbers = [of_listed[candidate] if candidate < len(of_listed) else -1 for of_listed in inputs.candidates]
    return np.array(numbers, np.intp)[selection.product_index]


def plan_extraction(
    inputs: ExtractionInputs, rows: PatchRows, ranks: int, on_gpu: bool = False, candidate: int = 0
) -> ExtractionPlan:
    """Plan of the pending rows on `ranks` ranks, by predicted seconds, all read from their `candidate`-th product.

    `on_gpu`: whether networks run on a GPU.
    """
    pending, product_patches = np.flatnonzero(rows.pending), []
    read_from = _inspection_of_rows(inputs, rows.selection, candidate)[pending]
    starts = np.flatnonzero(np.diff(read_from, prepend=-1))  # where rows of the next product begin
    inspections = read_from[starts].tolist()
    for number, of_product in zip(inspections, np.split(pending, starts)[1:], strict=True):
        patch_row, patch_col = rows.cells[of_product].T
        layers = inputs.inspections[number].layers
        product_patches.append(ProductPatches(of_product, patch_row, patch_col, layers))
    # networks can take longer than all decoding, so the plan must know of them
    cost = Cost(patch_s=Cost().patch_s + inputs.method.network_s(on_gpu))
    shard_rows = inputs.store.shard_rows  # a resumed store keeps the shards it was created with
    plan = make_plan(product_patches, ranks, inputs.settings.balance, cost, shard_rows)
    round_rows = (inputs.settings.round_mib << 20) // inputs.schema.row_bytes
    capacity = max(1, min(round_rows, int(_BATCH_S / cost.patch_s)))
    rows_by_rank = [work.store_rows(product_patches) for work in plan.work]
    ready = [predict_ready_s(work, dict(enumerate(product_patches)), cost) for work in plan.work]
    rounds = plan_rounds(rows_by_rank, ready, capacity, shard_rows, len(rows.pending))
    return ExtractionPlan(plan, product_patches, inspections, rounds, candidate)
