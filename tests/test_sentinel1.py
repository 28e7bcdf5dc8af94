"""Sentinel-1 beside Sentinel-2: read, stored alike at any rank count and in both formats, verified, trained on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from commands import content, ranks, same
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from osgeo import gdal
from stores import TRAIN, training_store

import etl
from etl.raster import Georeference, write_geotiff
from etl.sample.archive import S1
from etl.schema import SENTINEL1_VERSION, STATS, Schema, schema_of
from etl.source.patch import PatchError
from etl.source.sentinel1 import PairedPatch, Sentinel1Patches, find_sentinel1
from etl.store.reader import StoreReader
from etl.store.statistics import from_words, plane_sums, to_words
from trainer.config import RunSettings, band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import TensorBatch
from trainer.fit.loop import _augment
from trainer.model.network import NetworkDesign, Standardise, build_network

NAME = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57"
PLACE = Georeference(32633, 300000.0, 5700000.0, 10)


def put_patch(folder, vv, vh, place=PLACE):
    """A patch's folder, with its two files."""
    folder.mkdir(parents=True)
    for band, pixels in (("VV", vv), ("VH", vh)):
        write_geotiff(folder / f"{folder.name}_{band}.tif", pixels, place)
    return PairedPatch(folder, place)


def noise(seed=0):
    return np.random.default_rng(seed).normal(-12, 4, (120, 120)).astype(np.float32)


# one patch


def test_both_polarisations_are_read_in_order(tmp_path):
    vv, vh = noise(), noise(1)
    planes = Sentinel1Patches(tmp_path).read(put_patch(tmp_path / NAME, vv, vh))
    assert np.array_equal(planes, [vv, vh])


def test_compressed_files_are_read_alike(tmp_path):
    patch = put_patch(tmp_path / NAME, noise(), noise(1))
    plain = Sentinel1Patches(tmp_path).read(patch)
    for path in patch.folder.iterdir():
        gdal.Translate(f"{tmp_path}/lzw.tif", str(path), creationOptions=["COMPRESS=LZW", "PREDICTOR=3"])
        shutil.move(tmp_path / "lzw.tif", path)
    assert np.array_equal(Sentinel1Patches(tmp_path).read(patch), plain)


def test_a_patch_without_a_pair_is_nan(tmp_path):
    planes = Sentinel1Patches(tmp_path).read(PairedPatch(None, PLACE))
    assert planes.shape == (2, 120, 120)
    assert np.isnan(planes).all()


def test_the_logarithm_of_nothing_is_nan_of_one_bit_pattern(tmp_path):
    vv = noise()
    vv[0, :3] = np.array([0xFF800000, 0x7F800001, 0xFFC00000], np.uint32).view(np.float32)
    planes = Sentinel1Patches(tmp_path).read(put_patch(tmp_path / NAME, vv, noise(1)))
    assert set(planes[0, 0, :3].view(np.uint32)) == {np.float32(np.nan).view(np.uint32)}
    assert np.array_equal(planes[0, 1:], vv[1:])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: shutil.rmtree(folder), "its patch of Sentinel-1 is not in"),
        (lambda folder: (folder / f"{NAME}_VH.tif").unlink(), "_VH.tif cannot be opened"),
        (lambda folder: (folder / f"{NAME}_VH.tif").write_bytes(b"II*\0"), "_VH.tif"),
        (lambda folder: write_geotiff(folder / f"{NAME}_VH.tif", noise()[:60], PLACE), "must be 120 x 120 pixels"),
        (lambda folder: write_geotiff(folder / f"{NAME}_VH.tif", noise().astype(np.uint16), PLACE), "of Float32"),
        (lambda folder: write_geotiff(folder / f"{NAME}_VH.tif", noise() * 1000, PLACE), "must hold backscatter in dB"),
        (
            lambda folder: write_geotiff(folder / f"{NAME}_VH.tif", noise(), replace(PLACE, ulx=301200.0)),
            "_VH.tif must",
        ),
    ],
)
def test_what_is_wrong_with_a_patch_is_its_reason(tmp_path, spoil, reason):
    patch = put_patch(tmp_path / NAME, noise(), noise(1))
    spoil(patch.folder)
    found = Sentinel1Patches(tmp_path).read(patch)
    assert isinstance(found, PatchError)
    assert reason in str(found)


