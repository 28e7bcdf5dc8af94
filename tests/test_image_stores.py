"""Archives of image files like EuroSAT's and UC Merced's through every command, from the table to a trained network."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bad_input import errors, listed, product_of, put_catalogue, reasons
from commands import content, ranks, same
from image_archives import ImageArchive, make_eurosat, make_merced
from mpi4py import MPI
from osgeo import gdal

import etl
from etl.catalogue.images import read_image_table
from etl.catalogue.table import write_catalogue
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.raster import write_geotiff
from etl.schema import REJECTED, WRITTEN
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.verify.run import verify
from etl.verify.settings import VerifySettings

pytestmark = pytest.mark.slow

COMM = MPI.COMM_SELF


def catalogue_of(archive):
    return archive.table.with_suffix(".parquet")


def run(size, archive, out, *flags):
    given = ("--catalogue", catalogue_of(archive), "--source", archive.source, "--out", out)
    return ranks(size, "etl.extract", *map(str, given), *flags)


def begin(archive, out, **flags):
    """Extract in this process."""
    settings = ExtractSettings(catalogue_of(archive), archive.source, Location.parse(out), **flags)
    return extract(settings, COMM)


@pytest.fixture(scope="module", params=["eurosat", "merced"])
def archive(request, tmp_path_factory) -> ImageArchive:
    """An archive with its catalogue and its store in both formats, each written by another number of ranks."""
    make = {"eurosat": make_eurosat, "merced": make_merced}[request.param]
    made = make(tmp_path_factory.mktemp(request.param))
    done = ranks(1, "etl.catalogue", "--source", str(made.table), "--out", str(catalogue_of(made)))
    assert done.returncode == 0, done.stderr
    for size, suffix in ((1, ".h5"), (3, ".zarr")):
        done = run(size, made, made.table.with_suffix(suffix), "--shard-rows", "2")
        assert (done.returncode, "0 rejected" in done.stdout) == (0, True), done.stderr
        assert "--upsample bilinear does not apply" in done.stderr
    return made


@pytest.fixture
def stores(archive):
    return [archive.table.with_suffix(suffix) for suffix in (".h5", ".zarr")]


def test_every_pixel_and_label_is_that_of_its_file_in_both_formats(archive, stores):
    for path in stores:
        store = etl.open_store(path)
        assert store["data_images"].dtype == next(iter(archive.pixels.values())).dtype
        assert store["patch"].values.tolist() == sorted(archive.paths)
        for name, pixels in archive.pixels.items():
            row = store.sel(patch=name)
            assert np.array_equal(row["data_images"].values, pixels)
            label = archive.labels[archive.paths.index(name)]
            assert row["classes"].values.tolist() == (store["class"].values == label).astype(int).tolist()
        assert "scale_factor" not in store["data_images"].attrs
        assert "nodata" not in store["data_images"].attrs
        assert store["split"].values.tolist().count("train") == 6
        assert store.attrs["labels"] == "single"
        assert "archive" not in store.attrs
        with pytest.raises(ValueError, match="must have the attribute scale_factor"):
            etl.to_reflectance(store["data_images"])


def test_black_is_a_value_that_counts_in_the_statistics(archive, stores):
    pixels = np.stack([archive.pixels[path] for path in archive.paths[:6]]).astype(object)
    for path in stores:
        with StoreReader(path) as store:
            sums = {name: values[1] for name, values in store.statistics("data_images").items()}
            assert np.array_equal(store.column("nodata_share"), np.zeros(12))
        assert np.array_equal(sums["count"], [pixels[..., 0].size] * pixels.shape[-1])
        assert np.array_equal(sums["sum_squares"], (pixels**2).sum((0, 1, 2)))
        assert not sums["nodata"].any()


def test_a_store_does_not_depend_on_the_number_of_ranks(archive, stores, tmp_path):
    assert run(3, archive, tmp_path / "three.h5").returncode == 0
    assert same(content(tmp_path / "three.h5"), content(stores[0]))
    hdf5, zarr = map(content, stores)
    assert all(np.array_equal(hdf5[name], zarr[name], equal_nan=hdf5[name].dtype.kind == "f") for name in zarr)


def test_verify_compares_every_store_with_table_and_files(archive, stores, capsys):
    for path in stores:
        settings = VerifySettings(Location.parse(path), source=archive.source, catalogue=catalogue_of(archive))
        assert verify(settings, COMM) == 0
    assert capsys.readouterr().out.count("bit for bit") == 2


def test_verify_finds_a_file_that_has_changed_since(archive, stores, tmp_path, capsys):
    source = tmp_path / "changed"
    shutil.copytree(archive.source, source)
    shutil.copy(source / archive.paths[1], source / archive.paths[0])
    settings = VerifySettings(Location.parse(stores[0]), source=source, catalogue=catalogue_of(archive))
    assert verify(settings, COMM) == 1
    assert f"{archive.paths[0]}: data_images " in capsys.readouterr().out


def test_stats_and_preview_show_image_files(archive, stores, tmp_path):
    for path in stores:
        assert stats(StatsSettings(Location.parse(path), tmp_path / "s.html", scheduler="threads"), COMM) == 0
        record = json.loads((tmp_path / "s.json").read_text())
        assert record["agrees_with_stored_sums"]
        assert record["units"] == "pixel values as stored"
        assert record["classes"] == ["Annual crop", "Forest", "Sea, lake"]
        assert preview(PreviewSettings(Location.parse(path), tmp_path / "p.png"), COMM) == 0
        assert (tmp_path / "p.png").stat().st_size > 10_000


def test_converted_stores_hold_the_same(archive, stores, tmp_path):
    for source, out, how in ((0, "a.zarr", {}), (1, "b.h5", {"compress": "blosc"}), (0, "c.json", {})):
        convert(ConvertSettings(Location.parse(stores[source]), Location.parse(tmp_path / out), **how), COMM)
        converted, original = etl.open_store(tmp_path / out), etl.open_store(stores[0])
        assert np.array_equal(converted["data_images"].values, original["data_images"].values)
        assert converted["class"].values.tolist() == original["class"].values.tolist()
        if not out.endswith(".json"):
            assert verify(VerifySettings(Location.parse(tmp_path / out), source=archive.source), COMM) == 0
    select = ConvertSettings(Location.parse(stores[0]), Location.parse(tmp_path / "d.h5"), label="Sea, lake")
    convert(select, COMM)
    assert etl.open_store(tmp_path / "d.h5").sizes["patch"] == 4


def test_a_broken_an_absent_and_an_odd_file_are_rejected_with_their_reasons_and_mended_on_resuming(archive, tmp_path):
    broken = ImageArchive(tmp_path / "source", archive.table, archive.paths, archive.labels, archive.pixels)
    shutil.copytree(archive.source, broken.source)
    cut, absent, odd = (broken.source / path for path in archive.paths[:3])
    cut.write_bytes(cut.read_bytes()[:3000])
    absent.unlink()
    odd.write_bytes(odd.read_bytes()[:0])
    out = tmp_path / "store.h5"
    assert begin(broken, out, upsample="none") == 0
    found = reasons(out)
    assert set(found) == set(archive.paths[:3])
    assert all(str(broken.source / path) in reason for path, reason in found.items())
    for path in archive.paths[:3]:
        shutil.copy(archive.source / path, broken.source / path)
    assert begin(broken, out, upsample="none", resume=True, retry_rejected=True) == 0
    assert content(out)["state"].tolist() == [WRITTEN] * 12
    whole = content(archive.table.with_suffix(".h5"))
    assert np.array_equal(content(out)["data_images"], whole["data_images"])
    assert np.array_equal(content(out)["checksum"], whole["checksum"])
    assert REJECTED not in content(out)["state"]


def test_an_interrupted_run_is_resumed_only_with_the_same_bands(archive, tmp_path):
    out = tmp_path / "store.h5"
    assert begin(archive, out) == 0
    bands = ",".join(f"b{k}" for k in range(archive.pixels[archive.paths[0]].shape[-1]))
    done = run(1, archive, out, "--resume", "--bands", bands)
    assert done.returncode == 2
    assert "bands was" in errors(done)[0]


def test_images_without_labels_are_stored_verified_and_shown_without_classes(tmp_path, capsys):
    made = make_merced(tmp_path)
    made.table.write_text("path\n" + "".join(f'"{path}"\n' for path in made.paths))
    assert ranks(1, "etl.catalogue", "--source", str(made.table), "--out", str(catalogue_of(made))).returncode == 0
    for name in ("s.h5", "s.zarr"):
        out = tmp_path / name
        assert begin(made, out) == 0
        settings = VerifySettings(Location.parse(out), source=made.source, catalogue=catalogue_of(made))
        assert verify(settings, COMM) == 0, capsys.readouterr().out
        assert etl.open_store(out)["classes"].shape == (12, 0)
        assert stats(StatsSettings(Location.parse(out), tmp_path / "s.html", scheduler="threads"), COMM) == 0
        assert preview(PreviewSettings(Location.parse(out), tmp_path / "p.png"), COMM) == 0
        other = tmp_path / f"converted_{'s.zarr' if name == 's.h5' else 's.h5'}"
        convert(ConvertSettings(Location.parse(out), Location.parse(other)), COMM)
        assert etl.open_store(other).sizes["class"] == 0


def test_files_with_bands_in_two_orders_are_read_and_verified_in_one_under_the_names_given(tmp_path):
    made = make_merced(tmp_path)
    for path in made.paths:
        turned = path != made.paths[0]
        planes = made.pixels[path].transpose(2, 0, 1)
        write_geotiff(made.source / path, planes[::-1] if turned else planes, None)
        file = gdal.Open(str(made.source / path), gdal.GA_Update)
        for k, name in enumerate(("B04", "B03", "B02")[:: -1 if turned else 1]):
            file.GetRasterBand(k + 1).SetDescription(name)
        del file
    write_catalogue(catalogue_of(made), read_image_table(made.table)[0])
    for name in ("s.h5", "s.zarr"):
        assert begin(made, tmp_path / name, bands="x,y,z") == 0
        store = etl.open_store(tmp_path / name)
        assert store["band_images"].values.tolist() == ["x", "y", "z"]
        for path in made.paths:
            assert np.array_equal(store.sel(patch=path)["data_images"].values, made.pixels[path][..., ::-1])
        assert verify(VerifySettings(Location.parse(tmp_path / name), source=made.source), COMM) == 0


def test_bands_are_not_named_for_products(tmp_path):
    put_catalogue(tmp_path / "patches.parquet", listed(product_of(13)))
    out = tmp_path / "store.h5"
    settings = ExtractSettings(tmp_path / "patches.parquet", tmp_path, Location.parse(out), bands="B02,B03")
    with pytest.raises(JobError, match=r"--bands B02,B03 names the bands of image files, but .*patches\.parquet lists"):
        extract(settings, COMM)
    assert list(tmp_path.iterdir()) == [tmp_path / "patches.parquet"]


def test_one_epoch_of_8_bit_values_trains_and_the_network_scores(tmp_path):
    made, out = make_merced(tmp_path, 64), tmp_path / "run"
    write_catalogue(catalogue_of(made), read_image_table(made.table)[0])
    assert begin(made, tmp_path / "s.zarr") == 0
    done = ranks(1, "trainer.run", "--store", str(tmp_path / "s.zarr"), "--bands", "rgb", "--epochs", "1",
                 "--batch", "3", "--network", "small", "--out", str(out))  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "run.json").read_text())
    (inputs,) = record["inputs"]
    assert (inputs["name"], inputs["bands"], len(record["classes"])) == ("data_images", ["R", "G", "B"], 3)
    done = ranks(1, "trainer.evaluate", "--run", str(out), "--split", "test")
    assert done.returncode == 0, done.stderr
    with np.load(out / "samples.npz") as samples:  # stretched, as 8 bits need not be bright
        assert samples["rgb"].min() == 0
        assert samples["rgb"].max() == 255


PAGE = Path(__file__).resolve().parents[1] / "docs" / "howto" / "new-data-set.md"


def test_the_page_leads_from_a_folder_like_eurosats_to_a_trained_network_by_its_commands_alone(tmp_path):
    made = make_eurosat(tmp_path, 15, ("AnnualCrop", "Forest", "River"))
    made.source.rename(tmp_path / "EuroSAT_MS")
    made.table.unlink()
    section = PAGE.read_text().split("\n## ")[1]
    commands = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    for shown, short in (("mpirun -n 8 python", "python"), ("--epochs 20", "--epochs 1 --batch 4 --network small")):
        assert commands.count(shown) == 1
        commands = commands.replace(shown, short)
    commands = commands.replace("python -m", f"{sys.executable} -m")
    done = subprocess.run(
        ["bash", "-e", "-c", commands], cwd=tmp_path, text=True, capture_output=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eurosat.h5 is good" in done.stdout
    store = etl.open_store(tmp_path / "eurosat.h5")
    assert store["class"].values.tolist() == ["AnnualCrop", "Forest", "River"]
    assert sorted(store["split"].values.tolist()) == ["test"] * 3 + ["train"] * 9 + ["val"] * 3
    assert store.attrs["labels"] == "single"
    record = json.loads((tmp_path / "runs" / "eurosat" / "run.json").read_text())
    assert len(record["inputs"][0]["bands"]) == 13
    assert record["single_label"]
    scores = json.loads((tmp_path / "runs" / "eurosat" / "evaluate.test.json").read_text())["scores"]["at_half"]
    assert np.array(scores["confusion"]).sum() == scores["rows"] == 3
    assert scores["accuracy"] == np.trace(scores["confusion"]) / 3
    labels = pq.read_table(tmp_path / "eurosat-predictions.parquet")
    assert sorted(labels["patch"].to_pylist()) == sorted(store["patch"].values.tolist())
    page = (tmp_path / "runs" / "eurosat-report" / "report.html").read_text()
    assert "eurosat.h5" in page
    assert "aper (rgb" not in page
