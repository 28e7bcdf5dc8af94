"""Create and write a store of either format: its suffix chooses between HDF5 and Zarr, and no caller asks again.

Zarr's packages are loaded only where a Zarr store is named: they take a rank 60 MiB.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from etl.schema import Schema
from etl.store.hdf5.create import create_hdf5, overwrite_hdf5, zero_hdf5_rows
from etl.store.hdf5.writer import ChunkedWriter, Hdf5Writer, OffsetWriter, h5py_is_serial
from etl.store.interface import Backend, Writer
from etl.store.layout import Layout
from etl.store.location import format_of

__all__ = ["backend_of"]


def backend_of(path: Path, layout: Layout | None = None) -> Backend:
    """The store at `path`; `layout` for one that is to be made."""
    layout = layout or Layout()
    if format_of(path) == "HDF5":
        return _Hdf5Backend(path, layout)
    from etl.store.zarr.backend import ZarrBackend

    return ZarrBackend(path, layout)


class _Hdf5Backend(Backend):
    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        create_hdf5(self.path, schema, identity, attributes, self.layout)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite_hdf5(self.path, arrays)

    def zero_rows(self, rows: Sequence[int]) -> None:
        zero_hdf5_rows(self.path, self.reader().schema, rows)

    def writer(self, comm: Any, info: Any) -> Writer:
        if self.layout.hdf5_codec != "none":
            return ChunkedWriter(self.path)
        if h5py_is_serial():
            return OffsetWriter(self.path)
        return Hdf5Writer(self.path, comm, info, self.layout.collective)
