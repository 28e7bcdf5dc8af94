"""The file that HDF5 writes through Python: it holds what was written, and keeps the first error for later."""

import contextlib
import errno
import os
from contextlib import closing

import h5py
import numpy as np
import pytest
from disks import file_size_limit
from hypothesis import given
from hypothesis import strategies as st

from etl.store.hdf5.file_object import SteadyFile


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=100)), max_size=12), st.integers(1, 400))
def test_what_was_written_is_read_back_also_after_an_error(tmp_path_factory, writes, limit):
    expected = bytearray(500)
    with file_size_limit(limit):
        file = SteadyFile(tmp_path_factory.mktemp("x") / "x", create=True)
        for start, data in writes:
            file.seek(start)
            assert file.write(data) == len(data)
            expected[start : start + len(data)] = data
        file.seek(0)
        assert file.read(500) == expected
        assert file.seek(0, os.SEEK_END) == max((start + len(data) for start, data in writes), default=0)
        failed = any(start + len(data) > limit for start, data in writes)
        with pytest.raises(OSError, match="File too large") if failed else contextlib.nullcontext():
            file.close()


def test_a_new_file_keeps_the_space_that_was_reserved_for_it_but_looks_empty(tmp_path):
    (tmp_path / "x").write_bytes(b"reserved")
    with closing(SteadyFile(tmp_path / "x", create=True)) as file:
        assert file.seek(0, os.SEEK_END) == 0
        file.seek(2)
        file.write(b"--")
        assert (tmp_path / "x").read_bytes() == b"re--rved"
        file.truncate(4)
    assert (tmp_path / "x").read_bytes() == b"re--"


def write_store(path):
    """A file with what a store has: contiguous and compressed arrays, attributes and groups."""
    with closing(SteadyFile(path, create=True)) as disk, h5py.File(disk, "w", libver=("v108", "latest")) as file:
        for number in range(20):
            item = file.create_dataset(f"group/{number}", data=np.arange(1000), chunks=(100,) if number % 2 else None)
            item.attrs["about"] = "x" * 100


def test_hdf5_meets_no_error_of_a_disk_that_is_full_while_it_writes_metadata(tmp_path):
    write_store(tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    for limit in range(0, size, size // 40):
        with file_size_limit(limit), pytest.raises(OSError, match="File too large") as caught:
            write_store(tmp_path / f"{limit}.h5")
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(tmp_path / f"{limit}.h5")
    with h5py.File(tmp_path / "whole.h5") as file:
        assert np.array_equal(file["group/19"], np.arange(1000))
