"""Read a catalogue that lies in store order, as `etl.catalogue` writes it, in little more memory than its columns take.

Its table is converted batch by batch, because Arrow's texts and a sorted copy of them need several times as much.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.catalogue.columns import as_arrays, conform, is_in_store_order
from etl.catalogue.metadata import class_names_of, is_images, stated_class_names, stated_nomenclature
from etl.catalogue.parquet_file import parquet_batches, stated_rows
from etl.catalogue.refused_names import find_refused_names
from etl.catalogue.validation import join_problems, multi_hot, repeated, row_problems

__all__ = ["read_in_order", "repeated_rows"]

_HASHED_ROWS = 100_000
"""Names that are hashed at once."""


def read_in_order(
    path: Path, with_sentinel1: bool = False
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[Any]]] | None:
    """Names of the classes, and the columns of `Catalogue` by name; None if the table must be read whole.

    `with_sentinel1`: also `s1_name`.

    It must be if its rows are in another order or are image files, if it does not state its classes, or if a name can
    not be used.

    Raises:
        ValueError: the table is not what it should be; reading it whole tells why.
        OSError: it cannot be opened.
    """
    columns = _Columns(stated_rows(path))
    problems, class_names, last, rows = dict[int, str](), tuple[str, ...](), None, 0
    for batch in parquet_batches(path):
        table = conform(batch)
        if last is None:
            if is_images(batch) or not (stated_class_names(batch) or stated_nomenclature(batch)):
                return None
            class_names = class_names_of(batch)
        if not is_in_store_order(pa.concat_tables([last, table]) if last is not None else table) or find_refused_names(
            table
        ):
            return None
        classes, unknown = multi_hot(table["labels"], class_names)
        problems |= {rows + row: why for row, why in row_problems(table, unknown).items()}
        for name, values in {**as_arrays(table, with_sentinel1), "classes": classes}.items():
            columns.fill(name, rows, values)
        last, rows = table.slice(len(table) - 1), rows + len(table)
    if rows != columns.rows or not rows:
        return None
    pa.default_memory_pool().release_unused()  # what Arrow keeps of the batches
    return class_names, {**columns.arrays, "problem": _problem_column(problems, columns.arrays["patch"])}


class _Columns:
    """Arrays of all rows, filled part by part: parts that are joined at the end leave holes in the memory."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        """By name, shape (patch, ...)."""

    def fill(self, name: str, first: int, values: npt.NDArray[Any]) -> None:
        """Set the rows from `first` on of a column; one of texts becomes as wide as the longest.

        Raises:
            ValueError: there are more rows than the file said.
        """
        whole = self.arrays.get(name)
        if whole is None or whole.dtype.itemsize < values.dtype.itemsize:
            wider = np.zeros((self.rows, *values.shape[1:]), values.dtype)
            if whole is not None:
                wider[:first] = whole[:first]
            self.arrays[name] = whole = wider
        whole[first : first + len(values)] = values


def _problem_column(problems: dict[int, str], names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.object_]:
    """Problem of each row, shape (patch,), str: of its name, if an earlier row has the same, and that of `problems`."""
    column = np.full(len(names), "", object)
    for row in repeated_rows(names):
        column[row] = repeated(names[row].decode())
    for row, why in problems.items():
        column[row] = join_problems(column[row], why)
    return column


def repeated_rows(names: npt.NDArray[np.bytes_]) -> list[int]:
    """Rows whose name an earlier row has, ascending; `names`: shape (row,)."""
    words = -(-names.dtype.itemsize // 8)
    factors = np.random.default_rng(0).integers(0, 2**64, words, np.uint64) | np.uint64(1)
    hashes = np.empty(len(names), np.uint64)
    for first in range(0, len(names), _HASHED_ROWS):
        part = names[first : first + _HASHED_ROWS].astype(f"S{8 * words}")
        hashes[first : first + _HASHED_ROWS] = part.view(np.uint64).reshape(-1, words) @ factors
    order = np.argsort(hashes, kind="stable")
    same = np.append(False, np.diff(hashes[order]) == 0)
    suspects = np.sort(order[same | np.append(same[1:], False)]).tolist()  # different names can have one hash
    seen, again = set[bytes](), list[int]()
    for row in suspects:
        if names[row] in seen:
            again.append(row)
        seen.add(names[row])
    return again
