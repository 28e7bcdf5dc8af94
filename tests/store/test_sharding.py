"""Shards as they lie in a folder: whoever wrote them, zarr-python and TensorStore read the same rows."""

import warnings

import numpy as np
import pytest
import zarr
from mpi4py import MPI

from etl.schema import Schema
from etl.store.backend import backend_of
from etl.store.layout import Layout


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize(("shard_rows", "chunk_rows"), [(4, 1), (6, 3), (16, 4)])
def test_rows_of_whole_and_of_last_shards_are_read_back_by_zarr_python_and_tensorstore(
    tmp_path, compress, shard_rows, chunk_rows
):
    schema = Schema(11, upsampled=False)
    store = backend_of(tmp_path / "store.zarr", Layout(0, True, shard_rows, chunk_rows, compress))
    store.create(schema, {}, {})
    numbers = np.random.default_rng(0)
    pixels = {item.name: numbers.integers(0, 9000, item.shape, np.uint16) for item in schema.pixels}
    with store.writer(MPI.COMM_SELF, None) as writer:
        for name, rows in pixels.items():
            writer.write(name, 0, rows)
        writer.wait()
        writer.sync()
    with store.reader() as reader:
        for row in range(schema.rows):
            assert all(map(np.array_equal, reader.row(row), [rows[row] for rows in pixels.values()]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(tmp_path / "store.zarr", mode="r")
    for name, rows in pixels.items():
        assert np.array_equal(group[name][...], rows)
    assert not list(tmp_path.rglob("*.part"))
