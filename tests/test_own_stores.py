"""A store that a user's own program wrote, as on the page about new data sets: every command takes it."""

import json
import re
import runpy
from pathlib import Path

import h5py
import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import content
from mpi4py import MPI
from stores import GOOD, make_store

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.describe.run import describe
from etl.describe.settings import DescribeSettings
from etl.exit_status import JobError
from etl.preview.contact_sheet import read_contact_sheet
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.verify.run import verify
from etl.verify.settings import VerifySettings
from trainer.config import band_selections
from trainer.data.selection import RowSelection, select_rows

PAGE = Path(__file__).resolve().parents[1] / "docs" / "howto" / "new-data-set.md"
COMM = MPI.COMM_SELF
ALL = ("red", "green", "blue", "nir", "swir")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The store of the page's program, with fewer and smaller patches."""
    folder = tmp_path_factory.mktemp("own")
    (program,) = re.findall(r"```python\n(import h5py.*?)```", PAGE.read_text(), re.DOTALL)
    program = program.replace("200, 64,", "24, 32,", 1)
    (folder / "program.py").write_text(program.replace('"mine.h5"', repr(str(folder / "mine.h5"))))
    runpy.run_path(str(folder / "program.py"))
    return folder / "mine.h5"


@pytest.fixture(scope="module", params=["h5", "zarr"])
def converted(request, own, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / f"store.{request.param}"
    convert(ConvertSettings(Location.parse(own), Location.parse(out)), COMM)
    return out


def status(path, **how):
    return verify(VerifySettings(Location.parse(path), **how), COMM)


def test_verify_compares_the_statistics_with_the_pixels(own, tmp_path, capsys):
    assert status(own) == 0
    assert "skipped  checksums      the store has none" in capsys.readouterr().out
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(own.read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["data_super"][3, 5, 5, 2] ^= 1
    assert status(damaged) == 1
    assert "FAILED   statistics     2 wrong: data_super blue sum of split train" in capsys.readouterr().out
    with pytest.raises(JobError, match=r"--source does not apply to .*: another program wrote it"):
        status(own, source=tmp_path)


def test_open_store_names_its_dimensions_classes_and_bands(own):
    store = etl.open_store(own)
    assert store["data_super"].dims == ("patch", "y_super", "x_super", "band_super")
    assert store["class"].values.tolist() == ["crop", "wood", "water"]
    with h5py.File(own) as file:
        assert np.array_equal(store.sel(band_super="nir")["data_super"].values, file["data_super"][..., 3])
        assert np.array_equal(store["classes"].values, file["classes"][...])
    assert store["split"].values.tolist()[:3] == ["train", "val", "test"]


def test_stats_and_preview_show_it(own, converted, tmp_path):
    for path in (own, converted):
        assert stats(StatsSettings(Location.parse(path), tmp_path / "s.html", scheduler="threads"), COMM) == 0
        record = json.loads((tmp_path / "s.json").read_text())
        assert record["agrees_with_stored_sums"]
        assert record["classes"] == ["crop", "wood", "water"]
        settings = PreviewSettings(Location.parse(path), tmp_path / "p.png")
        sheet = read_contact_sheet(settings)
        assert (sheet.shown.words, sheet.maps, sheet.counts["train"]) == ("red green blue, 32 x 32 pixels", [], 8)
        assert preview(settings, COMM) == 0


def test_a_converted_store_holds_the_same_and_what_the_program_left_out(own, converted, tmp_path, capsys):
    assert status(converted) == 0
    assert "ok       checksums      24 rows" in capsys.readouterr().out
    before, after = content(own), content(converted)
    assert all(np.array_equal(after[name], values) for name, values in before.items() if name != "complete")
    with StoreReader(converted) as store:
        assert {"checksum", "tile", "ulx"} <= set(store.names)
        assert not store.schema.absent
        again = tmp_path / "val.h5"
        convert(ConvertSettings(Location.parse(converted), Location.parse(again), split="val"), COMM)
    assert etl.open_store(again).sizes["patch"] == 8
    assert status(again) == 0


def test_a_description_tells_what_is_known(own, converted, tmp_path):
    for path in (own, converted):
        describe(DescribeSettings(Location.parse(path), tmp_path / "about"))
        card = (tmp_path / "about" / "README.md").read_text()
        for words in ("24 patches of 32 x 32 px, 3 classes", "red green blue nir swir", "(uint16)", "| crop |"):
            assert words in card
        for words in ("acquired", "tiles", "Copernicus", "None", "reflectance"):
            assert words not in card
        names = {item.name for item in (tmp_path / "about").iterdir()}
        assert names == {"README.md", "patches.parquet", "croissant.json"}
        table = pq.read_table(tmp_path / "about" / "patches.parquet")
        assert table["split"].to_pylist()[:3] == ["train", "val", "test"]
        assert len(table["labels"].to_pylist()[0]) == content(own)["classes"][0].sum()
        assert "geometry" not in table.column_names
        records = mlcroissant.Dataset(str(tmp_path / "about" / "croissant.json")).metadata.record_sets
        assert [item.name for item in records[0].fields][:2] == ["row", "patch"]


def test_a_manifest_needs_every_array(own, converted, tmp_path):
    out = Location.parse(tmp_path / "m.json")
    with pytest.raises(JobError, match=r"mine\.h5 must have all arrays .* without acquired.*convert it to HDF5 first"):
        convert(ConvertSettings(Location.parse(own), out), COMM)
    if converted.suffix == ".h5":
        convert(ConvertSettings(Location.parse(converted), out), COMM)
        assert np.array_equal(etl.open_store(out.path)["data_super"].values, etl.open_store(own)["data_super"].values)


@pytest.mark.parametrize(
    ("bands", "taken"),
    [
        ("all", ALL),
        ("native", ALL),
        ("rgb", ALL[:3]),
        ("red,green,blue", ALL[:3]),
        ("swir,red", ("swir", "red")),
    ],
)
def test_bands_are_taken_by_the_names_that_the_store_has(own, converted, bands, taken):
    for path in (own, converted):
        (item,) = select_rows(path, RowSelection(band_selections(bands))).pixels
        assert (item.name, item.bands) == ("data_super", taken)
        assert [ALL[k] for k in item.channels] == list(taken)


@pytest.mark.parametrize("bands", ["red,B02", "B03,B02", "ultraviolet"])
def test_bands_that_the_store_does_not_have_are_refused_with_those_that_it_has(own, bands):
    with pytest.raises(ValueError, match=r"data_super has no band .*; it has red, green, blue, nir, swir"):
        select_rows(own, RowSelection(band_selections(bands)))


def test_sentinel_1_of_a_store_without_it_is_refused(own):
    with pytest.raises(ValueError, match=r"mine\.h5 has no data_s1"):
        select_rows(own, RowSelection(band_selections("all+s1")))


def test_a_store_of_extraction_that_lost_arrays_does_not_pass_for_one_of_another_program(tmp_path, capsys):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store, "r+") as file:
        for name in ("data_10m", "data_20m", "data_60m"):
            del file[name]
    assert status(store) == 1
    assert "NOT GOOD" in capsys.readouterr().out
