"""BigEarthNet version 1: one folder a patch, which says of itself in `<patch>/<patch>_labels_metadata.json`.

Source: BigEarthNet-S2 v1.0 as published; 43 classes.
"""

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.names import Product, parse_product
from etl.catalogue.place import Rejections
from etl.catalogue.table import table_of

__all__ = ["METADATA", "read_v1"]

METADATA = "_labels_metadata.json"
"""What follows the patch's name in the name of its description."""

_EPSG = re.compile(r'AUTHORITY\["EPSG",\s*"(\d+)"\]\s*\]\s*$')
_KEYS = ("labels", "coordinates", "projection", "tile_source")
_CORNERS = ("ulx", "uly", "lrx", "lry")


def read_v1(patches: Sequence[str], folder: Path) -> tuple[pa.Table, Rejections]:
    """Rows of a catalogue for these patches of `folder`, and (patch, reason) of those without a good description.

    `acquired` and `tile` are what the product named by the description says. Split, exclusions and country stand in
    lists of their own and are left open here.
    """
    rows: list[tuple[Any, ...]] = []
    rejected: Rejections = []
    for patch in patches:
        try:
            rows.append((patch, *_row(patch, _described(folder / patch / f"{patch}{METADATA}"))))
        except ValueError as error:
            rejected.append((patch, str(error)))
    names = ("patch", "tile", "product", "acquired", "epsg", "ulx", "uly", "labels")
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return table_of(**{name: list(column) for name, column in zip(names, columns, strict=True)}), rejected


def _described(path: Path) -> dict[str, Any]:
    """The object in the patch's description, which has all keys that are needed."""
    try:
        found: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path.name} must be in the patch's folder, but is missing") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} must be JSON: {error}") from None
    known: dict[str, Any] = found if isinstance(found, dict) else {}
    missing = [key for key in _KEYS if key not in known]
    if missing:
        raise ValueError(f"{path.name} must be an object with {', '.join(_KEYS)}; it lacks {', '.join(missing)}")
    return known


def _row(patch: str, found: dict[str, Any]) -> tuple[Any, ...]:
    """Tile, product, acquired, epsg, ulx, uly, labels."""
    labels, source, projection = found["labels"], found["tile_source"], found["projection"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels must be a list of names, got {labels!r}")
    if not isinstance(source, str) or not isinstance(projection, str):
        raise ValueError(f"tile_source and projection must be texts, got {source!r} and {projection!r}")
    product = _product(source)
    ulx, uly = _corner(found["coordinates"])
    return product.tile, source, product.acquired, _epsg(projection), ulx, uly, labels


def _corner(found: object) -> tuple[float, float]:
    """Upper left corner in m of coordinates that span one patch."""
    corners = [found.get(key) for key in _CORNERS] if isinstance(found, dict) else []
    numbers = [float(c) for c in corners if isinstance(c, (int, float)) and not isinstance(c, bool)]
    if len(numbers) != len(_CORNERS):
        raise ValueError(f"coordinates must hold {', '.join(_CORNERS)} in m, got {found!r}")
    ulx, uly, lrx, lry = numbers
    if lrx - ulx != PATCH_M or uly - lry != PATCH_M:
        raise ValueError(f"coordinates must span {PATCH_M} m x {PATCH_M} m, got {lrx - ulx:g} x {uly - lry:g}")
    return ulx, uly


@functools.lru_cache
def _product(name: str) -> Product:
    found = parse_product(name)
    if not found.tile:
        raise ValueError(f"tile_source must name its tile, got {name!r}")
    return found


@functools.lru_cache
def _epsg(projection: str) -> int:
    found = _EPSG.search(projection)
    if found is None:
        raise ValueError(f"projection must be well-known text that ends in its EPSG code, got {projection!r}")
    return int(found[1])
