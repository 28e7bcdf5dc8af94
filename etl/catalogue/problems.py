"""What keeps a listed patch from being extracted, found for whole columns: labels, places, names listed twice."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.bands import PATCH_M
from etl.grid import TileGrid, nominal_origin, patch_cell
from etl.labels import classes_of

__all__ = ["find_problems", "multi_hot"]


def multi_hot(labels: pa.ChunkedArray, nomenclature: int) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Multi-hot labels, shape (patch, class), uint8 0/1; and for rows with a label of no class, which.

    `labels` is a column of lists of names; null, like an empty list, gives a row of zeros.
    """
    names = classes_of(nomenclature)
    lists = labels.combine_chunks()
    flat, row = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy()
    index = pc.index_in(flat, value_set=pa.array(names))
    known = pc.is_valid(index).to_numpy(zero_copy_only=False)
    classes = np.zeros((len(labels), len(names)), np.uint8)
    classes[row[known], pc.fill_null(index, 0).to_numpy()[known]] = 1
    unknown: dict[int, str] = {}
    strangers = flat.filter(pa.array(~known)).to_pylist()
    for where, label in zip(row[~known].tolist(), strangers, strict=True):
        unknown.setdefault(where, f"label must be one of the {nomenclature} classes, got {label!r}")
    return classes, unknown


def find_problems(table: pa.Table, unknown: dict[int, str]) -> npt.NDArray[np.object_]:
    """Why each row of a catalogue's table cannot be extracted as listed, shape (patch,), str; empty where it can.

    `unknown` holds what is known to be wrong with the labels, by row. Of a name that is listed several times the first
    row is good.
    """
    problem = np.full(len(table), "", object)
    for row in np.flatnonzero(_repeated(table["patch"])).tolist():
        problem[row] = f"patch is listed more than once: {table['patch'][row]}; its first row counts"
    for row, why in (*_misplaced(table).items(), *unknown.items()):
        problem[row] = "; ".join(part for part in (problem[row], why) if part)
    return problem


def _repeated(names: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """True at each name that stands further up already."""
    codes = names.combine_chunks().dictionary_encode().indices.to_numpy()
    repeated = np.zeros(len(codes), np.bool_)
    repeated[1:] = codes[1:] <= np.maximum.accumulate(codes)[:-1]
    return repeated


def _misplaced(table: pa.Table) -> dict[int, str]:
    """By row, why a patch does not lie on the patch grid of its tile."""
    encoded = table["tile"].combine_chunks().dictionary_encode()
    grids, reasons = _grids(encoded.dictionary.to_pylist())
    code = encoded.indices.to_numpy()
    epsg, ulx, uly = (table[name].to_numpy() for name in ("epsg", "ulx", "uly"))
    want = {name: np.array([getattr(g, name) for g in grids], float)[code] for name in ("epsg", "ulx", "uly")}
    cells = np.array([g.size_px * 10 // PATCH_M for g in grids], float)[code]
    with np.errstate(invalid="ignore"):
        right, down = ulx - want["ulx"], want["uly"] - uly
        good = (right % PATCH_M == 0) & (down % PATCH_M == 0) & (right >= 0) & (down >= 0)
        good &= (right < cells * PATCH_M) & (down < cells * PATCH_M)
    named = np.array([not reason for reason in reasons], np.bool_)[code]
    found = {}
    for k in np.flatnonzero(~(named & good & (epsg == want["epsg"]))).tolist():
        found[k] = reasons[code[k]] or _misplacement(grids[code[k]], int(epsg[k]), float(ulx[k]), float(uly[k]))
    return found


def _grids(tiles: list[str]) -> tuple[list[TileGrid], list[str]]:
    """The grid of each tile, or where its name is none, some grid and the reason."""
    grids, reasons = [], []
    for tile in tiles:
        try:
            grids.append(nominal_origin(tile))
            reasons.append("")
        except ValueError as error:
            grids.append(TileGrid(0, 0.0, 0.0))
            reasons.append(str(error))
    return grids, reasons


def _misplacement(grid: TileGrid, epsg: int, ulx: float, uly: float) -> str:
    if epsg != grid.epsg:
        return f"epsg must be {grid.epsg}, that of its tile, got {epsg}"
    try:
        patch_cell(grid, ulx, uly, PATCH_M)
    except ValueError as error:
        return str(error)
    return ""
