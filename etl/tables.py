"""Tables as CSV: constants, which lie beside the module that uses them, and lists that commands write."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["FORMULA_STARTS", "csv_bytes", "read_table", "unquote_cell"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula, which it computes."""


def read_table(module_file: str, name: str) -> list[dict[str, str]]:
    """Rows of the CSV file `name` beside the module at `module_file`: texts by the column names of its first line."""
    return list(csv.DictReader(Path(module_file).with_name(name).read_text(encoding="utf-8").splitlines()))


def csv_bytes(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    r"""A CSV file in UTF-8: texts that begin as a formula get a ' in front, and what is not UTF-8 becomes \udc...

    Source: OWASP, CSV Injection.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([heading, *([_cell(value) for value in row] for row in rows)])
    return text.getvalue().encode(errors="backslashreplace")


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    value = value.replace("\0", "\\x00")
    return f"'{value}" if value.lstrip("'").startswith(FORMULA_STARTS) else value


def unquote_cell(text: str) -> str:
    """The text of a cell that `csv_bytes` wrote, without the ' in front of a formula."""
    return text[1:] if text[:1] == "'" and text.lstrip("'").startswith(FORMULA_STARTS) else text