def test_a_link_out_of_the_archive_is_refused(tmp_path):
    patch = put_patch(tmp_path / "archive" / NAME, noise(), noise(1))
    shutil.move(patch.folder / f"{NAME}_VV.tif", tmp_path / "elsewhere.tif")
    (patch.folder / f"{NAME}_VV.tif").symlink_to(tmp_path / "elsewhere.tif")
    assert isinstance(Sentinel1Patches(tmp_path / "archive").read(patch), PatchError)
    assert not isinstance(Sentinel1Patches(tmp_path / "archive", [tmp_path]).read(patch), PatchError)


@pytest.mark.parametrize("top", ["", "BigEarthNet-S1", "BigEarthNet-S1-v1.0"])
@pytest.mark.parametrize("by_scene", [True, False])
def test_patches_are_found_in_both_layouts_and_above_them(tmp_path, top, by_scene):
    scene = "S1B_IW_GRDH_1SDV_20170612T165809" if by_scene else ""
    (tmp_path / top / scene / NAME).mkdir(parents=True)
    folders = find_sentinel1(tmp_path, ["", "S1A_IW_GRDH_1SDV_20170612T165809_33UUP_0_0", NAME])
    assert folders(NAME) == tmp_path / top / scene / NAME


def test_an_archive_with_none_of_the_patches_is_refused_with_an_example(tmp_path):
    with pytest.raises(ValueError, match=f"--sentinel1 must be the folder .* holds none of the 1 .*{NAME}"):
        find_sentinel1(tmp_path, [NAME, ""])
    with pytest.raises(ValueError, match="--sentinel1 needs a catalogue with names in the column s1_name"):
        find_sentinel1(tmp_path, ["", ""])


def test_a_nodata_value_that_a_file_states_is_nan(tmp_path):
    vv = noise()
    vv[:4] = -9999
    patch = put_patch(tmp_path / NAME, vv, noise(1))
    file = gdal.Open(f"{patch.folder}/{NAME}_VV.tif", gdal.GA_Update)
    file.GetRasterBand(1).SetNoDataValue(-9999)
    file = None
    planes = Sentinel1Patches(tmp_path).read(patch)
    assert np.isnan(planes[0, :4]).all()
    assert np.array_equal(planes[0, 4:], vv[4:])


def test_linear_power_is_told(tmp_path):
    source = Sentinel1Patches(tmp_path)
    source.read(put_patch(tmp_path / NAME, 10 ** (noise() / 10), 10 ** (noise(1) / 10)))
    source.read(put_patch(tmp_path / f"{NAME}8", noise(), noise(1)))
    (warning,) = source.warnings
    assert warning.times == 1
    assert "without any negative value" in warning.what
    assert NAME in warning.example


