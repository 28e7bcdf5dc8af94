"""What is settled before the first pixel is read: which product serves whom, what cannot be made, who does what.

Rank 0 reads the catalogue, looks over the source and makes the plan; the ranks inspect the products between them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etl.catalogue.finder import find_products, index_products, matching_product, patch_locator
from etl.catalogue.product_files import ProductError
from etl.exit_status import ExitStatus, JobError
from etl.extract.settings import ExtractSettings
from etl.grid import nominal_origin, patch_cell
from etl.mpi import Comm
from etl.plan.layers import Layer
from etl.plan.work import Plan, Share, Tile
from etl.schema import UNWRITTEN, Schema
from etl.source.safe import Product, read_product
from etl.source.tiles import layers_of
from etl.upsample.method import UpsampleMethod

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = [
    "Assignment",
    "Inspected",
    "Wanted",
    "assign",
    "begun_with",
    "initial_columns",
    "inspect_products",
    "pending_tiles",
    "problems",
    "rows_of",
    "schema_for",
    "want",
]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What the catalogue asks for; on rank 0."""

    catalogue: "Catalogue"
    """Kept patches, in store order: row k of the store is entry k."""

    tile_of: npt.NDArray[np.intp]
    """Index into `listed` of each patch."""

    listed: tuple[str, ...]
    """Product names under which the patches are listed, in store order."""

    serving: tuple[Path | None, ...]
    """Product on disk that serves each of `listed`; None where there is none, and for a patch archive."""

    folder: Callable[[str], Path] | None
    """Folder of a patch in a patch archive; None where the source holds products."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """One product and what is decoded of it, or why it cannot be used."""

    product: Product | None
    """None where there is a problem, and for a patch archive."""

    layers: tuple[Layer, ...]
    """Empty where there is no product."""

    problem: str
    """Why no patch of it can be made; empty where they can."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """What one rank needs to know to do its share."""

    share: Share
    """Its part of the plan."""

    tiles: dict[int, Tile]
    """The tiles in its share."""

    rows: npt.NDArray[np.intp]
    """Rows that it makes, ascending."""

    splits: npt.NDArray[np.uint8]
    """Split of each of `rows`."""

    folders: list[Path]
    """Folder in a patch archive of each of `rows`; empty where the source holds products."""

    ranges: list[tuple[int, int]]
    """Rows [first, stop) that it writes in each collective round; first = stop where it has none."""


def want(settings: ExtractSettings) -> Wanted:
    """Read the catalogue and look over the source.

    Raises:
        JobError: with status 2, where catalogue or source is absent, empty or not what it should be.
    """
    from etl.catalogue.table import read_catalogue  # pyarrow takes 40 MiB, on rank 0 alone

    try:
        catalogue = read_catalogue(settings.catalogue)
    except (OSError, ValueError) as error:
        raise JobError(f"{error}; make it with python -m etl.catalogue", ExitStatus.BAD_INPUT) from None
    keep = np.ones(len(catalogue), bool)
    if not settings.keep_snow:
        keep &= ~catalogue.snow
    if not settings.keep_cloud:
        keep &= ~catalogue.cloud
    catalogue = catalogue.take(keep)
    if not len(catalogue):
        raise JobError(
            f"{settings.catalogue} must hold at least one patch without snow and cloud, got none of {len(keep)}",
            ExitStatus.BAD_INPUT,
        )
    listed, first, tile_of = np.unique(catalogue.product, return_index=True, return_inverse=True)
    order = np.argsort(first)
    names = tuple(listed[k].decode() for k in order)
    tile_of = np.argsort(order)[tile_of].astype(np.intp)
    if not settings.source.exists():
        raise JobError(
            f"--source must be a folder of products or patches, got {settings.source}, which does not exist",
            ExitStatus.BAD_INPUT,
        )
    found = find_products(settings.source)
    if found:
        scenes = index_products(found)
        return Wanted(catalogue, tile_of, names, tuple(matching_product(name, scenes) for name in names), None)
    folder = patch_locator(settings.source)
    if folder is None or not any(folder(name.decode()).is_dir() for name in catalogue.patch):
        raise JobError(
            f"--source must hold products (.SAFE, .zip) or the catalogue's patch folders, got {settings.source}",
            ExitStatus.BAD_INPUT,
        )
    return Wanted(catalogue, tile_of, names, (None,) * len(names), folder)


def inspect_products(
    paths: Sequence[Path | None], listed: Sequence[str], context_px: Sequence[int], comm: Comm
) -> list[Inspected]:
    """Collective: what each product says of itself, dealt over the ranks; the same list on every rank."""
    mine = {k: _inspect(path, listed[k], context_px) for k, path in enumerate(paths) if k % comm.size == comm.rank}
    merged = {k: found for part in comm.allgather(mine) for k, found in part.items()}
    return [merged[k] for k in range(len(paths))]


def _inspect(path: Path | None, listed: str, context_px: Sequence[int]) -> Inspected:
    if path is None:
        return Inspected(None, (), f"no Level-2A product on disk serves {listed}")
    try:
        product = read_product(path)
        return Inspected(product, layers_of(product, context_px), "")
    except ProductError as error:
        return Inspected(None, (), str(error))


def problems(wanted: Wanted, inspected: Sequence[Inspected]) -> tuple[dict[int, str], npt.NDArray[np.intp]]:
    """Reason by row of what cannot be made, and (row j, column i) of each patch, shape (patch, 2)."""
    catalogue = wanted.catalogue
    reasons = {int(k): str(catalogue.problem[k]) for k in np.flatnonzero(catalogue.problem != "")}
    cells = np.zeros((len(catalogue), 2), np.intp)
    grids = {}
    for k, (tile, ulx, uly) in enumerate(zip(wanted.tile_of.tolist(), catalogue.ulx, catalogue.uly, strict=True)):
        found = inspected[tile]
        if k in reasons:
            continue
        if found.problem:
            reasons[k] = found.problem
            continue
        if tile not in grids:
            grids[tile] = found.product.grid if found.product else nominal_origin(catalogue.tile[k].decode())
        grid = grids[tile]
        if catalogue.epsg[k] != grid.epsg:
            reasons[k] = f"patch must lie in its tile's projection EPSG:{grid.epsg}, got EPSG:{catalogue.epsg[k]}"
            continue
        try:
            cells[k] = patch_cell(grid, ulx, uly)
        except ValueError as error:
            reasons[k] = str(error)
    return reasons, cells


def pending_tiles(
    wanted: Wanted, inspected: Sequence[Inspected], cells: npt.NDArray[np.intp], pending: npt.NDArray[np.bool_]
) -> list[Tile]:
    """Tiles with the rows that are still to be made."""
    tiles = []
    for number, found in enumerate(inspected):
        rows = np.flatnonzero(pending & (wanted.tile_of == number))
        tiles.append(Tile(rows, cells[rows, 0], cells[rows, 1], found.layers))
    return tiles


def rows_of(share: Share, tiles: Sequence[Tile]) -> npt.NDArray[np.intp]:
    """Store rows that a share makes, ascending."""
    return np.concatenate([np.empty(0, np.intp), *(tiles[r.tile].rows[r.first : r.stop] for r in share.runs)])


def assign(
    plan: Plan, tiles: Sequence[Tile], wanted: Wanted, ranges: Sequence[list[tuple[int, int]]]
) -> list[Assignment]:
    """One assignment a rank."""
    out = []
    for share, mine in zip(plan.shares, ranges, strict=True):
        rows = rows_of(share, tiles)
        used = (
            {run.tile for run in share.runs}
            | {block.tile for block, _ in share.sends}
            | {b.tile for b in share.receives}
        )
        names = wanted.catalogue.patch[rows] if wanted.folder else ()
        folders = [wanted.folder(name.decode()) for name in names] if wanted.folder else []
        out.append(
            Assignment(share, {t: tiles[t] for t in sorted(used)}, rows, wanted.catalogue.split[rows], folders, mine)
        )
    return out


def schema_for(wanted: Wanted, inspected: Sequence[Inspected], upsampled: bool) -> Schema:
    """Schema of the store."""
    products = [
        found.product.name if found.product else name for found, name in zip(inspected, wanted.listed, strict=True)
    ]
    return Schema(
        len(wanted.catalogue),
        wanted.catalogue.nomenclature,
        upsampled,
        max(1, wanted.catalogue.patch.dtype.itemsize),
        max(80, *(len(name.encode()) for name in products)),
    )


def initial_columns(wanted: Wanted, inspected: Sequence[Inspected]) -> dict[str, npt.NDArray[Any]]:
    """Columns that are known before any pixel is read."""
    catalogue, tile_of = wanted.catalogue, wanted.tile_of
    names = [
        found.product.name if found.product else name for found, name in zip(inspected, wanted.listed, strict=True)
    ]
    baselines = [found.product.baseline if found.product else "" for found in inspected]
    rows = len(catalogue)
    return {
        "patch": catalogue.patch,
        "tile": catalogue.tile,
        "product": np.array([name.encode() for name in names])[tile_of],
        "baseline": np.array([text.encode() for text in baselines], "S5")[tile_of],
        "acquired": catalogue.acquired.astype("datetime64[s]").astype(np.int64),
        "epsg": catalogue.epsg,
        "ulx": catalogue.ulx,
        "uly": catalogue.uly,
        "split": catalogue.split,
        "classes": catalogue.classes,
        "state": np.full(rows, UNWRITTEN, np.uint8),
        "checksum": np.zeros(rows, np.uint64),
        "cloud_share": np.full(rows, np.nan, np.float32),
        "snow_share": np.full(rows, np.nan, np.float32),
    }


def begun_with(settings: ExtractSettings, wanted: Wanted, method: UpsampleMethod) -> dict[str, Any]:
    """What decides the store's content; a resumed run must have the same."""
    networks = {"weights": [network.sha256 for network in method.networks], "precision": method.precision}
    catalogue = wanted.catalogue
    digest = hashlib.sha256()
    for column in (
        catalogue.patch,
        catalogue.product,
        catalogue.ulx,
        catalogue.uly,
        catalogue.split,
        catalogue.classes,
    ):
        digest.update(np.ascontiguousarray(column).tobytes())
    return {
        "rows": len(catalogue),
        "catalogue_sha256": digest.hexdigest(),
        "source": "patches" if wanted.folder else "tiles",
        "upsample": method.name,
        **(networks if method.networks else {}),
        "max_cloud_share": settings.max_cloud_share,
        "max_snow_share": settings.max_snow_share,
    }
