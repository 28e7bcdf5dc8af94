"""The store as a file: what its creation does where the file system falls short."""

import errno
import math
import os

import h5py
import numpy as np
import pytest
from stores import GOOD, make_store

from benchmarks.page_cache import disk_of, resident_share
from etl.mpi import comm_self, file_hints
from etl.schema import Schema
from etl.store.hdf5 import reader as hdf5_reader
from etl.store.hdf5.create import create_hdf5
from etl.store.hdf5.writer import Hdf5Writer
from etl.store.layout import Layout
from etl.store.reader import StoreReader


def make(path, schema=None):
    schema = schema or Schema(2, upsampled=False)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    create_hdf5(path, schema, identity, {}, Layout(4096))


@pytest.mark.parametrize("said", [errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_where_space_cannot_be_reserved_the_store_is_made_all_the_same_with_a_warning(
    tmp_path, monkeypatch, caplog, said
):
    def refuse(*_):
        raise OSError(said, os.strerror(said))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    make(tmp_path / "store.h5")
    assert "cannot reserve space" in caplog.text
    with h5py.File(tmp_path / "store.h5") as file:
        assert file["data_10m"].shape == (2, 120, 120, 4)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="cannot be created: No space left"):
        make(tmp_path / "store.h5")
    assert not list(tmp_path.iterdir())


def test_rows_that_were_written_are_there_but_do_not_stay_in_memory(tmp_path):
    if disk_of(tmp_path)["kind"] == "tmpfs":
        pytest.skip("a file system in memory gives nothing up")
    path, schema, rows_a_write = tmp_path / "store.h5", Schema(96), 4
    make(path, schema)
    with Hdf5Writer(path, comm_self(), file_hints(), collective=True) as writer:
        for first in range(0, schema.rows, rows_a_write):
            for item in schema.pixels:
                values = np.arange(first + 1, first + 1 + rows_a_write, dtype=np.uint16)[:, None, None, None]
                writer.write(item.name, first, np.broadcast_to(values, (rows_a_write, *item.row_shape)).copy())
        writer.sync()
    share = resident_share([path])
    if math.isnan(share):
        pytest.skip("this file system does not tell what is in memory")
    assert share < 0.1  # but what HDF5 itself wrote
    with StoreReader(path) as reader:
        for item in schema.pixels:
            assert np.array_equal(
                reader.read(item.name, np.arange(schema.rows))[:, 0, 0, 0], np.arange(1, schema.rows + 1)
            )


def test_a_column_is_read_once_however_often_it_is_asked_for(tmp_path, monkeypatch):
    reader, opened = StoreReader(make_store(tmp_path, GOOD)), []
    monkeypatch.setattr(hdf5_reader, "open_hdf5", lambda path, **options: opened.append(path) or h5py.File(path))
    assert len({reader.row_name(row) for row in range(6)}) == 6
    assert len(opened) == 1
