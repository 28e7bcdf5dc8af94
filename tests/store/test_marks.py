"""Marks: bytes that make an object unique, and that no reader of Zarr sees."""

import csv
import io
import json
import warnings

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given
from hypothesis import strategies as st
from mpi4py import MPI
from numcodecs import Zstd

from etl.schema import Schema
from etl.store.backend import backend_of
from etl.store.layout import Layout
from etl.store.location import Location
from etl.store.marks import empty_shard, mark_csv, mark_json, mark_shard, mark_zstd
from etl.store.reader import StoreReader


def open_everywhere(path, name):
    """An array by zarr-python and by TensorStore."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield zarr.open_array(path / name, mode="r")[...]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / name}/"}}
    yield ts.open(spec).result().read().result()


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_a_marked_store_reads_as_before_in_every_reader(tmp_path, compress):
    schema, path = Schema(11, upsampled=False), tmp_path / "store.zarr"
    store = backend_of(path, Layout(0, True, 4, 2, compress))
    rng = np.random.default_rng(0)
    identity = {"patch": np.array([f"patch {k}" for k in range(11)], "S64"), "split": np.arange(11, dtype=np.uint8) % 4}
    store.create(schema, identity, {})
    pixels = {item.name: rng.integers(0, 9000, item.shape, np.uint16) for item in schema.pixels}
    pixels["data_60m"][4:8] = 0  # a shard without a chunk
    with store.writer(MPI.COMM_SELF, None) as writer:
        for name, rows in pixels.items():
            writer.write(name, 0, rows)
        writer.wait()
        writer.sync()
    sizes = set()
    for repeat in range(3):
        for file in path.rglob("c*"):
            if file.is_file():
                shard = file.parent.name.startswith("data_")
                file.write_bytes(mark_shard(file.read_bytes(), 2) if shard else mark_zstd(file.read_bytes()))
        (path / "data_60m/c.1.0.0.0").write_bytes(mark_shard(empty_shard(2), 2))
        sizes.add(sum(file.stat().st_size for file in path.rglob("c*") if file.is_file()))
        for name, rows in pixels.items():
            assert all(np.array_equal(found, rows) for found in open_everywhere(path, name)), (name, repeat)
        with StoreReader(Location.parse(path)) as reader:
            assert all(np.array_equal(reader.row(row)[0], pixels["data_10m"][row]) for row in range(11))
            assert np.array_equal(reader.column("patch"), identity["patch"])
        for name in ("split", "ulx", "checksum", "complete", "utf8/patch"):
            one, other = open_everywhere(path, name)
            assert np.array_equal(one, other)
        assert next(open_everywhere(path, "patch")).tolist() == [f"patch {k}" for k in range(11)]
    assert len(sizes) == 1  # each mark takes the place of the one before


@given(st.binary(max_size=60), st.integers(1, 4))
def test_any_bytes_are_marked_and_what_is_no_shard_stays_none(data, chunks):
    marked = [mark_shard(data, chunks) for _ in range(2)]
    assert marked[0] != marked[1]
    assert all(one.startswith(data) for one in marked)


@given(st.binary(max_size=200))
def test_a_zstd_frame_is_marked_anew_each_time_and_never_grows_twice(data):
    frame = bytes(Zstd().encode(data or b"x"))
    once, twice = mark_zstd(frame), mark_zstd(mark_zstd(frame))
    assert len({frame, once, twice}) == 3
    assert len(once) == len(twice)
    assert Zstd().decode(twice) == (data or b"x")


def test_bytes_that_are_not_zstd_are_refused():
    with pytest.raises(ValueError, match="must be compressed by zstd"):
        mark_zstd(b"")


@pytest.mark.parametrize("text", [None, b"", b"{", b"[1]", b'{"rows": 3}', b"\xff"])
def test_json_keeps_its_members_and_gets_one_more(text):
    one, other = (json.loads(mark_json(text, "fenced")) for _ in range(2))
    assert one["fenced"] != other["fenced"]
    assert one.get("rows") == (3 if text and b"rows" in text else None)


def test_a_marked_csv_has_the_same_rows_and_other_bytes():
    text = b"patch,reason\r\na,cloud\r\n"
    one, other = mark_csv(text), mark_csv(text)
    assert one != other
    rows = [list(csv.DictReader(io.StringIO(data.decode(), newline=""))) for data in (text, one, other)]
    assert rows[0] == rows[1] == rows[2] == [{"patch": "a", "reason": "cloud"}]
