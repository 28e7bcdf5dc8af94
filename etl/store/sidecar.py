"""Read and write the small files beside a store, in a bucket the objects: journal, record, list of rejected rows.

TensorStore is loaded only for a bucket: it takes 25 MiB on every rank.
"""

import os

from etl.files import replace_atomically
from etl.store.location import Location

__all__ = ["read_file", "write_file"]


def read_file(location: Location) -> bytes | None:
    """All bytes of a small file or object; None if there is none.

    Raises:
        OSError: it cannot be read.
    """
    if not location.is_remote:
        return location.path.read_bytes() if location.path.exists() else None
    from etl.store.object_store import read_objects

    return read_objects(location.parent, [location.name])[location.name]


def write_file(location: Location, data: bytes, append: bool = False) -> None:
    """Write bytes to a small file or object and flush them to the disk: at its end with `append`, else in place of all.

    A file that cannot be replaced stays as it was; one that cannot be appended to can end with a part of `data`.

    Raises:
        OSError: it cannot be written.
    """
    if location.is_remote:
        from etl.store.object_store import write_objects

        # An object cannot be appended to: it is replaced as a whole, and so is never half-written.
        write_objects(location.parent, {location.name: (read_file(location) or b"") + data if append else data})
        return
    try:
        if not append:
            with replace_atomically(location.path) as temporary:
                temporary.write_bytes(data)
            return
        fd = os.open(location.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            view = memoryview(data)
            while len(view):
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        # write and fsync do not name the file
        raise OSError(error.errno, error.strerror, str(location)) from None
