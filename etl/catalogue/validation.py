"""Why listed patches cannot be extracted: unknown labels, corners off the grid, names listed twice; whole columns."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.bands import PATCH_M
from etl.catalogue.metadata import is_images
from etl.catalogue.refused_names import find_refused_names
from etl.grid import TileGrid, nominal_origin, patch_cell
from etl.input_files import refused_name

__all__ = ["find_problems", "join_problems", "multi_hot", "repeated", "row_problems"]

_MOST_CHARACTERS = 1000
"""Most of a reason that is kept: a cell of a table, which it cites, can hold any text."""


def multi_hot(labels: pa.ChunkedArray, names: Sequence[str]) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Multi-hot labels, shape (patch, class), uint8 0/1; and by row the first label that is none of `names`.

    `labels` is a column of lists of names; null, like an empty list, gives a row of zeros.
    """
    lists = labels.combine_chunks()
    flat, row = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy()
    index = pc.index_in(flat, value_set=pa.array(names, pa.string()))
    known = pc.is_valid(index).to_numpy(zero_copy_only=False)
    classes = np.zeros((len(labels), len(names)), np.uint8)
    classes[row[known], pc.fill_null(index, 0).to_numpy()[known]] = 1
    unknown: dict[int, str] = {}
    others = flat.filter(pa.array(~known)).to_pylist()
    for patch, label in zip(row[~known].tolist(), others, strict=True):
        unknown.setdefault(patch, f"label must be one of the {len(names)} classes, got {label!r}")
    return classes, unknown


def find_problems(table: pa.Table, unknown: dict[int, str]) -> npt.NDArray[np.object_]:
    """Why each row of a catalogue's table cannot be extracted as listed, shape (patch,), str; empty if it can.

    `unknown` holds the problems of labels, by row. Of a name that is listed several times the first row is good.
    """
    problem = np.full(len(table), "", object)
    names = table["patch"].combine_chunks().dictionary_encode().indices.to_numpy()
    is_again = np.ones(len(names), np.bool_)
    is_again[np.unique(names, return_index=True)[1]] = False  # where each name comes first
    for row in np.flatnonzero(is_again).tolist():
        problem[row] = repeated(table["patch"][row].as_py())
    if is_images(table):
        for row, name in enumerate(table["patch"].to_pylist()):
            problem[row] = problem[row] or refused_name(name)
    for row, why in row_problems(table, unknown).items():
        problem[row] = join_problems(problem[row], why)
    return problem


def row_problems(table: pa.Table, unknown: Mapping[int, str]) -> dict[int, str]:
    """By row, what is wrong with it alone, whatever the others are; `unknown` holds the problems of labels."""
    misplaced = {} if is_images(table) else _misplaced(table)
    problems = dict[int, str]()
    for row, why in (*find_refused_names(table).items(), *misplaced.items(), *unknown.items()):
        problems[row] = join_problems(problems.get(row, ""), why)
    return problems


def repeated(name: str) -> str:
    """The problem of a row whose name an earlier row has."""
    return f"patch is listed more than once: {name[:100]}; its first row counts"


def join_problems(*problems: str) -> str:
    """Problems of one row as one text, without the empty ones."""
    return "; ".join(filter(None, problems))[:_MOST_CHARACTERS]


def _misplaced(table: pa.Table) -> dict[int, str]:
    """By row, why a patch does not lie on the patch grid of its tile."""
    tiles = table["tile"].combine_chunks().dictionary_encode()
    tile_of_row = tiles.indices.to_numpy()
    epsg, ulx, uly = (table[name].to_numpy() for name in ("epsg", "ulx", "uly"))
    order = np.argsort(tile_of_row, kind="stable")
    problems: dict[int, str] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(tile_of_row[order])) + 1) if len(table) else ():
        try:
            grid = nominal_origin(tiles.dictionary[tile_of_row[rows[0]]].as_py())
        except ValueError as error:
            problems |= dict.fromkeys(rows.tolist(), str(error))
            continue
        with np.errstate(invalid="ignore"):  # a corner can be infinite
            right, down = ulx[rows] - grid.ulx, grid.uly - uly[rows]
            good = (right % PATCH_M == 0) & (down % PATCH_M == 0) & (np.minimum(right, down) >= 0)
        good &= (np.maximum(right, down) < grid.size_px * 10 // PATCH_M * PATCH_M) & (epsg[rows] == grid.epsg)
        for row in rows[~good].tolist():
            problems[row] = _misplacement(grid, int(epsg[row]), float(ulx[row]), float(uly[row]))
    return problems


def _misplacement(grid: TileGrid, epsg: int, ulx: float, uly: float) -> str:
    """Why a patch with this corner in metres is not on the grid."""
    if epsg != grid.epsg:
        return f"epsg must be {grid.epsg}, that of its tile, got {epsg}"
    try:
        patch_cell(grid, ulx, uly, PATCH_M)
    except ValueError as error:
        return str(error)
    return ""