@pytest.mark.parametrize("name", ["s1.tar", "absent", "s3:/bucket/s1"])
def test_what_is_no_folder_on_a_disk_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("s1.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=f"--sentinel1 must be a folder on a disk, got {name}"):
        find_sentinel1(Path(name), [NAME])


# statistics


@given(
    arrays(
        np.float32,
        (2, 4, 5),
        elements=st.floats(-511, 511, width=32) | st.just(np.float32(np.nan)),
    )
)
def test_statistics_are_exact_sums_of_steps_whatever_the_order(planes):
    sums = plane_sums(planes)
    for band, plane in enumerate(planes):
        steps = [int(np.rint(np.float64(value) * 1024)) for value in plane.ravel().tolist() if value == value]
        expected = (len(steps), sum(steps), sum(step * step for step in steps), plane.size - len(steps), 0)
        assert tuple(sums[:, band].tolist()) == expected
    assert np.array_equal(plane_sums(planes[:, ::-1, ::-1]), sums)


@given(st.lists(st.integers(-(2**126), 2**126), min_size=1))
def test_words_hold_negative_sums(values):
    assert from_words(to_words(np.array(values, object))).tolist() == values


def test_the_schema_is_found_again_from_the_arrays():
    schema = Schema(3, version=SENTINEL1_VERSION, sentinel1_bytes=44)
    found = {
        item.name: SimpleNamespace(shape=item.shape, dtype=np.dtype(item.dtype), attrs={})
        for item in (*schema.pixels, *schema.identity, *schema.results)
    }
    assert schema_of(found, "store") == Schema(
        3, version=SENTINEL1_VERSION, sentinel1_bytes=44, name_bytes=64, product_bytes=80
    )
    assert [item.name for item in schema.pixels][-1] == "data_s1"
    assert [item.name for item in schema.optical] == ["data_10m", "data_20m", "data_60m"]


def test_patches_of_version_1_are_paired_by_the_table_among_their_lists(sample, tmp_path):
    shutil.copytree(sample / "lists", tmp_path / "lists")
    shutil.copy(sample / "metadata.parquet", tmp_path / "lists")
    out = ("--out", str(tmp_path / "c.parquet"))
    line = ("--source", str(sample / "labels"), "--lists", str(tmp_path / "lists"), *out)
    done = ranks(1, "etl.catalogue", *line)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(sample / "metadata.parquet")
    expected = dict(zip(table["s2v1_name"].to_pylist(), table["s1_name"].to_pylist(), strict=True))
    found = pq.read_table(tmp_path / "c.parquet")
    names = dict(zip(found["patch"].to_pylist(), found["s1_name"].to_pylist(), strict=True))
    assert {patch: name for patch, name in names.items() if name} == expected
    assert len(expected) > 100


def test_patches_of_version_1_are_paired_by_their_own_list_first(sample, tmp_path):
    shutil.copytree(sample / "lists", tmp_path / "lists")
    shutil.copy(sample / "metadata.parquet", tmp_path / "lists")
    names = sorted(path.name for path in (sample / "labels").iterdir())
    (tmp_path / "lists" / "s1s2_mapping.csv").write_text(
        f"{names[0]},{NAME}\nS2A_MSIL2A_20170613T101032_99_99,{NAME}\n"
    )
    line = ("--source", str(sample / "labels"), "--lists", str(tmp_path / "lists"))
    done = ranks(1, "etl.catalogue", *line, "--out", str(tmp_path / "c.parquet"))
    assert done.returncode == 0, done.stderr
    assert "363 of 363 patches are paired with a patch of Sentinel-1" in done.stderr
    found = pq.read_table(tmp_path / "c.parquet")
    assert dict(zip(found["patch"].to_pylist(), found["s1_name"].to_pylist(), strict=True))[names[0]] == NAME
    (tmp_path / "lists" / "s1s2_mapping.csv").write_text(f"{names[0]}\n")
    done = ranks(1, "etl.catalogue", *line, "--out", str(tmp_path / "c.parquet"))
    assert done.returncode == 2
    assert "each line must hold a patch and its patch of Sentinel-1" in done.stderr


# stores


@pytest.fixture(scope="module")
def archive(sample, tmp_path_factory):
    """The sample with Sentinel-1, of which two patches have no pair and one lacks its folder; and its catalogue."""
    home = tmp_path_factory.mktemp("s1")
    (home / "tiles").symlink_to(sample / "tiles")
    shutil.copytree(sample / S1, home / S1)
    metadata = pq.read_table(sample / "metadata.parquet")
    names = metadata["s1_name"].to_pylist()
    shutil.rmtree(next((home / S1).glob(f"*/{names[7]}")))
    names[3] = names[5] = None
    metadata = metadata.set_column(metadata.column_names.index("s1_name"), "s1_name", pa.array(names, pa.string()))
    pq.write_table(metadata, home / "metadata.parquet")
    done = ranks(1, "etl.catalogue", "--source", str(home / "metadata.parquet"), "--out", str(home / "c.parquet"))
    assert done.returncode == 0, done.stderr
    return home


def tiles_of(home):
    """Flags by which its tiles are extracted."""
    return "--catalogue", str(home / "c.parquet"), "--source", str(home / "tiles"), "--keep-snow", "--keep-cloud"


def extract(size, home, out, *flags):
    done = ranks(size, "etl.extract", *tiles_of(home), "--sentinel1", str(home / S1), "--out", str(out), *flags)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def store(archive):
    extract(1, archive, archive / "one.h5")
    return archive / "one.h5"


@pytest.mark.slow
def test_each_row_has_the_pixels_of_its_pair(archive, store):
    names = dict(zip(*(pq.read_table(archive / "c.parquet")[c].to_pylist() for c in ("patch", "s1_name")), strict=True))
    with etl.open_store(store, all_rows=True) as ds:
        state = ds["state"].values
        assert list(ds["band_s1"].values) == ["VV", "VH"]
        assert (state == "rejected").sum() == 1
        paired = 0
        for row, name in enumerate(ds["patch"].values):
            assert ds["s1_name"].values[row] == (names[name] or "")
            pixels = ds["data_s1"].isel(patch=row).values
            if state[row] == "rejected":
                assert not pixels.any()
            elif names[name] is None:
                assert np.isnan(pixels).all()
            elif row % 20 == 0:
                folder = next((archive / S1).glob(f"*/{names[name]}"))
                for band in ("VV", "VH"):
                    read = gdal.Open(f"{folder / folder.name}_{band}.tif").ReadAsArray()
                    assert np.array_equal(ds["data_s1"].isel(patch=row).sel(band_s1=band).values, read)
                paired += 1
        assert paired > 5
        lines = (archive / "one.rejected.csv").read_text().splitlines()
        assert len(lines) == 2
        assert "its patch of Sentinel-1 is not in" in lines[1]


@pytest.mark.slow
def test_statistics_are_those_of_the_stored_values(store):
    with StoreReader(store) as reader:
        assert reader.attributes["schema_version"] == SENTINEL1_VERSION
        sums, split = reader.statistics("data_s1"), reader.column("split")
        for number in range(4):
            rows = np.flatnonzero((split == number) & (reader.column("state") == 1))
            steps = np.rint(reader.read("data_s1", rows).astype(np.float64) * 1024)
            valid = ~np.isnan(steps)
            assert sums["count"][number].tolist() == valid.sum((0, 1, 2)).tolist()
            assert sums["sum"][number].tolist() == np.nansum(steps, (0, 1, 2)).tolist()
            assert sums["sum_squares"][number].tolist() == np.nansum(steps**2, (0, 1, 2)).tolist()
    assert set(STATS) == set(sums)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "out", "flags"), [(3, "3.h5", ()), (2, "2.zarr", ("--shard-rows", "16"))])
