"""A run that writes no row: bad input, said in one line, by it and by everything that reads its store."""

import json
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from bad_input import job, listed, put_catalogue, reasons
from commands import content, ranks
from mpi4py import MPI

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.verify.run import verify
from etl.verify.settings import VerifySettings
from trainer.config import BandSelection
from trainer.data.selection import RowSelection, select_rows

NOT_WRITTEN = "has no written row: 9 rejected, 0 not written"


@pytest.fixture(scope="module")
def nothing(tile, tmp_path_factory):
    """A run of a catalogue whose patches all have a label that there is not."""
    root = tmp_path_factory.mktemp("nothing")
    put_catalogue(root / "patches.parquet", [{**p, "labels": ["Moon"]} for p in listed(tile.spec, 360)])
    (root / "tiles").symlink_to(tile.root / "tiles")
    return SimpleNamespace(root=root, store=root / "store.h5", done=job(3, root, root / "store.h5", "--strict"))


def test_a_run_that_writes_no_row_ends_with_2_even_under_strict_and_says_why(nothing):
    assert nothing.done.returncode == 2
    assert "0 patches written, 9 rejected by 3 ranks in " in nothing.done.stdout.splitlines()[-1]
    (line,) = [line for line in nothing.done.stderr.splitlines() if line.startswith("error: ")]
    assert "has no written row: 9 patches are rejected, 9 of them for this reason: " in line
    assert "Moon" in line


def test_the_store_is_complete_and_it_and_the_list_are_kept(nothing):
    store = content(nothing.store)
    assert (store["state"] == 2).all()
    assert store["complete"] == 1
    assert not store["stats/data_10m/count"].any()
    assert len(reasons(nothing.store)) == 9


@pytest.mark.parametrize("size", [1, 2])
def test_resuming_it_ends_with_2_again(nothing, size):
    before = nothing.store.read_bytes()
    done = job(size, nothing.root, nothing.store, "--resume")
    assert done.returncode == 2
    assert "nothing to do" in done.stdout
    assert "has no written row: 9 patches are rejected" in done.stderr
    assert nothing.store.read_bytes() == before


def test_a_dry_run_says_it_beforehand(nothing, tmp_path):
    done = job(1, nothing.root, tmp_path / "other.h5", "--dry-run")
    assert done.returncode == 2
    assert "0 patches on 1 rank -> " in done.stdout
    assert "no patch can be extracted: 9 patches are rejected, 9 of them for this reason: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_rejections_while_pixels_are_read_count_as_well(tile, tmp_path):
    done = job(1, tile.root, tmp_path / "store.zarr", "--max-cloud-share", "0", "--max-snow-share", "0")
    assert done.returncode == 2
    assert "0 patches written, 9 rejected by 1 rank in " in done.stdout.splitlines()[-1]
    assert "9 patches are rejected, for example: cloud share 0." in done.stderr
    assert "is above the limit 0 (9)" in done.stderr
    assert (content(tmp_path / "store.zarr")["state"] == 2).all()


def test_when_the_cause_is_corrected_retrying_ends_with_0(tile, tmp_path):
    (tmp_path / "tiles").mkdir()
    put_catalogue(tmp_path / "patches.parquet", listed(tile.spec, 360))
    broken = tmp_path / "tiles" / tile.spec.name
    broken.mkdir()
    assert job(1, tmp_path, tmp_path / "store.h5").returncode == 2
    broken.rmdir()
    shutil.copytree(tile.root / "tiles" / tile.spec.name, broken)
    done = job(1, tmp_path, tmp_path / "store.h5", "--resume", "--retry-rejected")
    assert done.returncode == 0, done.stderr
    assert "9 patches written, 0 rejected by 1 rank in " in done.stdout.splitlines()[-1]
    assert np.array_equal(content(tmp_path / "store.h5")["data_super"], tile.store["data_super"])


def test_verify_calls_it_not_good(nothing, capsys):
    assert verify(VerifySettings(Location.parse(nothing.store)), MPI.COMM_SELF) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAILED   written rows   none: 9 rejected") for line in lines)
    assert "is NOT GOOD: 1 of " in lines[-1]
    assert lines[-1].split(";")[0].endswith("(written rows)")


def test_statistics_conversion_and_training_refuse_it_in_one_line(nothing, tmp_path):
    place = Location.parse(nothing.store)
    for refused in (
        lambda: stats(StatsSettings(place, tmp_path / "p.html"), MPI.COMM_SELF),
        lambda: convert(ConvertSettings(place, Location.parse(tmp_path / "x.zarr")), MPI.COMM_SELF),
        lambda: convert(
            ConvertSettings(place, Location.parse(tmp_path / "x.h5"), keep_rejected=True, dry_run=True), MPI.COMM_SELF
        ),
        lambda: convert(ConvertSettings(place, Location.parse(tmp_path / "x.json")), MPI.COMM_SELF),
        lambda: select_rows(nothing.store, RowSelection((BandSelection("data_10m"),))),
    ):
        with pytest.raises((JobError, ValueError), match=NOT_WRITTEN) as caught:
            refused()
        assert not isinstance(caught.value, JobError) or caught.value.status == 2
        assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_preview_shows_the_map_of_it_and_says_that_nothing_is_written(nothing, tmp_path, capsys):
    out = tmp_path / "p.png"
    assert preview(PreviewSettings(Location.parse(nothing.store), out), MPI.COMM_SELF) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{nothing.store} {NOT_WRITTEN}; the picture is a map without patches -> {out}"
    ]
    assert out.exists()


def test_open_store_warns_of_it(nothing, caplog):
    assert etl.open_store(nothing.store).sizes["patch"] == 0
    assert [record.message for record in caplog.records] == [f"{nothing.store} has no written row"]


@pytest.mark.slow
def test_a_training_ends_with_2_before_it_starts(nothing, tmp_path):
    done = ranks(1, "trainer.run", "--store", str(nothing.store), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert NOT_WRITTEN in line
    assert not (tmp_path / "run").exists()


def test_a_store_with_one_written_row_among_rejected_ones_is_taken(tile, tmp_path):
    patches = listed(tile.spec, 360)
    put_catalogue(tmp_path / "patches.parquet", [{**p, "labels": ["Moon"]} for p in patches[1:]] + patches[:1])
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    assert job(1, tmp_path, tmp_path / "store.h5", "--strict").returncode == 4
    done = job(1, tmp_path, tmp_path / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "store.json").read_text())
    assert (record["written"], record["rejected"]) == (1, 8)
    with h5py.File(tmp_path / "store.h5") as file:
        assert np.count_nonzero(file["state"][...] == 1) == 1
