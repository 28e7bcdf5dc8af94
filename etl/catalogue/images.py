"""Patch archives with one image file a patch: listed in a table, or sorted into a folder for each class."""

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from etl.catalogue.bigearthnet_v1 import V1_METADATA_SUFFIX
from etl.catalogue.georeference import Rejections
from etl.catalogue.metadata import image_metadata
from etl.catalogue.parquet_file import checked_table, read_parquet
from etl.catalogue.table import make_catalogue_table, replace_columns
from etl.input_files import fault_text, shortened

__all__ = [
    "LABEL_COLUMNS",
    "PATH_COLUMNS",
    "has_class_folders",
    "list_class_folders",
    "names_images",
    "read_image_table",
]

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "file", "filename")
"""Names of the column with the paths of the files, in any case; the first that a table has is used."""

LABEL_COLUMNS = ("labels", "classname", "label", "class")
"""Names of the column with the labels, as `PATH_COLUMNS`; all but the first say one label a patch, if none has more."""

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS |= {"test": "test", "testing": "test"}

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".bmp")
"""Suffixes of image files in folders of classes, in small letters; in a table, files can have any name."""

_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")

_NO_CLASS = "holds no image file"

_MOST_BYTES = 4 << 30
"""Most bytes of a table of texts: 40 million rows."""

_MOST_HEADING = 1 << 16
"""Most letters of a table's heading."""

_PLACE = {"epsg": pa.int32(), "ulx": pa.float64(), "uly": pa.float64()}


def names_images(columns: Sequence[str]) -> bool:
    """Whether a table with these columns lists image files."""
    return _first_of(PATH_COLUMNS, columns) is not None


def read_image_table(path: Path) -> tuple[pa.Table, Rejections]:
    """Catalogue rows of the image files that a CSV or Parquet table lists; and those without a path, with the reason.

    A patch is named by its path, relative to the --source of etl.extract. Labels are one name, several separated by
    ";", or a list, also one as pandas writes it to CSV; several rows of one path may have one label each. Classes are
    sorted by name. `epsg`, `ulx` and `uly` (metres) are optional columns, others are left out.

    Raises:
        ValueError: the file is no such table, or a split has another name.
    """
    try:
        table = _read_csv(path) if path.suffix.lower() != ".parquet" else read_parquet(path)
        paths = _column(table, PATH_COLUMNS)
        if paths is None:
            raise ValueError(
                f"column {' or '.join(PATH_COLUMNS)} must be there; it has {', '.join(table.column_names)}"
            )
        patch = pc.utf8_trim_whitespace(paths.cast(pa.string()))
        named = pc.fill_null(pc.not_equal(patch, ""), False)
        columns: dict[str, Any] = {name: _column(table, (name,)) for name in _PLACE}
        columns = {name: value.cast(_PLACE[name]) for name, value in columns.items() if value is not None}
        columns |= {"labels": _labels(_column(table, LABEL_COLUMNS)), "split": _splits(_column(table, ("split",)))}
        stated = {name: value for name, value in columns.items() if value is not None}
        out = make_catalogue_table(patch=patch, **stated).filter(named)
    except (pa.ArrowException, OSError, ValueError, KeyError, csv.Error) as error:  # KeyError: columns of one name
        raise ValueError(f"{path}: {fault_text(error).removeprefix(f'{path} ')}") from None
    lines = [number for number, good in enumerate(named.to_pylist(), start=1) if not good]
    rows = _join_repeated(out)
    most = pc.max(pc.list_value_length(rows["labels"])).as_py()
    one_each = most == 1 and _first_of(LABEL_COLUMNS[:1], table.column_names) is None
    return _with_classes(rows, one_each), [(f"row {number}", "its path is empty") for number in lines]


def has_class_folders(folder: Path) -> bool:
    """Whether a folder holds folders with image files, one folder a class, perhaps below folders train, val, test."""
    return any(reason is None for *_, reason in _class_entries(folder))


def list_class_folders(folder: Path) -> tuple[pa.Table, Rejections]:
    """Catalogue rows of the image files in folders named like their class, below folders of splits if there are any.

    What else lies there is counted in one line of the log, and listed at level DEBUG.
    """
    entries = list(_class_entries(folder))
    found = sorted((path.as_posix(), path.parent.name, split) for path, split, reason in entries if reason is None)
    passed_over = [(path, reason) for path, _, reason in entries if reason is not None]
    if none := [path for path, reason in passed_over if reason == _NO_CLASS]:
        log.warning(
            "%s: %d folders hold no image file, so that they are no classes; the first: %s", folder, len(none), none[0]
        )
    if passed_over:
        log.info("%s: %d files and folders passed over, listed with -v", folder, len(passed_over))
    for path, reason in passed_over:
        log.debug("passed over: %s %s", folder / path, reason)
    refused = [(ascii(path), "the path must be UTF-8") for path, *_ in found if not _is_utf8(path)]
    found = [entry for entry in found if _is_utf8(entry[0])]
    patch, labels, split = ([entry[k] for entry in found] for k in range(3))
    rows = make_catalogue_table(patch=patch, labels=[[label] for label in labels], split=split)
    return _with_classes(rows, single_label=True), refused


def _is_utf8(path: str) -> bool:
    """Whether no byte of a path was escaped as a surrogate."""
    return not any("\udc80" <= sign <= "\udcff" for sign in path)


