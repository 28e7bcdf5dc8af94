"""Text of a Zarr store: strings for one reader, bytes for another, and the same for this package as in HDF5."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorstore as ts
import xarray as xr
import zarr
from stores import GOOD, as_zarr, make_store

import etl
from etl.store.errors import DamagedStoreError
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.zarr.group import chunk_key
from etl.store.zarr.writer import overwrite_zarr, zero_zarr_rows

CORE_TYPES = {"bool", "int32", "int64", "uint8", "uint16", "uint64", "float32", "float64"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One store, HDF5 and Zarr without shards; one name is not of ASCII characters."""
    folder = tmp_path_factory.mktemp("stores")
    names = [f"S2A_MSIL2A_20170613T101031_{k}" for k in range(5)] + ["Überlingen_5"]
    plain = make_store(folder, GOOD, patch=names)
    return plain, as_zarr(plain, folder / "store.zarr", shard_rows=0)


def text_names(store: StoreReader) -> list[str]:
    return [name for name in store.names if store.dtype(name).kind == "S"]


def test_text_is_the_same_as_in_hdf5(stores):
    one, other = map(StoreReader, stores)
    assert sorted(one.names) == sorted(other.names)
    assert {"patch", "tile", "product", "baseline", "class", "stats/split"} <= set(text_names(other))
    for name in one.names:
        assert (one.dtype(name), one.shape(name)) == (other.dtype(name), other.shape(name)), name
        if not name.startswith("data_"):
            assert np.array_equal(one.column(name), other.column(name), equal_nan=one.dtype(name).kind == "f"), name
    assert one.schema == other.schema


def test_each_array_of_text_has_strings_and_bytes_for_other_readers(stores):
    with h5py.File(stores[0]) as file:
        group = zarr.open_group(stores[1], mode="r")
        for name in text_names(StoreReader(stores[1])):
            words = [word.decode() for word in file[name][...].tolist()]
            assert group[name].metadata.to_dict()["data_type"] == "string"
            assert np.asarray(group[name][...]).tolist() == words
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(stores[1] / "utf8" / name)}}
            rows = ts.open(spec).result().read().result()
            assert [bytes(row).rstrip(b"\0").decode() for row in rows] == words


def test_all_other_arrays_have_core_data_types_and_no_shards(stores):
    group = zarr.open_group(stores[1], mode="r")
    arrays = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    types = {name: item.metadata.to_dict()["data_type"] for name, item in arrays.items()}
    assert {name for name, kind in types.items() if kind not in CORE_TYPES} == set(text_names(StoreReader(stores[1])))
    assert not any(item.shards for item in arrays.values())
    assert {codec.to_dict()["name"] for item in arrays.values() for codec in item.metadata.codecs} <= {
        "bytes", "vlen-utf8", "blosc", "zstd",
    }  # fmt: skip


@pytest.mark.filterwarnings("error::zarr.errors.UnstableSpecificationWarning")
def test_plain_xarray_finds_words(stores):
    ds = xr.open_zarr(stores[1], mask_and_scale=False)
    opened = etl.open_store(stores[0], all_rows=True)
    for name in ("patch", "tile", "product", "class", "band_10m"):
        assert ds[name].values.tolist() == opened[name].values.tolist()
    assert ds.sel(patch="Überlingen_5")["data_60m"].dims == ("y_60m", "x_60m", "band_60m")
    assert etl.open_store(stores[1], all_rows=True).identical(opened)


def test_text_is_replaced_in_both_of_its_arrays(stores, tmp_path):
    out = as_zarr(stores[0], tmp_path / "s.zarr")
    changed = np.array([f"P{k}".encode() for k in range(len(GOOD))])
    overwrite_zarr(Location.parse(out), {"product": changed})
    assert StoreReader(out).column("product").tolist() == changed.tolist()
    assert zarr.open_group(out, mode="r")["product"][...].tolist() == [name.decode() for name in changed]


def test_text_of_older_stores_is_read_and_replaced(stores, tmp_path):
    out = as_zarr(stores[0], tmp_path / "s.zarr")
    make_old(out)
    one, other = map(StoreReader, (stores[0], out))
    assert sorted(one.names) == sorted(other.names)
    assert all(np.array_equal(one.column(name), other.column(name)) for name in text_names(one))
    overwrite_zarr(Location.parse(out), {"baseline": np.full(len(GOOD), b"05.11")})
    assert set(StoreReader(out).column("baseline").tolist()) == {b"05.11"}
    assert etl.open_store(out)["patch"].values.tolist()[-1] == "Überlingen_5"


@pytest.mark.filterwarnings("ignore:.*Zarr", "ignore:.*zarr")
def make_old(store: Path) -> None:
    """Give a store the text of version 0.2: fixed-length bytes, and no bytes beside."""
    with StoreReader(store) as reader:
        texts = {name: reader.column(name) for name in text_names(reader)}
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    for name, values in texts.items():
        old = group[name]
        attributes, dims = dict(old.attrs), old.metadata.dimension_names
        del group[name]
        group.create_array(
            name, data=values, chunks=values.shape, attributes={**attributes, "_Encoding": "utf-8"},
            dimension_names=dims, chunk_key_encoding={"name": "default", "separator": "."},
        )  # fmt: skip
    del group["utf8"]
    zarr.consolidate_metadata(store)


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("chunk_rows", [1, 4])
def test_a_store_without_shards_holds_the_same_rows_in_one_file_per_chunk(stores, tmp_path, compress, chunk_rows):
    out = as_zarr(stores[0], tmp_path / "s.zarr", shard_rows=0, chunk_rows=chunk_rows, compress=compress)
    one, other = map(StoreReader, (stores[0], out))
    rows = np.array([4, 0, 3, 5])
    for item in one.schema.pixels:
        assert np.array_equal(one.read(item.name, rows), other.read(item.name, rows))
        assert len(list((out / item.name).glob("c.*"))) <= -(-len(GOOD) // chunk_rows)
    assert etl.open_store(out).identical(etl.open_store(stores[0]))


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("kept", [slice(0, -9), slice(0, 3)])
def test_a_torn_chunk_of_a_store_without_shards_is_an_error_that_names_its_array(stores, tmp_path, compress, kept):
    out = as_zarr(stores[0], tmp_path / "s.zarr", shard_rows=0, compress=compress)
    chunk = out / chunk_key("data_60m", (4, 0, 0, 0))
    chunk.write_bytes(chunk.read_bytes()[kept])
    with StoreReader(out) as store:
        with pytest.raises(DamagedStoreError, match=r"s\.zarr/data_60m.*damaged"):
            store.read("data_60m", np.array([3, 4]))
        zero_zarr_rows(Location.parse(out), [4])
    with StoreReader(out) as store:
        assert not store.read("data_60m", np.array([4])).any()