def test_content_is_the_same_at_any_rank_count_and_in_zarr(archive, store, tmp_path, size, out, flags):
    extract(size, archive, tmp_path / out, *flags)
    assert same(content(tmp_path / out), content(store))


@pytest.mark.slow
def test_stores_from_tiles_and_from_patches_have_the_same_backscatter(sample, archive, store, tmp_path):
    done = ranks(
        2, "etl.extract", "--catalogue", str(archive / "c.parquet"), "--source", str(sample / "BigEarthNet-S2"),
        "--sentinel1", str(archive), "--keep-snow", "--keep-cloud", "--out", str(tmp_path / "p.h5"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tiles, patches = content(store), content(tmp_path / "p.h5")
    written = patches["state"] == 1
    assert written.sum() > 50
    assert tiles["data_s1"][written].tobytes() == patches["data_s1"][written].tobytes()


@pytest.mark.slow
def test_it_is_verified_converted_repaired_and_found_damaged(archive, store, tmp_path):
    line = ("--catalogue", str(archive / "c.parquet"), "--source", str(archive / "tiles"), "--sample", "8")
    for path in (store, tmp_path / "z.zarr", tmp_path / "c.h5"):
        if path != store:
            flags = ("--compress", "zstd") if path.suffix == ".h5" else ()
            done = ranks(1, "etl.convert", str(store), "--out", str(path), "--keep-rejected", *flags)
            assert done.returncode == 0, done.stderr
        flags = (*line, "--sentinel1", str(archive / S1)) if path == store else ()  # the others hold the same rows
        done = ranks(2, "etl.verify", str(path), *flags)
        assert done.returncode == 0, done.stdout + done.stderr
    damaged = tmp_path / "damaged.h5"
    for path in store.parent.glob("one.*"):
        shutil.copy(path, tmp_path / path.name.replace("one", "damaged"))
    with StoreReader(damaged) as reader:
        row = int(reader.written[4])
    with h5py.File(damaged) as file:
        offset = file["data_s1"].id.get_offset() + row * 120 * 120 * 2 * 4
    with damaged.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x01\x02\x03\x04")
    done = ranks(1, "etl.verify", str(damaged), *line)
    assert done.returncode == 1
    assert "checksums" in done.stdout
    extract(2, archive, damaged, "--resume", "--recheck")
    assert same(content(damaged), content(store))


@pytest.mark.slow
def test_resuming_needs_the_same_setting(archive, store, tmp_path):
    line = tiles_of(archive)
    done = ranks(1, "etl.extract", *line, "--out", str(store), "--resume")
    assert done.returncode == 2
    assert "these differ: sentinel1 was" in done.stderr
    assert "catalogue" not in done.stderr.split("these differ")[1]


@pytest.mark.slow
def test_resuming_with_another_archive_is_refused(archive, store, tmp_path):
    for path in store.parent.glob("one.*"):
        shutil.copy(path, tmp_path / path.name)
    with h5py.File(tmp_path / "one.h5", "r+") as file:
        file["complete"][()] = 0
    other = tmp_path / S1
    shutil.copytree(archive / S1, other)
    for path in other.rglob("*_VH.tif"):
        file = gdal.Open(str(path), gdal.GA_Update)
        file.GetRasterBand(1).WriteArray(file.ReadAsArray() + 1)
        file = None
    line = (*tiles_of(archive), "--out", str(tmp_path / "one.h5"), "--resume")
    done = ranks(2, "etl.extract", *line, "--sentinel1", str(other))
    assert done.returncode == 2
    assert "was read with another --sentinel1: its backscatter is another now" in done.stderr
    done = ranks(2, "etl.extract", *line, "--sentinel1", str(archive / S1))
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "one.h5"), content(store))


