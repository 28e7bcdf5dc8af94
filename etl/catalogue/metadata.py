"""What the metadata of a catalogue's Parquet file state: the names of the classes, and that patches are image files."""

import json
from collections.abc import Sequence

import pyarrow as pa

__all__ = ["image_metadata", "is_images", "stated_class_names"]


def image_metadata(class_names: Sequence[str]) -> dict[str, str]:
    """Metadata of a catalogue of image files with these classes, in the order of the class axis."""
    return {"kind": "images", "classes": json.dumps(list(class_names))}


def is_images(table: pa.Table) -> bool:
    """Whether each patch of the catalogue is one image file, whose path below --source is the patch's name."""
    return (table.schema.metadata or {}).get(b"kind") == b"images"


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
