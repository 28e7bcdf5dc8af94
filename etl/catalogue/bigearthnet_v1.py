"""Read BigEarthNet version 1: one folder a patch with its description, `<patch>/<patch>_labels_metadata.json`.

Source: BigEarthNet-S2 v1.0 as published; 43 classes.
"""

import functools
import json
import re
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.georeference import Rejections
from etl.catalogue.names import parse_product
from etl.input_files import NO_LINKS, Links, RefusedFileError, fault_text, read_bytes, shortened
from etl.tar_archive import PackedPatch

__all__ = ["V1_METADATA_SUFFIX", "has_description", "read_v1"]

V1_METADATA_SUFFIX = "_labels_metadata.json"
"""What follows the patch's name in the file name of its description."""

_EPSG = re.compile(r'AUTHORITY\["EPSG",\s*"([0-9]{4,6})"\]\s*\]\s*\Z')
_KEYS = ("labels", "coordinates", "projection", "tile_source")
_CORNERS = ("ulx", "uly", "lrx", "lry")

_MOST_METRES = 20_000_000
"""Most that a coordinate can be, in m: half of the way around the Earth."""

_MOST_PROJECTION_LETTERS = 10_000
"""Most letters of a projection; published ones have 400."""

_MOST_LABELS, _MOST_LETTERS = 100, 255
"""Most labels of a patch, and letters of one; published patches have up to 12, of up to 80 letters."""


def read_v1(
    patches: Sequence[str], copies_of: Callable[[str], Sequence[Path | PackedPatch]], links: Links = NO_LINKS
) -> tuple[pa.Table, Rejections]:
    """Rows of a catalogue for these patches, and (patch, reason) of those without a valid description.

    `copies_of`: the folders of a patch, or its place in a tar file, by its name, at least one; the first valid
    description is taken. `links`: where links may lead.

    Corners are in metres; `acquired` and `tile` come from the name of the product in the description. Split,
    exclusions and country are in lists of their own (see `etl.catalogue.lists`) and stay null here.
    """
    rows: list[dict[str, Any]] = []
    rejected: Rejections = []
    for patch in patches:
        problems = []
        for folder in copies_of(patch):
            try:
                row = _row(_read_description(folder, links))
            except ValueError as error:
                problems.append(str(error))
                continue
            except Exception as error:  # one patch must not end the run
                problems.append(f"its description cannot be read: {fault_text(error)}")
                continue
            rows.append({"patch": patch, "snow": False, "cloud": False, **row})
            break
        else:
            rejected.append((patch, problems[0]))
    return pa.Table.from_pylist(rows, CATALOGUE_SCHEMA), rejected


def has_description(folder: Path | PackedPatch) -> bool:
    """Whether a patch has a description."""
    if isinstance(folder, PackedPatch):
        return folder.has(V1_METADATA_SUFFIX)
    return (folder / f"{folder.name}{V1_METADATA_SUFFIX}").is_file()


def _read_description(folder: Path | PackedPatch, links: Links) -> dict[str, Any]:
    """The JSON object in a patch's description; it has all keys in _KEYS."""
    path = Path(str(folder)) / f"{folder.name}{V1_METADATA_SUFFIX}"
    try:
        if isinstance(folder, PackedPatch):
            content: Any = json.loads(folder.read(V1_METADATA_SUFFIX))
        else:
            content = json.loads(read_bytes(path, links))
    except FileNotFoundError:
        raise ValueError(f"{path.name} must be in the patch's folder, but is missing") from None
    except RefusedFileError as error:
        raise ValueError(f"{path.name} {error.reason}") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise ValueError(f"{path.name} must be JSON: {fault_text(error)}") from None
    description: dict[str, Any] = content if isinstance(content, dict) else {}
    missing = [key for key in _KEYS if key not in description]
    if missing:
        raise ValueError(f"{path.name} must be an object with {', '.join(_KEYS)}; it lacks {', '.join(missing)}")
    return description


def _row(description: dict[str, Any]) -> dict[str, Any]:
    """The columns that a description gives, checked."""
    labels, source, projection = (description[key] for key in ("labels", "tile_source", "projection"))
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels must be a list of names, got {reprlib.repr(labels)}")
    if len(labels) > _MOST_LABELS or any(len(label) > _MOST_LETTERS or _is_unwritable(label) for label in labels):
        raise ValueError(
            f"labels must be at most {_MOST_LABELS} names of at most {_MOST_LETTERS} letters, got {len(labels)}: "
            f"{reprlib.repr(labels)}"
        )
    if not isinstance(source, str) or not isinstance(projection, str):
        shown = f"{reprlib.repr(source)} and {reprlib.repr(projection)}"
        raise ValueError(f"tile_source and projection must be texts, got {shown}")
    product = parse_product(source)
    if not product.tile:
        raise ValueError(f"tile_source must name its tile, got {shortened(source)!r}")
    if len(projection) > _MOST_PROJECTION_LETTERS:
        raise ValueError(f"projection must have at most {_MOST_PROJECTION_LETTERS} letters, got {len(projection)}")
    ulx, uly = _corner(description["coordinates"])
    place = {"epsg": _epsg(projection), "ulx": ulx, "uly": uly}
    return {"tile": product.tile, "product": source, "acquired": product.acquired, **place, "labels": labels}


def _corner(coordinates: object) -> tuple[float, float]:
    """Upper left corner in metres of coordinates that span one patch."""
    corners = [coordinates.get(key) for key in _CORNERS] if isinstance(coordinates, dict) else []
    # bool is a subclass of int, and true is no coordinate
    plain = [c for c in corners if isinstance(c, (int, float)) and not isinstance(c, bool)]
    numbers = [float(c) for c in plain if abs(c) <= _MOST_METRES]  # a whole number can be too large for a float
    if len(numbers) != len(_CORNERS):
        shown = reprlib.repr(coordinates)
        raise ValueError(f"coordinates must hold {', '.join(_CORNERS)} in m, at most {_MOST_METRES}, got {shown}")
    ulx, uly, lrx, lry = numbers
    # exact comparison: the published corners are whole metres
    if lrx - ulx != PATCH_M or uly - lry != PATCH_M:
        raise ValueError(f"coordinates must span {PATCH_M} m x {PATCH_M} m, got {lrx - ulx:g} x {uly - lry:g}")
    return ulx, uly


@functools.lru_cache  # half a million patches have a few projections
def _epsg(projection: str) -> int:
    code = _EPSG.search(projection)
    if code is None:
        shown = shortened(projection)
        raise ValueError(f"projection must be well-known text that ends in its EPSG code, got {shown!r}")
    return int(code[1])


def _is_unwritable(text: str) -> bool:
    """Whether a text holds what no table does: half of a surrogate pair, or NUL, at which a text in HDF5 ends."""
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