@pytest.mark.slow
def test_pairs_of_another_catalogue_are_found(archive, store, tmp_path):
    table = pq.read_table(archive / "c.parquet")
    names = [None, *table["s1_name"].to_pylist()[1:]]
    table = table.set_column(table.column_names.index("s1_name"), "s1_name", pa.array(names, pa.string()))
    pq.write_table(table, tmp_path / "c.parquet")
    done = ranks(1, "etl.verify", str(store), "--catalogue", str(tmp_path / "c.parquet"))
    assert done.returncode == 1
    assert "s1_name is S1" in done.stdout


@pytest.mark.slow
def test_rejected_pairs_are_retried_once_they_are_there(sample, archive, store, tmp_path):
    for path in store.parent.glob("one.*"):
        shutil.copy(path, tmp_path / path.name)
    lacking = content(store)["s1_name"][content(store)["state"] == 2][0].decode()
    shutil.copytree(archive / S1, tmp_path / S1)
    folder = next((sample / S1).glob(f"*/{lacking}"))
    shutil.copytree(folder, tmp_path / folder.relative_to(sample))
    line = tiles_of(archive)
    done = ranks(
        1, "etl.extract", *line, "--sentinel1", str(tmp_path / S1), "--out", str(tmp_path / "one.h5"), "--resume",
        "--retry-rejected",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (content(tmp_path / "one.h5")["state"] == 1).all()


@pytest.mark.slow
def test_who_else_reads_stores_takes_it(store, tmp_path):
    for command in (
        ("etl.stats", str(store), "--out", str(tmp_path / "stats.html")),
        ("etl.preview", str(store), "--out", str(tmp_path / "p.png")),
        ("etl.describe", str(store), "--out", str(tmp_path / "described")),
        ("etl.convert", str(store), "--out", str(tmp_path / "store.json")),
    ):
        done = ranks(1, *command)
        assert done.returncode == 0, done.stderr
    collection = json.loads(next((tmp_path / "described").glob("collection.json")).read_text())
    bands = {band["name"]: band for asset in collection["assets"].values() for band in asset.get("bands", ())}
    assert bands["data_s1/VH"]["data_type"] == "float32"
    with etl.open_store(tmp_path / "store.json") as ds, etl.open_store(store) as plain:
        assert np.array_equal(ds["data_s1"][:5].values, plain["data_s1"][:5].values, equal_nan=True)
        assert set(etl.to_reflectance(plain)) == set(plain)
        unpaired = plain["tile"].values[plain["s1_name"].values == ""][0]
        picture = etl.to_tile_mosaic(plain, unpaired, "data_s1")
        assert picture.dtype == np.float32
        assert np.isnan(picture.values).any()


# training


def test_sentinel1_is_added_to_any_choice_of_bands():
    chosen = [(selected.array, selected.bands) for selected in band_selections("B02,B03+s1")]
    assert chosen == [("data_10m", ("B02", "B03")), ("data_s1", ())]
    assert [selected.array for selected in band_selections("native+s1")][-1] == "data_s1"


def test_pixels_without_backscatter_become_the_mean():
    stored = np.array([[[[-8.0, np.nan]]]], np.float32)
    found = Standardise([0, 1], [-12.0, -19.0], [4.0, 4.0], nodata=None)(stored)
    np.testing.assert_allclose(found, [[[[1.0, 0.0]]]])


def test_augmentation_keeps_fractions_of_a_db():
    pixels = tf.constant(noise().reshape(1, 120, 120, 1))
    batch = TensorBatch((pixels,), tf.ones((1, 5), tf.uint8), tf.ones(1), tf.zeros(1, tf.int64))
    (found,), _ = _augment(RunSettings(mixup=0), batch, tf.constant(0, tf.int64), tf.zeros(1, tf.int64))
    assert found.dtype == tf.float32
    assert np.array_equal(np.sort(np.ravel(found)), np.sort(np.ravel(pixels)))


def test_a_patch_without_sentinel1_leaves_that_of_the_patch_it_is_mixed_with():
    pixels = np.stack([noise()[..., None], np.full((120, 120, 1), np.nan, np.float32)])
    batch = TensorBatch((tf.constant(pixels),), tf.ones((2, 5), tf.uint8), tf.ones(2), tf.range(2, dtype=tf.int64))
    mean = np.array([-12], np.float32)
    settings = RunSettings(turn=False, mixup=0.2)
    (mixed,), _ = _augment(settings, batch, tf.constant(0, tf.int64), tf.range(2, dtype=tf.int64), [mean])
    assert np.isfinite(mixed).all()
    share = (mixed[0].numpy() - mean) / (pixels[0] - mean)
    assert np.ptp(share) < 1e-2  # the same share of each pixel
    assert 0 < share.mean() < 1


def test_under_bfloat16_db_are_not_rounded_before_the_mean_is_taken_off():
    stored = np.full((1, 1, 1, 1), -12.34, np.float32)
    with_policy = Standardise([0], [-12.0], [1.0], nodata=None, dtype="mixed_bfloat16")(stored)
    np.testing.assert_allclose(np.asarray(with_policy, np.float32), -0.34, atol=1e-5)


@pytest.mark.parametrize("bands", ["+s1", "all+s1+s1", "s1+s1"])
def test_sentinel1_is_added_once(bands):
    with pytest.raises(ValueError, match=r"--bands may have \+s1 once"):
        RunSettings(bands=bands)


def test_sentinel1_alone_can_be_trained_on():
    assert [selected.array for selected in band_selections(RunSettings(bands="s1").bands)] == ["data_s1"]


def test_a_store_without_sentinel1_is_refused(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN] * 2)
    with pytest.raises(ValueError, match=r"has no data_s1; extract with --sentinel1, or leave \+s1 out of --bands"):
        select_rows(tmp_path / "store.h5", RowSelection(band_selections("all+s1")))


