"""The name under which a store is made, on a file system or in a bucket."""

import shutil
from pathlib import Path

from etl.store.location import is_remote

__all__ = ["draft_of", "remove", "size_bytes"]


def draft_of(out: Path) -> Path:
    """The name under which `out` is made; its own in a bucket, where nothing is renamed."""
    return out if is_remote(out) else out.with_name(f".{out.stem}.draft{out.suffix}")


def remove(path: Path) -> None:
    """Remove a store, if it is there."""
    if is_remote(path):
        from etl.store.object_store import delete_objects

        delete_objects(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_bytes(path: Path) -> int:
    """Bytes of a store on a file system."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(part.stat().st_size for part in files)
