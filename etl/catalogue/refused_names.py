"""Names of patches and products that no store takes: too long, or such that other programs misread them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.metadata import is_images
from etl.tables import FORMULA_STARTS

__all__ = ["find_refused_names", "shown_names"]

_MOST_NAME_BYTES = 255
"""Most that file systems take for the name of a file or folder."""

_MOST_PATH_BYTES = 1023
"""Most for the path of an image file below --source; every row of a store has room for the longest."""

_MISREAD = r"^[=+\-@\t\r]|\x00"


def find_refused_names(table: pa.Table) -> dict[int, str]:
    """Why the name of the patch or of the product of each row of a catalogue's table cannot be used, by row."""
    problems = dict[int, str]()
    most = {"product": _MOST_NAME_BYTES, "patch": _MOST_PATH_BYTES if is_images(table) else _MOST_NAME_BYTES}
    for name, limit in most.items():
        column = table[name]
        suspect = pc.or_(pc.greater(pc.binary_length(column), _MOST_NAME_BYTES), _misread(column))
        for row in np.flatnonzero(np.asarray(pc.fill_null(suspect, False))).tolist():
            problem = _problem(column[row].as_py(), limit)
            if problem:
                problems[row] = f"{name} {problem}"
    return problems


def _misread(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(column, _MISREAD)


def _problem(text: str, most: int) -> str:
    """Why a name, or a path of at most `most` bytes, cannot be used; empty if it can."""
    shown = repr(_shortened(text, 60))
    if "\0" in text:
        return f"must not hold the character NUL, got {shown}"
    if text.startswith(FORMULA_STARTS):
        return f"must not begin with =, +, -, @, a tab or a carriage return, got {shown}"
    longest = max(len(part.encode()) for part in text.split("/"))
    if longest > _MOST_NAME_BYTES:
        where = " in each part" if most > _MOST_NAME_BYTES else ""
        return f"must have at most {_MOST_NAME_BYTES} bytes{where}, got {longest}: {shown}"
    size = len(text.encode())
    return f"must have at most {most} bytes, got {size}: {shown}" if size > most else ""


def shown_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as a store holds them: without NUL; those that are too long are cut, with dots at their end."""
    unfit = pc.fill_null(
        pc.or_(pc.greater(pc.binary_length(column), _MOST_NAME_BYTES), pc.match_substring(column, "\0")), False
    )
    if not pc.any(unfit).as_py():
        return column
    texts = column.to_pylist()
    for row in np.flatnonzero(np.asarray(unfit)).tolist():
        text = texts[row].replace("\0", "\\x00")
        texts[row] = text if not _problem(texts[row], _MOST_PATH_BYTES) else _shortened(text, _MOST_NAME_BYTES)
    return pa.chunked_array([texts], pa.string())


def _shortened(text: str, most_bytes: int) -> str:
    data = text.encode()
    return text if len(data) <= most_bytes else data[: most_bytes - 3].decode(errors="ignore") + "..."