@pytest.mark.slow
def test_moments_are_in_db_and_bands_of_one_size_are_joined(store):
    rows = select_rows(store, RowSelection(band_selections("native+s1")))
    sentinel1 = rows.pixels[-1]
    values = rows.reader.read("data_s1", rows.store_rows).reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(sentinel1.mean, np.nanmean(values, 0), atol=1e-3)
    np.testing.assert_allclose(sentinel1.std, np.nanstd(values, 0), atol=1e-3)
    network = build_network(rows.pixels, NetworkDesign(5), seed=0)
    assert network.get_layer("joined_120px").output.shape[1:] == (120, 120, 6)
    batch = [rows.reader.read(item.name, rows.store_rows[:2]) for item in rows.pixels]
    batch[-1][0] = np.nan
    assert np.isfinite(network(batch)).all()


@pytest.mark.slow
def test_a_network_trains_on_all_bands_and_sentinel1(archive, store, tmp_path):
    line = (
        "--store",
        str(store),
        "--network",
        "small",
        "--bands",
        "all+s1",
        "--steps",
        "2",
        "--batch",
        "4",
        "--out",
        str(tmp_path / "run"),
    )
    done = ranks(1, "trainer.run", *line, timeout=300)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert np.isfinite(record["loss"]).all()
    assert "% of the training pixels of data_s1 have no value" in done.stderr
    done = ranks(1, "trainer.evaluate", "--run", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
