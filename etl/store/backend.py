"""Create and write a store in either format; the suffix of its name selects HDF5 or Zarr.

Zarr's packages are loaded only for a Zarr store: they take 60 MiB on every rank.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from etl.files import replace_atomically
from etl.heartbeat import now_doing
from etl.schema import Schema
from etl.store.hdf5.create import create_hdf5, overwrite_hdf5, zero_hdf5_rows
from etl.store.hdf5.writer import ChunkedWriter, Hdf5Writer, OffsetWriter, h5py_is_serial
from etl.store.interface import Backend, Writer
from etl.store.layout import Layout
from etl.store.location import Location, format_of

__all__ = ["backend_of"]

_COPY_BYTES = 64 << 20


def backend_of(path: Location | os.PathLike[str] | str, layout: Layout | None = None) -> Backend:
    """The store at `path`; `layout` is for one that is to be created."""
    location, layout = Location.parse(path), layout or Layout()
    if format_of(location) == "HDF5":
        return _Hdf5Backend(location, layout)
    if location.is_remote:
        from etl.store.zarr.bucket import BucketBackend

        return BucketBackend(location, layout)
    from etl.store.zarr.backend import FolderBackend

    return FolderBackend(location, layout)


class _Hdf5Backend(Backend):
    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        create_hdf5(self.location.path, schema, identity, attributes, self.layout)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite_hdf5(self.location.path, arrays)

    def detach(self) -> None:
        """Replace the file by a copy: who has it open changes only the old one."""
        if not self.exists():
            return
        path, position = self.location.path, 0
        with replace_atomically(path) as temporary, path.open("rb") as held, temporary.open("xb") as copy:
            shutil.copymode(path, temporary)
            size = os.fstat(held.fileno()).st_size
            while position < size:
                now_doing(f"copying {path}, byte {position}")  # it may take minutes
                position += os.copy_file_range(held.fileno(), copy.fileno(), _COPY_BYTES, position, position)

    def zero_rows(self, rows: Sequence[int]) -> None:
        zero_hdf5_rows(self.location.path, self.reader().schema, rows)

    def writer(self, comm: Any, info: Any) -> Writer:
        path = self.location.path
        if self.layout.hdf5_codec != "none":
            return ChunkedWriter(path)
        if h5py_is_serial():
            return OffsetWriter(path)
        return Hdf5Writer(path, comm, info, self.layout.collective)
