"""What a catalogue's classes are called, and whether its patches are image files: metadata of its Parquet file."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from etl.labels import CLASSES_19, CLASSES_43, classes_of

__all__ = [
    "class_names_of",
    "detect_nomenclature",
    "image_metadata",
    "is_images",
    "is_single_label",
    "stated_class_names",
    "stated_nomenclature",
]


def image_metadata(class_names: Sequence[str], single_label: bool = False) -> dict[str, str]:
    """Metadata of a catalogue of image files with these classes, in the order of the class axis.

    `single_label`: whether no patch can have several of them.
    """
    single = {"labels": "single"} if single_label else {}
    return {"kind": "images", "classes": json.dumps(list(class_names)), **single}


def is_images(table: pa.Table) -> bool:
    """Whether each patch of the catalogue is one image file, whose path below --source is the patch's name."""
    return (table.schema.metadata or {}).get(b"kind") == b"images"


def is_single_label(table: pa.Table) -> bool:
    """Whether no patch of the catalogue can have several classes, as the metadata state."""
    return (table.schema.metadata or {}).get(b"labels") == b"single"


def stated_class_names(table: pa.Table) -> tuple[str, ...]:
    """Names of the classes as the metadata state them; empty if they do not.

    Raises:
        ValueError: what they state is no list of different names.
    """
    stated: bytes = (table.schema.metadata or {}).get(b"classes", b"[]")
    try:
        names = json.loads(stated)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        raise ValueError(f"classes in the file's metadata must be a JSON list of different names, got {stated!r}")
    return tuple(names)


def class_names_of(table: pa.Table) -> tuple[str, ...]:
    """Names of the classes: those that the metadata state, else those of 43 or 19, see `detect_nomenclature`."""
    stated = stated_class_names(table)
    return stated if stated or is_images(table) else classes_of(detect_nomenclature(table))


def detect_nomenclature(table: pa.Table) -> int:
    """43 or 19, as the file's metadata states; else the one with more of the labels (43 if equal)."""
    stated = stated_nomenclature(table)
    if stated is not None:
        return stated
    # many classes have the same name in both nomenclatures, so labels are counted, not looked up
    labels = pc.list_flatten(table["labels"])
    hits = {len(c): pc.sum(pc.is_in(labels, value_set=pa.array(c))).as_py() or 0 for c in (CLASSES_43, CLASSES_19)}
    return 19 if hits[19] > hits[43] else 43


def stated_nomenclature(table: pa.Table) -> int | None:
    """43 or 19, as the metadata state; None if they do not.

    Raises:
        ValueError: they state another number.
    """
    stated: bytes | None = (table.schema.metadata or {}).get(b"nomenclature")
    if stated not in (b"43", b"19", None):
        raise ValueError(f"nomenclature in the file's metadata must be 43 or 19, got {stated!r}")
    return None if stated is None else int(stated)
