"""Tables of constants, which lie as CSV files beside the module that uses them."""

import csv
from pathlib import Path

__all__ = ["read_table"]


def read_table(module_file: str, name: str) -> list[dict[str, str]]:
    """Rows of the CSV file `name` beside the module at `module_file`: texts by the column names of its first line."""
    return list(csv.DictReader(Path(module_file).with_name(name).read_text(encoding="utf-8").splitlines()))
