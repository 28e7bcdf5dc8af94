"""The command `python -m etl.catalogue` as people and scripts run it, on one rank and on several."""

import csv
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ranks

from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.table import read_catalogue, read_catalogue_table
from etl.grid import nominal_origin

STEM = "S2A_MSIL2A_20170613T101031"
L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
WKT = 'PROJCS["WGS 84 / UTM zone 33N",AUTHORITY["EPSG","32633"]]'


def catalogue(size, source, *flags, cwd=None):
    out = ("--out", str(cwd / "out" / "patches.parquet")) if cwd else ()
    return ranks(size, "etl.catalogue", "--source", str(source), *out, *flags, cwd=cwd)


@pytest.fixture
def archive(tmp_path):
    """Seven patches of version 1 in one row of a tile, the last of them without a good description."""
    grid = nominal_origin("33UUP")
    for i in range(7):
        patch, ulx = f"{STEM}_{i}_0", grid.ulx + 1200 * i
        corners = {"ulx": ulx, "uly": grid.uly, "lrx": ulx + 1200, "lry": grid.uly - 1200}
        said = {"labels": ["Pastures"], "coordinates": corners, "projection": WKT, "tile_source": L1C}
        (tmp_path / "v1" / patch).mkdir(parents=True)
        text = json.dumps(said) if i < 6 else "{"
        (tmp_path / "v1" / patch / f"{patch}_labels_metadata.json").write_text(text)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.csv").write_text(f"{STEM}_0_0\n{STEM}_1_0\n")
    (tmp_path / "lists" / "test.csv").write_text(f"{STEM}_2_0\n")
    (tmp_path / "lists" / "patches_with_seasonal_snow.csv").write_text(f"{STEM}_3_0\n")
    return tmp_path


def rejections(tmp_path):
    with (tmp_path / "out" / "patches.rejected.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("size", [1, 3, 9])  # 9 ranks: two of them have no patch
def test_the_catalogue_is_the_same_whatever_the_rank_count(archive, size):
    done = catalogue(size, archive / "v1", "--lists", str(archive / "lists"), cwd=archive)
    assert done.returncode == 0, done.stderr
    out = archive / "out" / "patches.parquet"
    said = f"6 patches of 1 product: 5 kept, 1 snow, 0 cloud, train 2 val 0 test 1, 1 rejected -> {out}"
    assert done.stdout.splitlines() == [said]
    assert read_catalogue_table(out)["patch"].to_pylist() == [f"{STEM}_{i}_0" for i in range(6)]
    assert [row["patch"] for row in rejections(archive)] == [f"{STEM}_6_0"]
    assert "must be JSON" in rejections(archive)[0]["reason"]


def test_rejections_end_with_status_4_only_under_strict(archive):
    assert catalogue(1, archive / "v1", cwd=archive).returncode == 0
    assert catalogue(2, archive / "v1", "--strict", cwd=archive).returncode == 4
    assert len(read_catalogue(archive / "out" / "patches.parquet")) == 6
    shutil.rmtree(archive / "v1" / f"{STEM}_6_0")
    assert catalogue(1, archive / "v1", "--strict", cwd=archive).returncode == 0
    assert not (archive / "out" / "patches.rejected.csv").exists()


def test_a_dry_run_counts_and_writes_nothing(archive):
    done = catalogue(1, archive / "v1", "--dry-run", cwd=archive)
    assert "6 patches of 1 product" in done.stdout
    assert not (archive / "out").exists()


def test_without_arguments_the_default_folders_are_read_and_written(archive):
    (archive / "data").mkdir()
    (archive / "v1").rename(archive / "data" / "labels")
    (archive / "lists").rename(archive / "data" / "lists")
    done = ranks(1, "etl.catalogue", cwd=archive)
    assert done.stdout.endswith("train 2 val 0 test 1, 1 rejected -> data/patches.parquet\n"), done.stderr
    assert len(read_catalogue(archive / "data" / "patches.parquet")) == 6


def test_a_catalogue_made_from_a_catalogue_is_the_same(archive):
    first = catalogue(1, archive / "v1", "--lists", str(archive / "lists"), cwd=archive)
    before = read_catalogue_table(archive / "out" / "patches.parquet")
    assert first.returncode == 0
    shuffled = before.take(pa.array([4, 0, 5, 2, 1, 3]))
    pq.write_table(shuffled, archive / "shuffled.parquet")
    assert catalogue(1, archive / "shuffled.parquet", cwd=archive).returncode == 0
    assert read_catalogue_table(archive / "out" / "patches.parquet").equals(before)


def test_rows_that_cannot_be_extracted_stay_and_are_told(archive):
    catalogue(1, archive / "v1", cwd=archive)
    rows = read_catalogue_table(archive / "out" / "patches.parquet").to_pylist()
    rows[1]["labels"] = ["Meadow"]
    pq.write_table(pa.Table.from_pylist([*rows, rows[0]], CATALOGUE_SCHEMA), archive / "odd.parquet")
    done = catalogue(1, archive / "odd.parquet", cwd=archive)
    assert done.returncode == 0
    assert "2 of 7 patches cannot be extracted as listed" in done.stderr
    assert len(read_catalogue(archive / "out" / "patches.parquet")) == 7


@pytest.mark.parametrize("flags", [(), ("--strict",), ("--dry-run",)])
def test_when_no_patch_can_be_extracted_the_catalogue_is_kept_and_the_status_is_2(archive, flags):
    catalogue(1, archive / "v1", cwd=archive)
    kept = archive / "out" / "patches.parquet"
    rows = [{**row, "labels": ["Meadow"]} for row in read_catalogue_table(kept).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, CATALOGUE_SCHEMA), archive / "odd.parquet")
    kept.unlink()
    done = catalogue(1, archive / "odd.parquet", *flags, cwd=archive)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"none of 6 patches can be extracted as listed; the first: {STEM}_0_0: label must be one of" in line
    assert kept.exists() == ("--dry-run" not in flags)


