"""A store as people look at it: one dataset from either format, tiles put back in place."""

import subprocess
import sys
from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import GOOD, PRODUCT, TILE, make_store

import etl
from etl.bands import BAND_BY_NAME, SUPER_BANDS
from etl.store.mosaic import to_tile_mosaic

mpl.use("Agg")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of six rows, the third of them rejected."""
    return make_store(tmp_path_factory.mktemp("good"), GOOD)


def test_importing_the_package_loads_neither_xarray_nor_numpy():
    line = "import etl, sys; assert not {'xarray', 'numpy', 'h5py'} & set(sys.modules); etl.open_store"
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nowhere"):
        _ = etl.nowhere


def test_a_dataset_holds_the_written_rows_in_words_and_the_pixels_as_stored(good):
    ds = etl.open_store(good)
    with h5py.File(good) as file:
        for name in ("data_10m", "data_20m", "data_60m", "data_super", "classes"):
            assert ds[name].dtype == file[name].dtype
            assert np.array_equal(ds[name], file[name][...][[0, 1, 3, 4, 5]])
    assert ds["row"].values.tolist() == [0, 1, 3, 4, 5]
    assert ds["split"].values.tolist() == ["train", "val", "none", "train", "val"]
    assert set(ds["state"].values.tolist()) == {"written"}
    assert set(ds["tile"].values.tolist()) == {"33UUP"}
    assert set(ds["product"].values.tolist()) == {PRODUCT}
    assert (ds["acquired"].values == np.datetime64("2017-06-13T10:10:31")).all()
    assert ds.attrs["complete"] == 1
    assert ds.attrs["proj:code"] == "EPSG:32633"


def test_every_row_is_there_where_all_are_asked_for(good):
    ds = etl.open_store(good, all_rows=True)
    assert ds["state"].values.tolist() == ["written", "written", "rejected", "written", "written", "written"]


def test_bands_are_found_by_name_and_know_their_wavelength_and_sampling(good):
    ds = etl.open_store(good)
    with h5py.File(good) as file:
        assert np.array_equal(ds.sel(band_10m="B08")["data_10m"], file["data_10m"][...][[0, 1, 3, 4, 5], ..., 3])
    assert ds["band_super"].values.tolist() == list(SUPER_BANDS)
    for band in SUPER_BANDS:
        nm = ds["wavelength_super"].sel(band_super=band)
        assert float(nm) == pytest.approx(BAND_BY_NAME[band].centre_nm)
    assert nm.attrs["units"] == "nm"
    assert [ds[f"data_{group}"].attrs["gsd_m"] for group in ("10m", "20m", "60m", "super")] == [10, 20, 60, 10]


def test_a_split_and_a_picture_are_one_line_each(good):
    ds = etl.open_store(good)
    assert ds.where(ds.split == "train", drop=True)["row"].values.tolist() == [0, 4]
    train = ds.isel(patch=ds.split == "train")
    assert train["data_10m"].dtype == np.uint16
    ds["data_10m"].sel(band_10m=["B04", "B03", "B02"]).isel(patch=0).plot.imshow(robust=True)
    assert ds["data_10m"].sel(patch=str(ds["patch"].values[3])).shape == (120, 120, 4)


def test_reflectance_is_asked_for_and_knows_no_nodata(good):
    pixels = etl.open_store(good)["data_10m"]
    out = etl.to_reflectance(pixels)
    assert out.dtype == np.float32
    stored, made = pixels.values, out.values
    assert np.array_equal(np.isnan(made), (stored == 0) | (stored == 65535))
    assert np.isnan(made).any()
    valid = ~np.isnan(made)
    assert made[valid] == pytest.approx(stored[valid] / 10_000)


def test_pixels_are_read_only_where_they_are_asked_for(good):
    ds = etl.open_store(good)
    assert all(ds[name].chunks is not None for name in ds if str(name).startswith("data_"))


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("none.h5", None, FileNotFoundError, "must be there"),
        ("bad.h5", b"no store", ValueError, "cannot be opened"),
        ("store.tif", b"", ValueError, r"must end in \.h5"),
    ],
)
def test_what_is_no_store_is_an_error_that_names_it(tmp_path, name, content, error, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=f"(?s){name}.*{words}|{words}.*{name}"):
        etl.open_store(tmp_path / name)


def test_an_hdf5_file_of_something_else_is_an_error_that_says_what_it_lacks(tmp_path):
    xr.Dataset({"t": ("x", [1.0])}).to_netcdf(tmp_path / "o.h5", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"o\.h5 must be a store.*has no data_10m"):
        etl.open_store(tmp_path / "o.h5")


def test_an_incomplete_store_opens_with_what_is_written_and_a_warning(tmp_path, caplog):
    store = make_store(tmp_path, [1, 0, 1, 0], complete=False)
    assert etl.open_store(store)["row"].values.tolist() == [0, 2]
    assert "incomplete" in caplog.text


@pytest.mark.parametrize(("data", "side"), [("data_10m", 120), ("data_20m", 60), ("data_60m", 20), ("data_super", 120)])
def test_a_mosaic_holds_each_patch_at_its_corner_and_nodata_elsewhere(good, data, side):
    ds = etl.open_store(good)
    out = etl.to_tile_mosaic(ds, "33UUP", data)
    assert out.dtype == np.uint16
    assert out.shape[1:] == (2 * side, 3 * side)
    values = out.values
    for k, (j, i) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]):
        cut = values[:, j * side : (j + 1) * side, i * side : (i + 1) * side]
        assert np.array_equal(cut, ds[data].values[k].transpose(2, 0, 1))
    assert not values[:, :side, 2 * side :].any()
    assert out.rio.nodata == 0
    assert out.rio.crs.to_epsg() == 32633
    assert out.rio.bounds() == (TILE.ulx, TILE.uly - 2400, TILE.ulx + 3600, TILE.uly)


def test_a_geotiff_of_a_mosaic_has_its_place_bands_and_nodata(good, tmp_path):
    out = etl.to_tile_mosaic(etl.open_store(good), "33UUP")
    out.rio.to_raster(tmp_path / "t.tif", compress="deflate", tiled=True)
    with rasterio.open(tmp_path / "t.tif") as file:
        assert file.crs.to_epsg() == 32633
        assert (file.transform.c, file.transform.f, file.res) == (TILE.ulx, TILE.uly, (10.0, 10.0))
        assert file.descriptions == ("B02", "B03", "B04", "B08")
        assert file.nodata == 0
        assert np.array_equal(file.read(), out.values)


def _two_dates(ds: xr.Dataset) -> xr.Dataset:
    later = ds.assign_coords(
        acquired=ds["acquired"] + np.timedelta64(10, "D"), product=("patch", np.full(ds.sizes["patch"], "B", object))
    )
    return xr.concat([ds, later], "patch")


def test_a_tile_with_two_acquisitions_needs_a_choice_and_lists_them(good):
    ds = _two_dates(etl.open_store(good))
    with pytest.raises(ValueError, match=r"2017-06-13T10:10:31.*2017-06-23T10:10:31"):
        etl.to_tile_mosaic(ds, "33UUP")
    for choice in ("2017-06-23", "B"):
        assert etl.to_tile_mosaic(ds, "33UUP", acquisition=choice).attrs["acquired"] == "2017-06-23T10:10:31"
    with pytest.raises(ValueError, match=r"got '2018'"):
        etl.to_tile_mosaic(ds, "33UUP", acquisition="2018")


@pytest.mark.parametrize(("tile", "data", "words"), [("31UER", "data_10m", "33UUP"), ("33UUP", "rgb", "data_super")])
def test_an_unknown_tile_or_array_is_an_error_that_names_those_there_are(good, tile, data, words):
    with pytest.raises(ValueError, match=words):
        etl.to_tile_mosaic(etl.open_store(good), tile, data)


@settings(max_examples=25)  # Dask starts its threads
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8, unique=True))
def test_to_take_patches_from_a_tile_and_to_put_them_back_is_the_identity(cells):
    rng = np.random.default_rng(len(cells))
    pixels = rng.integers(1, 9000, (len(cells), 20, 20, 2), np.uint16)
    rows = np.array(cells)
    n = len(cells)
    columns = {"ulx": 600_000.0 + 1200 * rows[:, 1], "uly": 5_400_000.0 - 1200 * rows[:, 0]}
    columns |= {"epsg": np.full(n, 32633), "acquired": np.full(n, np.datetime64("2017-06-13", "s"))}
    columns |= {"tile": np.full(n, "33UUP", object), "product": np.full(n, "P", object)}
    coords = {name: ("patch", values) for name, values in columns.items()}
    coords |= {"band_60m": ["B01", "B09"], "wavelength_60m": ("band_60m", [442.7, 945.1])}
    ds = xr.Dataset({"data_60m": (("patch", "y_60m", "x_60m", "band_60m"), pixels)}, coords).chunk({"patch": 2})
    out = to_tile_mosaic(ds, "33UUP", "data_60m").values
    j, i = (rows - rows.min(0)).T
    back = np.stack([out[:, a * 20 : a * 20 + 20, b * 20 : b * 20 + 20] for a, b in zip(j, i, strict=True)])
    assert np.array_equal(back.transpose(0, 2, 3, 1), pixels)
    assert (out > 0).sum() == pixels.size