def _class_entries(folder: Path) -> Iterator[tuple[Path, str | None, str | None]]:
    """(path below `folder`, split or None, None for an image file or why it is passed over) of all in class folders."""
    classes: list[tuple[Path, str | None]] = [(path, None) for path in _subfolders(folder)]
    by_split = bool(classes) and all(path.name.lower() in _SPLITS for path, _ in classes)
    if by_split:
        classes = [(path, _SPLITS[part.name.lower()]) for part, _ in classes for path in _subfolders(part)]
    above = {path.parent for path, _ in classes} | {folder}
    taken = {path for path, _ in classes} | above
    for holder in sorted(above):
        for entry in sorted(set(holder.iterdir()) - taken):
            yield entry.relative_to(folder), None, "lies in no folder of a class"
    for path, split in classes:
        inside = sorted(path.iterdir())
        if any(_is_of_product(entry.name) for entry in inside):
            yield path.relative_to(folder), split, "is a product or patch of Sentinel-2"
            continue
        reasons = [_why_no_image(entry) for entry in inside]
        if None not in reasons:
            yield path.relative_to(folder), split, _NO_CLASS
            continue
        for entry, reason in zip(inside, reasons, strict=True):
            yield entry.relative_to(folder), split, reason


def _is_of_product(name: str) -> bool:
    """Whether a folder with an entry of this name is a product or patch of Sentinel-2, which can hold images, too."""
    return name in ("GRANULE", "manifest.safe") or name.startswith("MTD_") or name.endswith(V1_METADATA_SUFFIX)


def _why_no_image(path: Path) -> str | None:
    """Why an entry of a class folder is passed over; None for an image file."""
    if path.name.startswith((".", "__MACOSX")):
        return "is hidden, or was added by macOS"
    if path.is_dir():
        return "is a folder in that of a class"
    return None if path.suffix.lower() in _SUFFIXES else f"is no image by its suffix: {', '.join(_SUFFIXES)}"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _first_of(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The column whose name, in small letters and without underscores, is the first possible one of `names`."""
    plain = {column.lower().strip().replace("_", ""): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


def _column(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray | None:
    name = _first_of(names, table.column_names)
    return None if name is None else table[name]


def _read_csv(path: Path) -> pa.Table:
    """The table as text; the delimiter is the comma, semicolon or tab that is first in the heading."""
    size = Path(checked_table(path)).stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"must have at most {_MOST_BYTES} bytes, got {size}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        heading = file.readline(_MOST_HEADING)
    delimiter = min(",;\t", key=lambda sign: heading.find(sign) % (len(heading) + 1))
    columns = next(csv.reader([heading], delimiter=delimiter), [])
    return pv.read_csv(
        path,
        parse_options=pv.ParseOptions(delimiter=delimiter),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _labels(column: pa.ChunkedArray | None) -> list[list[str] | None] | None:
    """List of names of each patch; None of one without a label."""
    if column is None:
        log.warning("no labels, and so no classes: the table has no column %s", " or ".join(LABEL_COLUMNS))
        return None
    nested = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    values: list[Any] = column.to_pylist() if nested else column.cast(pa.string()).to_pylist()
    lists = [value if nested or value is None else _split_labels(value) for value in values]
    stripped = [value and [name for name in (str(item).strip() for item in value) if name] for value in lists]
    with_comma = [name for names in stripped if not nested for name in names or () if "," in name]
    if with_comma:
        log.warning(
            "names of classes contain commas, the first: %r; several labels are separated by semicolons", with_comma[0]
        )
    return stripped


def _split_labels(text: str) -> list[str]:
    """The names in a text: separated by semicolons, or a list in brackets as Python, numpy and JSON write it."""
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        return text.split(";")
    quoted = [first or second for first, second in _QUOTED.findall(inside[1:-1])]
    return quoted or inside[1:-1].split(",")


def _join_repeated(rows: pa.Table) -> pa.Table:
    """`rows` with the labels of all rows of one path in the first; equal rows, and other splits and places, stay."""
    if pc.count_distinct(rows["patch"]).as_py() == len(rows):
        return rows
    records = [tuple(row.values()) for row in rows.drop_columns(["labels"]).to_pylist()]
    labels: list[list[str] | None] = rows["labels"].to_pylist()
    of_path = defaultdict[str, list[int]](list)
    for number, path in enumerate(rows["patch"].to_pylist()):
        of_path[path].append(number)
    joined, dropped = list[str](), set[int]()
    for path, numbers in of_path.items():
        if all(labels[number] == labels[numbers[0]] for number in numbers):
            continue
        joined.append(path)
        union = list(dict.fromkeys(name for number in numbers for name in labels[number] or ()))
        first = {records[number]: number for number in reversed(numbers)}
        dropped |= set(numbers).difference(first.values())
        for number in numbers:
            labels[number] = union
    if not joined:
        return rows
    log.info("the labels of several rows are joined for %d paths, the first: %s", len(joined), joined[0])
    kept = pa.array([number not in dropped for number in range(len(rows))])
    return replace_columns(rows, {"labels": pa.array(labels, rows["labels"].type)}).filter(kept)


def _splits(column: pa.ChunkedArray | None) -> list[str | None] | None:
    if column is None:
        return None
    names = [None if value is None else value.strip().lower() for value in column.cast(pa.string()).to_pylist()]
    unknown = next((name for name in names if name and name not in _SPLITS), None)
    if unknown:
        raise ValueError(f"column split must be train, val, test or empty, got {shortened(unknown)!r}")
    return [_SPLITS[name] if name else None for name in names]


def _with_classes(rows: pa.Table, single_label: bool) -> pa.Table:
    """`rows` with the names of their labels, sorted, in the metadata, and whether each patch has one at most."""
    names = sorted(set(pc.list_flatten(rows["labels"]).to_pylist()))
    return rows.replace_schema_metadata(image_metadata(names, single_label))
