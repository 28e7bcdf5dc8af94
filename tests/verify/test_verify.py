"""Verify: a good store passes every check; each kind of damage fails its own check and is named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import ranks
from mpi4py import MPI
from stores import GOOD, PRODUCT, TILE, erase_some, make_catalogue, make_store, stats_of

from etl.bands import GROUPS
from etl.exit_status import JobError
from etl.raster import Georeference, write_geotiff
from etl.schema import STATS, UNWRITTEN, WRITTEN, Schema
from etl.store.backend import backend_of
from etl.store.checksum import checksum
from etl.store.digests import mark_complete
from etl.store.hdf5.create import overwrite_hdf5
from etl.store.journal import journal_location
from etl.store.location import Location
from etl.verify.run import verify
from etl.verify.settings import VerifySettings

pytestmark = pytest.mark.slow


def write_archive(folder: Path, store: Path) -> None:
    """The store's rows as a BigEarthNet v1 folder."""
    with h5py.File(store) as file:
        for row, name in enumerate(file["patch"].asstr()[...]):
            (folder / name).mkdir(parents=True)
            for group in GROUPS:
                corner = float(file["ulx"][row]), float(file["uly"][row])
                where = Georeference(int(file["epsg"][row]), *corner, group.gsd_m)
                for k, band in enumerate(group.bands):
                    pixels = file[f"data_{group.name}"][row, ..., k]
                    write_geotiff(folder / name / f"{name}_{band}.tif", np.ascontiguousarray(pixels), where)


def change(store: Path, name: str, where: Any, value: Any) -> None:
    """Change part of a data set, and nothing that depends on it but its digests: as if it had been written so."""
    with h5py.File(store, "r+") as file:
        file[name][where] = value
        complete = file["complete"][()]
    if complete == 1:
        mark_complete(backend_of(store))


@pytest.fixture
def outcome(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, tuple[str, str]], str]]:
    """Verifies a store: exit status, (word, detail) by check, the verdict."""

    def run(store: Path, **settings: Any) -> tuple[int, dict[str, tuple[str, str]], str]:
        capsys.readouterr()
        status = verify(VerifySettings(Location.parse(store), **settings), MPI.COMM_SELF)
        *lines, verdict = capsys.readouterr().out.splitlines()
        checks = {line[9:24].strip(): (line[:8].strip(), line[24:]) for line in lines}
        return status, checks, verdict

    return run


def failed(checks: dict[str, tuple[str, str]]) -> set[str]:
    return {name for name, (word, _) in checks.items() if word == "FAILED"}


@pytest.mark.parametrize("upsampled", [True, False])
def test_a_good_store_with_rejected_rows_passes_every_check(tmp_path, outcome, upsampled):
    status, checks, verdict = outcome(make_store(tmp_path, GOOD, upsampled=upsampled))
    assert status == 0
    assert {word for name, (word, _) in checks.items() if not name.startswith("source ")} == {"ok"}
    assert "is good" in verdict
    assert "1 rows, all pixels 0" in checks["rejected rows"][1]


@pytest.mark.parametrize("name", ["data_10m", "data_20m", "data_60m", "data_super"])
def test_one_flipped_bit_in_any_pixel_data_set_is_found_and_its_row_named(tmp_path, outcome, name):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store, "r+") as file:
        offset = file[name].id.get_offset() + 4 * file[name][0].nbytes + 7
    with store.open("r+b") as raw:
        raw.seek(offset)
        byte = raw.read(1)
        raw.seek(offset)
        raw.write(bytes([byte[0] ^ 1]))
    status, checks, verdict = outcome(store)
    assert status == 1
    assert checks["checksums"][0] == "FAILED"
    assert "1 wrong: row 4 S2A_MSIL2A_20170613T101031_1_1" in checks["checksums"][1]
    assert name in checks["statistics"][1]
    assert "NOT GOOD" in verdict


def test_swapped_labels_are_found_and_named(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store) as file:
        rows = file["classes"][[0, 1]]
    change(store, "classes", slice(0, 2), rows[::-1])
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (1, {"labels"})
    assert "row 0" in checks["labels"][1]
    assert "row 1" in checks["labels"][1]
    assert "Continuous urban fabric is 0, must be 1" in checks["labels"][1]


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [("split", 1, "split"), ("ulx", 1.0, "place"), ("epsg", 32601, "place"), ("tile", b"31UER", "place"),
     ("acquired", 5, "acquired"), ("patch", b"another", "patches"),
     ("product", b"S2A_MSIL2A_20170613T101031_N0205_R122_T33UUP_20170613T101608", "products")],
)  # fmt: skip
def test_a_column_that_is_not_the_catalogues_is_found_and_its_row_named(tmp_path, outcome, name, value, check):
    store = make_store(tmp_path, GOOD)
    change(store, name, 2, value)  # a rejected row: neither statistics nor checksums depend on it
    status, checks, _ = outcome(store)
    assert status == 1
    assert check in failed(checks)
    assert failed(checks) <= {check, "rejected list"}
    assert "row 2 " in checks[check][1]


