"""Pixels saved in other formats: packed or as reflectance, they are read back with the same meaning."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from mpi4py import MPI
from stores import GOOD, make_store

import etl
from etl.bands import NODATA, SATURATED
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.store.location import Location

PACKING = {"scale_factor", "add_offset", "_FillValue", "missing_value", "nodata", "saturated"}
RAW = {"mask_and_scale": False}

pytestmark = pytest.mark.filterwarnings("ignore:.*Zarr", "ignore:.*zarr")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of six rows, the third of them rejected."""
    return make_store(tmp_path_factory.mktemp("good"), GOOD)


@pytest.fixture(scope="module")
def pixels(good: Path) -> xr.DataArray:
    """Two patches as stored, with nodata and saturated pixels."""
    out = etl.open_store(good)["data_10m"].isel(patch=[0, 3]).load()
    out[:, 7, 7] = NODATA
    return out


def save_netcdf(array: xr.DataArray, folder: Path) -> Callable[..., xr.DataArray]:
    """Save as netCDF; returns what opens it."""
    array.to_netcdf(folder / "a.nc", engine="h5netcdf")
    return lambda **how: xr.open_dataset(folder / "a.nc", engine="h5netcdf", decode_coords="all", **how)[array.name]


def save_zarr(version: int) -> Callable[[xr.DataArray, Path], Callable[..., xr.DataArray]]:
    """What saves as Zarr of a version; that returns what opens it."""

    def save(array: xr.DataArray, folder: Path) -> Callable[..., xr.DataArray]:
        array.to_dataset().to_zarr(folder / "a.zarr", zarr_format=version)
        return lambda **how: xr.open_zarr(folder / "a.zarr", decode_coords="all", **how)[array.name]

    return save


SAVES = {"netCDF": save_netcdf, "Zarr 2": save_zarr(2), "Zarr 3": save_zarr(3)}


def unpacked(pixels: xr.DataArray) -> np.ndarray:
    """Reflectance of pixels, without the function under test."""
    stored = pixels.values
    return np.where((stored == NODATA) | (stored == SATURATED), np.nan, stored * np.float32(1e-4)).astype(np.float32)


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize("what", ["patches", "one band", "mosaic"])
def test_reflectance_is_read_back_as_it_was_saved(good, pixels, tmp_path, save, what):
    source = {"patches": pixels, "one band": pixels.sel(band_10m="B08")}.get(what)
    source = etl.to_tile_mosaic(etl.open_store(good), "33UUP") if source is None else source
    reflectance = etl.to_reflectance(source)
    assert np.array_equal(reflectance, unpacked(source), equal_nan=True)
    assert not PACKING & set(reflectance.attrs)
    assert reflectance.attrs["units"] == "1"
    opened = save(reflectance, tmp_path)
    for back in (opened(), opened(**RAW)):
        assert back.dtype == np.float32
        assert np.array_equal(back, reflectance, equal_nan=True)


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize("what", ["patches", "mosaic", "picked by where"])
def test_packed_pixels_are_read_back_packed_or_as_reflectance(good, pixels, tmp_path, save, what):
    source = {"patches": pixels, "picked by where": pixels.where(pixels["row"] == 0, drop=True)}.get(what)
    source = etl.to_tile_mosaic(etl.open_store(good), "33UUP") if source is None else source
    opened = save(source, tmp_path)
    raw, decoded = opened(**RAW), opened()
    assert np.array_equal(raw, source)
    assert raw.dtype == source.dtype
    assert np.array_equal(etl.to_reflectance(raw), unpacked(source), equal_nan=True)
    expected = unpacked(source)
    unsaturated = source.values != SATURATED
    assert np.allclose(decoded.values[unsaturated], expected[unsaturated], equal_nan=True)
    with pytest.raises(ValueError, match=r"reflectance already.*mask_and_scale=False"):
        etl.to_reflectance(decoded)


