"""Read and write the small files beside a store, or in a bucket the objects: journal, record, list of rejected rows.

TensorStore is loaded only where a bucket is named.
"""

from pathlib import Path

from etl.store.location import is_remote

__all__ = ["read_file", "write_file"]


def read_file(path: Path) -> bytes | None:
    """All bytes of a small file or object; None if there is none.

    Raises:
        OSError: it cannot be read.
    """
    if not is_remote(path):
        return path.read_bytes() if path.exists() else None
    from etl.store.object_store import read_objects

    return read_objects(path.parent, [path.name])[path.name]


def write_file(path: Path, data: bytes) -> None:
    """Write the bytes of a small file or object, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    if not is_remote(path):
        path.write_bytes(data)
        return
    from etl.store.object_store import write_objects

    write_objects(path.parent, {path.name: data})