def test_a_share_of_pixels_without_data_that_is_not_the_pixels_own_is_found_in_written_rows(tmp_path, outcome):
    store = make_store(tmp_path, GOOD, erase=erase_some)
    assert outcome(store)[1]["nodata shares"] == ("ok", "5 rows, each that of its pixels")
    change(store, "nodata_share", 2, 0.25)  # of a rejected row nothing is known
    assert outcome(store)[0] == 0
    change(store, "nodata_share", 0, 0.25)
    change(store, "nodata_share", 4, np.nan)
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (1, {"nodata shares"})
    assert (
        "2 wrong: row 0 S2A_MSIL2A_20170613T101031_0_0: nodata_share is 0.250000, its pixels give 0.500000"
        in (checks["nodata shares"][1])
    )
    assert "nodata_share is nan, its pixels give 0.000000" in checks["nodata shares"][1]


def test_an_old_store_has_no_shares_to_check(tmp_path, outcome):
    status, checks, _ = outcome(make_store(tmp_path, GOOD, version="1"))
    assert status == 0
    assert checks["nodata shares"] == ("skipped", "stores of schema version 1 have none")


def test_a_store_without_a_written_row_is_not_good(tmp_path, outcome):
    status, checks, verdict = outcome(make_store(tmp_path, [2, 2]))
    assert (status, failed(checks)) == (1, {"written rows"})
    assert checks["written rows"][1] == "none: 2 rejected; the rejected list says why"
    assert "is NOT GOOD" in verdict


@pytest.mark.parametrize("statistic", STATS)
def test_stale_statistics_are_found_and_named(tmp_path, outcome, statistic):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store) as file:
        low = int(file[f"stats/data_20m/{statistic}"][1, 5, 1])
    change(store, f"stats/data_20m/{statistic}", (1, 5, 1), low + 1)
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (1, {"statistics"})
    wanted = f"1 wrong: data_20m B12 {statistic} of split train: stored {low + 1}, rows give {low}"
    assert wanted in checks["statistics"][1]


def test_an_incomplete_store_is_said_to_be_incomplete_with_its_rows_counted(tmp_path, outcome):
    status, checks, verdict = outcome(make_store(tmp_path, [1, 1, 2, 0, 0, 1], complete=False))
    assert (status, failed(checks)) == (1, {"complete"})
    assert "3 rows written, 1 rejected, 2 not written" in checks["complete"][1]
    assert "INCOMPLETE; what is there is good" in verdict


def test_what_is_not_journalled_yet_is_not_held_against_an_incomplete_store(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 2, 0, 0, 0], complete=False)
    change(store, "state", 4, WRITTEN)  # in the writing: pixels or checksum may still be missing
    change(store, "checksum", 4, 1)
    assert failed(outcome(store)[1]) == {"complete"}
    change(store, "checksum", 1, 1)
    assert failed(outcome(store)[1]) == {"complete", "checksums"}


def test_a_journalled_row_that_is_not_written_is_found(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 2, 0, 0, 1], complete=False)
    change(store, "state", 5, UNWRITTEN)
    checks = outcome(store)[1]
    assert "row 5 S2A_MSIL2A_20170613T101031_2_1 is journalled as finished and is not written" in checks["journal"][1]