def test_a_geotiff_of_packed_pixels_states_scale_and_nodata(good, tmp_path):
    mosaic = etl.to_tile_mosaic(etl.open_store(good), "33UUP")
    mosaic.rio.to_raster(tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert (set(file.scales), set(file.offsets), file.nodata) == ({1e-4}, {0.0}, 0)
    expected = unpacked(mosaic)
    for how in ({}, {"masked": True}):
        back = rioxarray.open_rasterio(tmp_path / "m.tif", **how)
        assert np.array_equal(etl.to_reflectance(back), expected, equal_nan=True)
    decoded = rioxarray.open_rasterio(tmp_path / "m.tif", mask_and_scale=True)
    unsaturated = mosaic.values != SATURATED
    assert np.allclose(decoded.values[unsaturated], expected[unsaturated], equal_nan=True)


def test_a_geotiff_of_reflectance_is_not_scaled_again(good, tmp_path):
    reflectance = etl.to_reflectance(etl.to_tile_mosaic(etl.open_store(good), "33UUP"))
    reflectance.rio.to_raster(tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert (set(file.scales), file.crs.to_epsg(), file.dtypes[0]) == ({1.0}, 32633, "float32")
        assert np.isnan(file.nodata)
        assert file.descriptions == ("B02", "B03", "B04", "B08")
    for how in ({}, {"masked": True}, {"mask_and_scale": True}):
        back = rioxarray.open_rasterio(tmp_path / "m.tif", **how)
        assert np.array_equal(back, reflectance, equal_nan=True)


def test_pickled_and_concatenated_pixels_stay_packed(good, pixels):
    expected = unpacked(pixels)
    lazy = etl.open_store(good)["data_10m"].isel(patch=[0, 3])
    assert np.array_equal(pickle.loads(pickle.dumps(lazy)), lazy)
    for other in (pickle.loads(pickle.dumps(pixels)), xr.concat([pixels[:1], pixels[1:]], "patch")):
        assert np.array_equal(etl.to_reflectance(other), expected, equal_nan=True)
        assert other.attrs == pixels.attrs
    again = pickle.loads(pickle.dumps(etl.to_reflectance(pixels)))
    assert again.identical(etl.to_reflectance(pixels))
    assert np.isnan(again.encoding["_FillValue"])
    halves = xr.concat([etl.to_reflectance(pixels[:1]), etl.to_reflectance(pixels[1:])], "patch")
    assert halves.identical(etl.to_reflectance(pixels))


def test_two_stores_one_after_the_other_are_converted_and_put_together(good, tmp_path):
    other = make_store(tmp_path, [1] * 6)
    ds = xr.concat([etl.open_store(good), etl.open_store(other).isel(patch=[2])], "patch")
    assert etl.to_reflectance(ds["data_10m"]).sizes["patch"] == 6
    mosaic = pickle.loads(pickle.dumps(etl.to_tile_mosaic(ds, "33UUP")))
    assert np.array_equal(etl.to_reflectance(mosaic), unpacked(mosaic), equal_nan=True)


@pytest.mark.parametrize("data", ["data_10m", "data_60m"])
def test_a_mosaic_of_reflectance_is_the_reflectance_of_the_mosaic(good, data):
    ds = etl.open_store(good)
    one = etl.to_reflectance(etl.to_tile_mosaic(ds, "33UUP", data))
    other = etl.to_tile_mosaic(etl.to_reflectance(ds), "33UUP", data)
    assert one.identical(other)
    assert np.isnan([one.rio.nodata, other.rio.nodata]).all()
    assert np.isnan(one.values[:, 5, -1]).all()  # a cell without a patch


@pytest.mark.parametrize("bands", ["B08", ["B04", "B03"]])
def test_a_mosaic_of_some_bands_holds_those_of_the_mosaic_of_all(good, bands):
    ds = etl.open_store(good)
    some = etl.to_tile_mosaic(ds.sel(band_10m=bands), "33UUP")
    wanted = [bands] if isinstance(bands, str) else bands
    assert some["band"].values.tolist() == wanted
    assert np.array_equal(some, etl.to_tile_mosaic(ds, "33UUP").sel(band=wanted))


def test_a_dataset_is_converted_pixel_array_by_pixel_array(good):
    ds = etl.open_store(good)
    out = etl.to_reflectance(ds)
    assert out["classes"].identical(ds["classes"])
    for name in ("data_10m", "data_20m", "data_60m", "data_super"):
        assert out[name].identical(etl.to_reflectance(ds[name]))
    with pytest.raises(ValueError, match="scale_factor"):
        etl.to_reflectance(out)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (etl.to_reflectance, "got float32 without it.*reflectance already"),
        (lambda pixels: pixels.drop_attrs(), "got uint16 without it.*etl.open_store"),
        (lambda pixels: pixels.drop_attrs().astype(float), "got float64 without it"),
    ],
)
def test_pixels_without_a_scale_are_an_error_that_says_what_to_do(pixels, change, words):
    with pytest.raises(ValueError, match=f"data_10m must have the attribute scale_factor, {words}"):
        etl.to_reflectance(change(pixels))


def test_another_scale_and_an_offset_are_applied(pixels):
    moved = pixels.assign_attrs(scale_factor=2e-4, add_offset=-0.1)
    out = etl.to_reflectance(moved)
    valid = (pixels.values != NODATA) & (pixels.values != SATURATED)
    assert np.allclose(out.values[valid], pixels.values[valid] * 2e-4 - 0.1, atol=1e-6)


@pytest.mark.parametrize("compress", ["gzip", "zstd", "blosc"])
def test_what_was_compressed_in_a_store_is_saved_by_any_engine(good, tmp_path, compress):
    store = tmp_path / "s.h5"
    wanted = ConvertSettings(Location.parse(good), Location.parse(store), compress=compress, chunk_rows=4, shard_rows=4)
    assert convert(wanted, MPI.COMM_SELF) == 0
    ds = etl.open_store(store)[["data_60m", "classes"]]
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    ds.chunk(patch=3).to_zarr(tmp_path / "a.zarr")
    for back in (
        xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf", **RAW),
        xr.open_zarr(tmp_path / "a.zarr", **RAW),
    ):
        assert np.array_equal(back["data_60m"], ds["data_60m"])
