"""The Zarr store: the same arrays as the HDF5 store at any rank count, in whole shards, for any reader of Zarr."""

import json
import warnings

import h5py
import numpy as np
import pytest
import tensorstore as ts
import xarray as xr
import zarr
from commands import content, extract, same

OWN_TO_HDF5 = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_Encoding"}
"""Attributes by which HDF5 says what Zarr says by `dimension_names` and by the data type `string`."""


def opened(path):
    """A store by zarr-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open_group(path, mode="r")


@pytest.fixture(scope="module")
def alone(sample, tmp_path_factory):
    """The sample's Zarr store as one rank writes it."""
    out = tmp_path_factory.mktemp("alone") / "store.zarr"
    done = extract(1, sample, out, "--shard-rows", "48")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_both_formats_hold_equal_arrays_whatever_the_rank_count(sample, reference, tmp_path, size):
    out = tmp_path / "store.zarr"
    done = extract(size, sample, out, "--shard-rows", "16", "--round-mib", "8")
    assert done.returncode == 0, done.stderr
    assert same(content(out), content(reference))


@pytest.mark.parametrize(
    ("size", "flags"),
    [
        (7, ("--shard-rows", "150")),  # three shards on seven ranks: four make none
        (3, ("--shard-rows", "1024")),
        (3, ("--shard-rows", "30", "--chunk-rows", "10", "--compress", "none")),
        (3, ("--shard-rows", "0")),
        (5, ("--shard-rows", "16", "--balance", "paper")),
    ],
)
def test_cut_compression_and_balance_change_no_value(sample, reference, tmp_path, size, flags):
    out = tmp_path / "store.zarr"
    done = extract(size, sample, out, *flags)
    assert done.returncode == 0, done.stderr
    assert same(content(out), content(reference))
    assert json.loads((tmp_path / "store.json").read_text())["decoded_twice_share"] == 0


def test_dimension_names_and_attributes_are_those_of_the_hdf5_store(alone, reference):
    group = opened(alone)
    with h5py.File(reference) as file:
        for name, item in group.members(max_depth=None):
            if isinstance(item, zarr.Group) or name.startswith("utf8/"):
                continue
            plain = {k: np.asarray(v).tolist() for k, v in file[name].attrs.items() if k not in OWN_TO_HDF5}
            plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in plain.items()}
            assert dict(item.attrs) == plain, name
            scales = [scale[0].name.rsplit("/")[-1] if len(scale) else "" for scale in file[name].dims]
            dims = [dim or name.rsplit("/")[-1] for dim in scales]
            assert list(item.metadata.dimension_names or ()) == dims, name
        differing = {"settings", "software"}
        assert {k: v for k, v in group.attrs.items() if k not in differing} == {
            k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items() if k not in differing
        }


def test_pixels_are_in_shards_along_the_patch_axis_compressed_by_zstd_with_bit_shuffle(alone):
    item = opened(alone)["data_super"]
    assert item.shards == (48, 120, 120, 12)
    assert item.chunks == (1, 120, 120, 12)
    codec = item.compressors[0].to_dict()
    assert (codec["name"], codec["configuration"]["cname"]) == ("blosc", "zstd")
    assert codec["configuration"]["shuffle"] == "bitshuffle"
    assert len(list((alone / "data_super").glob("c.*"))) == -(-item.shape[0] // 48)


def test_xarray_and_tensorstore_read_it(alone, reference):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = xr.open_zarr(alone)
    assert store["data_super"].dims == ("patch", "y_10m", "x_10m", "band_super")
    assert store["class"].values[42] == "Sea and ocean"
    assert store["acquired"].dtype.kind == "M"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(alone / "data_10m")}}
    with h5py.File(reference) as file:
        assert np.array_equal(ts.open(spec).result()[100].read().result(), file["data_10m"][100])


def test_a_shard_of_uneven_chunks_is_refused_with_status_2(sample, tmp_path):
    done = extract(1, sample, tmp_path / "store.zarr", "--shard-rows", "10", "--chunk-rows", "4")
    assert done.returncode == 2
    assert "--shard-rows must be a multiple of --chunk-rows, got 10 and 4" in done.stderr


def test_a_limit_on_cloud_rejects_the_same_rows_as_in_hdf5(sample, reference, tmp_path):
    limit = float(np.quantile(content(reference)["cloud_share"], 0.9))
    for name in ("store.h5", "store.zarr"):
        done = extract(2, sample, tmp_path / name, "--max-cloud-share", str(limit), "--shard-rows", "16")
        assert done.returncode == 0, done.stderr
    found = content(tmp_path / "store.zarr")
    assert (found["state"] == 2).any()
    assert same(found, content(tmp_path / "store.h5"))