def test_a_store_that_calls_itself_complete_with_rows_missing_is_found(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    change(store, "state", 5, UNWRITTEN)
    status, checks, _ = outcome(store)
    assert status == 1
    assert failed(checks) >= {"complete", "journal", "statistics"}
    assert "1 not written" in checks["complete"][1]


def test_a_rejected_row_that_still_has_pixels_is_found(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    change(store, "data_60m", (2, 3, 3, 1), 9)
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (1, {"rejected rows"})
    assert "row 2 S2A_MSIL2A_20170613T101031_2_0" in checks["rejected rows"][1]


def test_rejections_that_the_list_does_not_name_are_found(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    listed = tmp_path / "store.rejected.csv"
    listed.write_text("patch,tile,row,reason\nS2A_x_0_0,33UUP,0,broken\n")
    checks = outcome(store)[1]
    assert failed(checks) == {"rejected list"}
    assert "lists row 0 S2A_x_0_0, which is not rejected" in checks["rejected list"][1]
    assert "row 2 S2A_MSIL2A_20170613T101031_2_0 is rejected" in checks["rejected list"][1]
    listed.unlink()
    assert failed(outcome(store)[1]) == {"rejected list"}


def test_a_store_moved_away_from_journal_and_catalogue_is_held_against_itself_alone(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    for name in ("store.h5.journal", "store.rejected.csv", "patches.parquet"):
        (tmp_path / name).unlink()
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (0, set())
    assert {n for n, (word, _) in checks.items() if word == "skipped"} == {
        "journal", "rejected list", "catalogue", "source files", "source pixels"
    }  # fmt: skip


def test_an_incomplete_store_without_its_journal_cannot_be_resumed_and_that_is_said(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 2, 0, 0, 1], complete=False)
    journal_location(Location.parse(store)).path.unlink()
    checks = outcome(store)[1]
    assert failed(checks) == {"complete", "journal"}
    assert "cannot be resumed" in checks["journal"][1]


def test_verifying_leaves_a_torn_journal_to_whoever_writes_the_store(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 2, 0, 0, 1], complete=False)
    with journal_location(Location.parse(store)).path.open("a") as file:
        file.write('{"rows": [[3')
    before = journal_location(Location.parse(store)).path.read_bytes()
    assert failed(outcome(store)[1]) == {"complete"}
    assert journal_location(Location.parse(store)).path.read_bytes() == before


def test_a_catalogue_with_more_patches_is_found(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    make_catalogue(tmp_path / "other.parquet", 7)
    checks = outcome(store, catalogue=tmp_path / "other.parquet")[1]
    assert failed(checks) == {"patches"}
    assert "must have the 7 rows that the catalogue keeps, got 6" in checks["patches"][1]


def test_patches_that_the_catalogue_excludes_belong_to_no_store_that_left_them_out(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    snow = np.arange(8) >= 6
    make_catalogue(tmp_path / "other.parquet", 8, snow=snow)
    assert outcome(store, catalogue=tmp_path / "other.parquet")[0] == 0


def test_source_pixels_of_a_patch_archive_are_read_again(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 1, 1])
    write_archive(tmp_path / "archive", store)
    status, checks, _ = outcome(store, source=tmp_path / "archive", sample=0)
    assert (status, checks["source pixels"][0]) == (0, "ok")
    assert "4 rows" in checks["source pixels"][1]


def test_a_pixel_that_is_not_the_sources_is_found_even_with_its_checksum_and_statistics_right(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 1, 1])
    write_archive(tmp_path / "archive", store)
    with h5py.File(store, "r+") as file:
        was = int(file["data_20m"][2, 7, 8, 3])
        file["data_20m"][2, 7, 8, 3] = was + 1
        pixels = {name: file[name][...] for name in ("data_10m", "data_20m", "data_60m", "data_super")}
        file["checksum"][2] = checksum([array[2] for array in pixels.values()])
        split, state = file["split"][...], file["state"][...]
    overwrite_hdf5(store, stats_of(Schema(4), pixels, split, state))
    mark_complete(backend_of(store))
    status, checks, _ = outcome(store, source=tmp_path / "archive", sample=0)
    assert (status, failed(checks)) == (1, {"source pixels"})
    wanted = f"data_20m B8A differs in 1 pixels, first at (7, 8): store {was + 1}, source {was}"
    assert wanted in checks["source pixels"][1]
    assert "row 2 S2A_MSIL2A_20170613T101031_2_0" in checks["source pixels"][1]


def test_the_rows_read_again_are_chosen_by_the_seed(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1, 1, 1])
    write_archive(tmp_path / "archive", store)
    change(store, "data_60m", (3, 0, 0, 0), 5000)

    def found(seed: int) -> bool:
        return "source pixels" in failed(outcome(store, source=tmp_path / "archive", sample=1, seed=seed)[1])

    first = [found(seed) for seed in range(8)]
    assert set(first) == {True, False}
    assert first == [found(seed) for seed in range(8)]


def test_a_patch_file_that_lies_elsewhere_is_found(tmp_path, outcome):
    store = make_store(tmp_path, [1, 1])
    write_archive(tmp_path / "archive", store)
    name = "S2A_MSIL2A_20170613T101031_1_0"
    elsewhere = Georeference(TILE.epsg, TILE.ulx + 1180, TILE.uly, 20)
    write_geotiff(tmp_path / "archive" / name / f"{name}_B05.tif", np.zeros((60, 60), np.uint16), elsewhere)
    checks = outcome(store, source=tmp_path / "archive")[1]
    assert failed(checks) == {"source pixels"}
    assert "B05.tif must hold" in checks["source pixels"][1]


def test_a_data_set_of_another_type_ends_the_checks_with_its_name(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store, "r+") as file:
        del file["ulx"]
        file["ulx"] = np.zeros(6, np.float32)
    status, checks, _ = outcome(store)
    assert (status, set(checks)) == (1, {"opens", "layout"})
    assert "ulx must be (6,) of float64, got (6,) of float32" in checks["layout"][1]


def test_bands_in_another_order_are_found(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    change(store, "band_10m", slice(None), [b"B04", b"B03", b"B02", b"B08"])
    assert "band_10m must hold B02, B03, B04, B08, got B04" in outcome(store)[1]["layout"][1]


def test_a_truncated_store_fails_to_open(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size - 100_000)
    status, checks, _ = outcome(store)
    assert (status, failed(checks)) == (1, {"opens"})


def test_a_store_that_is_not_contiguous_is_verified_through_hdf5(tmp_path, outcome):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store, "r+") as file:
        for name in ("data_10m", "data_super"):
            pixels, scales = file[name][...], [dict(dim.items()) for dim in file[name].dims]
            del file[name]
            made = file.create_dataset(name, data=pixels, chunks=(1, *pixels.shape[1:]), compression="gzip")
            for axis, found in enumerate(scales):
                made.dims[axis].attach_scale(next(iter(found.values())))
    assert outcome(store)[0] == 0


@pytest.mark.parametrize("kind", ["nothing", "text", "folder", "other HDF5"])
def test_what_is_no_store_is_bad_input_and_named(tmp_path, kind):
    path = tmp_path / "store.h5"
    if kind == "text":
        path.write_text("no store")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other HDF5":
        with h5py.File(path, "w") as file:
            file["weights"] = 1
    words = f"no store at {path}; name .* made by etl.extract" if kind == "nothing" else f"made by etl.extract.*{path}"
    with pytest.raises(JobError, match=words) as caught:
        verify(VerifySettings(Location.parse(path)), MPI.COMM_SELF)
    assert caught.value.status == 2


@pytest.mark.parametrize("name", ["catalogue", "source"])
def test_a_catalogue_or_source_that_is_not_there_is_bad_input(tmp_path, name):
    store = make_store(tmp_path, GOOD)
    with pytest.raises(JobError, match=f"--{name}.*{tmp_path}/none") as caught:
        verify(VerifySettings(Location.parse(store), **{name: tmp_path / "none"}), MPI.COMM_SELF)
    assert caught.value.status == 2


def test_a_listed_sensing_time_that_is_seconds_off_still_names_the_product_that_serves_it(tmp_path, outcome):
    listed = PRODUCT.replace("L2A", "L1C").replace("101031", "101033") + ".SAFE"
    store = make_store(tmp_path, GOOD, product=[listed] * len(GOOD))
    assert outcome(store)[0] == 0


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("rows", [2, 7])  # 2 rows on 3 ranks: one rank is empty
def test_the_verdict_is_the_same_whatever_the_rank_count(tmp_path, size, rows):
    store = make_store(tmp_path, [1] * rows)
    change(store, "data_20m", (rows - 1, 0, 0, 0), 9999)
    change(store, "data_60m", (0, 0, 0, 0), 9999)
    done = ranks(size, "etl.verify", str(store))
    assert done.returncode == 1
    assert "NOT GOOD: 2 of 19 checks failed (checksums, statistics)" in done.stdout
    assert done.stdout.index("row 0 ") < done.stdout.index(f"row {rows - 1} ")


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


def test_the_store_of_an_extraction_of_tiles_with_and_without_offset_is_good_to_its_source_pixels(tmp_path):
    steps = (
        ("etl.sample", "--tile-px", "240", "--tiles", "3", "--no-archives", "--workers", "1"),
        ("etl.catalogue", "--source", "data/tiles"),
        ("etl.extract",),
        ("etl.verify", "data/store.h5", "--source", "data/tiles", "--sample", "0"),
    )
    for step in steps:
        done = run(*step, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       source pixels  12 rows, native bands bit for bit" in done.stdout
    change(tmp_path / "data/store.h5", "data_10m", (11, 0, 0, 0), 4321)
    done = run("etl.verify", "--source", "data/tiles", "--sample", "0", folder=tmp_path)
    assert done.returncode == 1
    assert "source 4321" not in done.stdout
    assert "data_10m B02 differs in 1 pixels, first at (0, 0): store 4321" in done.stdout


def test_the_command_ends_with_status_2_where_there_is_no_store(tmp_path):
    done = run("etl.verify", "none.h5", folder=tmp_path)
    assert done.returncode == 2
    assert "no store at none.h5; name an HDF5 file or a Zarr group made by etl.extract" in done.stderr
