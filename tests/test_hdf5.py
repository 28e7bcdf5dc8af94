"""The store as a file: what its creation does where the file system falls short."""

import errno
import os

import h5py
import numpy as np
import pytest

from etl.store.hdf5 import create
from etl.store.schema import Schema


def make(path):
    schema = Schema(2, upsampled=False)
    create(path, schema, {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}, {}, 4096)


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