def test_when_all_patches_are_marked_as_snow_or_cloud_a_warning_names_the_flags_that_extract_them(archive):
    (archive / "lists" / "patches_with_seasonal_snow.csv").write_text("".join(f"{STEM}_{i}_0\n" for i in range(4)))
    (archive / "lists" / "patches_with_cloud_and_shadow.csv").write_text("".join(f"{STEM}_{i}_0\n" for i in (4, 5)))
    done = catalogue(1, archive / "v1", "--lists", str(archive / "lists"), cwd=archive)
    assert done.returncode == 0
    assert "needs --keep-snow or --keep-cloud: 6 of 6 patches are marked as snow or cloud" in done.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--source", "absent"), "--source absent does not exist"),
        (("--source", "lists"), "lists holds no patches, products or lists"),
        (("--source", "v1", "--lists", "absent"), "--lists must be a folder of published lists, got absent"),
        (("--source", "v1", "--lists", "v1"), "must hold at least one of train.csv"),
        (("--source", "v1", "--lists", "others"), "no list in others names any of its 6 patches"),
        (("--source", "bad"), "bad holds no patch; of 1 rejected the first is"),
        (("--source", "v1", "--out", "lists"), "--out must be a file"),
        (("--sorce", "v1"), "did you mean --source"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_clear_line(archive, flags, reason):
    (archive / "others").mkdir()
    (archive / "others" / "train.csv").write_text(f"{STEM}_80_80\n")
    (archive / "bad" / f"{STEM}_0_0").mkdir(parents=True)
    done = ranks(1, "etl.catalogue", *flags, cwd=archive)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count(reason) == 1
    assert "Traceback" not in done.stderr
    assert not (archive / "data" / "patches.parquet").exists()


@pytest.mark.parametrize("flags", [("--source", "absent"), ("--source", "v1", "--lists", "v1"), ("--sorce", "v1")])
def test_bad_input_is_told_once_by_many_ranks_and_none_hangs(archive, flags):
    done = ranks(3, "etl.catalogue", *flags, cwd=archive)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1


def test_a_version_2_folder_is_described_by_the_table_beside_it(tmp_path):
    stem = f"{STEM}_N9999_R022_T33UUP"
    said = {"patch_id": f"{stem}_03_07", "labels": ["Pastures"], "split": "test", "country": "Austria"}
    said |= {"contains_seasonal_snow": False, "contains_cloud_or_shadow": False}
    pq.write_table(pa.Table.from_pylist([said]), tmp_path / "metadata.parquet")
    (tmp_path / "BigEarthNet-S2" / stem / f"{stem}_03_07").mkdir(parents=True)
    done = catalogue(1, "BigEarthNet-S2", cwd=tmp_path)
    assert "1 patch of 1 product: 1 kept, 0 snow, 0 cloud, train 0 val 0 test 1, 0 rejected" in done.stdout, done.stderr
    assert read_catalogue(tmp_path / "out" / "patches.parquet").nomenclature == 19


@pytest.mark.parametrize(
    "line", ["/data/BigEarthNet-v1.0/{0}", "'{0}'", "{0}_B02.tif", "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57;{0}"]
)
def test_an_exclusion_list_excludes_in_whatever_form_its_names_are(archive, line):
    cloudy = [line.format(f"{STEM}_{i}_0") for i in (4, 5)]
    (archive / "lists" / "patches_with_cloud_and_shadow.csv").write_text("\ufeff" + "\r\n".join(cloudy))
    done = catalogue(1, archive / "v1", "--lists", "lists", cwd=archive)
    assert "6 patches of 1 product: 3 kept, 1 snow, 2 cloud" in done.stdout, done.stderr
    assert "no effect" not in done.stderr


@pytest.mark.parametrize("name", ["S2B_MSIL2A_20180204T94161_1_0", f"{STEM}_80_80", "0_0"])
def test_a_list_that_matches_nothing_beside_one_that_does_is_told_and_ends_with_4_under_strict(archive, name):
    shutil.rmtree(archive / "v1" / f"{STEM}_6_0")
    (archive / "lists" / "patches_with_cloud_and_shadow.csv").write_text(f"{name}\n")
    done = catalogue(1, archive / "v1", "--lists", "lists", "--strict", cwd=archive)
    (told,) = [line for line in done.stderr.splitlines() if "no effect" in line]
    assert told.startswith("patches_with_cloud_and_shadow.csv: ")
    assert f"the list has {name}, the source has {STEM}_0_0" in told
    assert done.returncode == 4
    assert catalogue(1, archive / "v1", "--lists", "lists", cwd=archive).returncode == 0


def test_padded_names_exclude_patches_of_a_small_part_of_the_archive(archive):
    shutil.rmtree(archive / "v1" / f"{STEM}_6_0")
    (archive / "lists" / "train.csv").write_text("".join(f"{STEM}_{i}_0\n" for i in range(30)))
    (archive / "lists" / "test.csv").unlink()
    snow = archive / "lists" / "patches_with_seasonal_snow.csv"
    for listed, count in ((range(4, 8), 2), (range(8, 12), 0)):
        snow.write_text("".join(f"{STEM}_{i:03d}_000\n" for i in listed))
        done = catalogue(1, archive / "v1", "--lists", "lists", "--strict", cwd=archive)
        assert f"kept, {count} snow, 0 cloud" in done.stdout, done.stderr
        assert (done.returncode, "no effect" in done.stderr) == (0, False)


def test_a_copy_of_a_list_and_other_texts_are_told_once_with_an_example(archive):
    for name in ("patches_with_cloud_and_shadow (1).csv", "notes.txt"):
        (archive / "lists" / name).write_text(f"{STEM}_4_0\n")
    (archive / "lists" / "test.csv").rename(archive / "lists" / "Test.TXT")
    done = catalogue(1, archive / "v1", "--lists", "lists", cwd=archive)
    assert "5 kept, 1 snow, 0 cloud, train 2 val 0 test 1" in done.stdout, done.stderr
    assert done.stderr.count("not read: 2 files in lists, the first is patches_with_cloud_and_shadow (1).csv") == 1


def test_lists_in_the_default_folder_that_are_of_another_archive_are_not_used(archive):
    shutil.rmtree(archive / "v1" / f"{STEM}_6_0")
    (archive / "data" / "lists").mkdir(parents=True)
    (archive / "data" / "lists" / "train.csv").write_text("S2B_MSIL2A_20180204T94161_1_0\n")
    done = catalogue(1, archive / "v1", "--strict", cwd=archive)
    assert done.returncode == 0, done.stderr
    assert "the lists in data/lists are not used" in done.stderr


@pytest.mark.parametrize(("listed", "status"), [((3, 5), 0), ((1, 6), 0), ((5, 6), 4)])
def test_patches_that_a_table_lists_and_a_version_2_folder_lacks_are_counted(tmp_path, listed, status):
    stem = f"{STEM}_N9999_R022_T33UUP"
    for i in range(4):
        (tmp_path / "BigEarthNet-S2" / stem / f"{stem}_0{i}_00").mkdir(parents=True)
    said = {"labels": ["Pastures"], "split": "test", "country": "Austria"}
    said |= {"contains_seasonal_snow": False, "contains_cloud_or_shadow": False}
    rows = [{"patch_id": f"{stem}_0{i}_00", **said} for i in range(listed[0], listed[1] + 4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    (tmp_path / "train.csv").write_text(f"{stem}_00_00\n")
    done = catalogue(1, "BigEarthNet-S2", "--strict", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    matched = len([i for i in range(4) if i >= listed[0]])
    assert f"metadata.parquet: {matched} of {len(rows)} names match {matched} of 4 patches" in done.stderr
    assert ("no effect" in done.stderr, "less than half" in done.stderr) == (matched == 0, 0 < matched < len(rows) / 2)
    assert f"{tmp_path} also holds train.csv; they are not used" in done.stderr


def test_what_was_passed_over_is_counted_and_under_v_listed_once_by_many_ranks(archive):
    (archive / "v1" / "x.zip").write_bytes(b"")
    for flags, told in ((), 0), (("-v",), 1), (("--verbose",), 1):
        done = catalogue(2, archive / "v1", *flags, cwd=archive)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("v1: found 7 patches; 1 passed over, listed with -v") == 1
        assert done.stderr.count("x.zip lies among patches, but is not named like one") == told


@pytest.mark.parametrize("size", [1, 2])
def test_an_output_that_cannot_be_written_ends_with_status_1(archive, size):
    done = ranks(size, "etl.catalogue", "--source", "v1", "--out", "/dev/null/patches.parquet", cwd=archive)
    assert done.returncode == 1, done.stderr
    assert "/dev/null" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_setting_with_its_default():
    done = ranks(1, "etl.catalogue", "--help")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0
    for part in (
        "--source PATH",
        "default: data/labels",
        "--lists PATH",
        "data/patches.parquet",
        "--strict",
        "--dry-run",
    ):
        assert part in text
