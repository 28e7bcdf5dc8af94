"""Predictions as a table, one row a patch; with squares in degrees if places are known and geopandas is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.selection import SelectedRows

__all__ = ["Columns", "identity_of", "predicted_labels", "require_class_columns", "write_table"]

_IDENTITY = ("patch", "tile", "epsg", "ulx", "uly")
"""Arrays of the store that are copied."""

_OTHERS = ("row", "labels", "geometry", "geom", "bbox", "fid")
"""Further columns; `geom` and `fid` are GeoPackage's own."""

Columns = dict[str, npt.NDArray[Any]]
"""Columns by name, each of shape (row,)."""


def require_class_columns(classes: Sequence[str]) -> None:
    """Check that each class can have a column of its name.

    Raises:
        ValueError: one has the name of another column, or of another class in other letters' case.
    """
    taken = {*_IDENTITY, *_OTHERS}
    for name in classes:
        if name.casefold() in taken:
            raise ValueError(
                f"each class gives its name to a column, so it must differ from {', '.join((*_IDENTITY, *_OTHERS))} "
                f"and from other classes, also if case is ignored; got {name!r}"
            )
        taken.add(name.casefold())


def identity_of(rows: SelectedRows) -> tuple[Columns, list[str]]:
    """Name, tile, projection and corner of each patch as far as the store has them, and the names of those it lacks.

    If the store has no names, the column `row` gives the row number in the store.
    """
    store = rows.reader
    missing = [name for name in _IDENTITY if name not in store]
    columns = {name: store.column(name)[rows.store_rows] for name in _IDENTITY if name in store}
    if "patch" in missing:
        columns = {"row": rows.store_rows, **columns}
    columns = {name: np.strings.decode(c, "utf-8") if c.dtype.kind == "S" else c for name, c in columns.items()}
    return columns, missing


def predicted_labels(
    probabilities: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    classes: Sequence[str],
    single_label: bool,
) -> list[list[str]]:
    """Names of the classes of each row whose probability, (row, class), reaches the threshold, (class,).

    With `single_label` that of the most probable class alone.
    """
    if single_label:
        return [[classes[k]] for k in probabilities.argmax(axis=1).tolist()]
    return [[classes[k] for k in np.flatnonzero(row).tolist()] for row in probabilities >= thresholds]


def write_table(path: Path, columns: Columns, labels: list[list[str]]) -> None:
    """Write `columns`, and the list of text `labels`, as Parquet."""
    pq.write_table(pa.table({**columns, "labels": pa.array(labels, pa.list_(pa.string()))}), path)
