"""Where a store and what lies beside it are: a path on a file system, or `s3://BUCKET/KEY` in a bucket.

A place in a bucket is kept as a `Path` too, which loses one slash; `shown` gives it back. What speaks to buckets is
loaded only where one is named.
"""

from pathlib import Path

__all__ = ["add_line", "is_remote", "read_file", "shown", "write_file"]


def is_remote(path: Path) -> bool:
    """Whether `path` lies in a bucket."""
    return path.parts[:1] == ("s3:",)


def shown(path: Path) -> str:
    """`path` as a person writes it."""
    return "s3://" + "/".join(path.parts[1:]) if is_remote(path) else str(path)


def read_file(path: Path) -> bytes | None:
    """A small file or object; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    if not is_remote(path):
        return path.read_bytes() if path.exists() else None
    from etl.store.object_store import read

    return read(path.parent, path.name)


def write_file(path: Path, data: bytes) -> None:
    """Write a small file or object, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    if not is_remote(path):
        path.write_bytes(data)
        return
    from etl.store.object_store import put

    put(path.parent, {path.name: data})


def add_line(path: Path, line: bytes) -> None:
    """Add to an object, which is written anew as a whole: never torn.

    Raises:
        OSError: it cannot be read or written.
    """
    write_file(path, (read_file(path) or b"") + line)
