"""Names that are not UTF-8, terminals that are not, names that spreadsheets misread, and names of any length."""

import csv
import os
import shutil

import pyarrow.parquet as pq
import pytest
from bad_input import errors, image, job, listed, product_of, put_catalogue, random_pixels, reasons
from commands import content, ranks
from image_archives import make_merced

from etl.catalogue.table import read_catalogue
from etl.sample.safe import write_product
from etl.tables import csv_bytes, unquote_cell

PLAIN = [
    {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("environment", PLAIN, ids=["ascii", "C"])
def test_a_product_whose_path_is_not_utf8_completes_with_a_rejection_on_a_terminal_that_has_only_ascii(
    tmp_path, environment
):
    spec, other = product_of(1), product_of(2)
    put_catalogue(tmp_path / "patches.parquet", listed(spec) + listed(other))
    write_product(tmp_path / "tiles", spec, random_pixels(1))
    broken = write_product(tmp_path / "tiles" / "plain", other, random_pixels(2))
    image(broken, "B05", 20).unlink()
    (tmp_path / "tiles" / "plain").rename(tmp_path / "tiles" / os.fsdecode(b"Th\xfcringen \xff \xc3\xbc"))
    done = job(2, tmp_path, tmp_path / "store.h5", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "4 rejected" in done.stdout
    assert set(content(tmp_path / "store.h5")["state"].tolist()) == {1, 2}
    shown = (r"Th\udcfcringen \udcff ü", r"Th\udcfcringen \udcff \udcc3\udcbc")
    assert all(any(name in reason for name in shown) for reason in reasons(tmp_path / "store.h5").values())
    checked = ranks(1, "etl.verify", str(tmp_path / "store.h5"), environment=environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = job(2, tmp_path, tmp_path / "store.h5", "--resume", environment=environment)
    assert "nothing to do" in again.stdout


def test_an_image_whose_name_is_not_utf8_is_refused_as_a_row(tmp_path):
    archive = make_merced(tmp_path)
    for path in archive.source.iterdir():
        path.rename(path.with_name(path.name.replace(",", "")))
    first = sorted(archive.source.rglob("*.tif"))[0]
    shutil.copy(first, first.with_name(os.fsdecode(b"\xe4.tif")))
    out = tmp_path / "patches.parquet"
    done = ranks(1, "etl.catalogue", "--source", str(archive.source), "--out", str(out), environment=PLAIN[0])
    assert done.returncode == 0, done.stderr
    assert len(pq.read_table(out)) == 12
    assert r"\udce4.tif" in (tmp_path / "patches.rejected.csv").read_text()


LONG = "x" * 100_000
NAMES = {
    "=1+1": "must not begin with =", "+a": "must not begin with =", "-a": "must not begin with =",
    "@a": "must not begin with =", "\ta": "must not begin with =", "X\0": "must not hold the character NUL",
    LONG: "must have at most 255 bytes, got 100000", "x" * 256: "must have at most 255 bytes",
    "ü" * 128: "must have at most 255 bytes",
}  # fmt: skip


@pytest.mark.parametrize("column", ["patch", "product"])
def test_rows_with_names_that_no_store_takes_are_refused_when_the_catalogue_is_read(tmp_path, column):
    good = listed(product_of(1))
    bad = [{**good[0], "patch": f"other_{k}", column: name} for k, name in enumerate(NAMES)]
    put_catalogue(tmp_path / "patches.parquet", [*good, *bad])
    catalogue = read_catalogue(tmp_path / "patches.parquet")
    assert max(array.dtype.itemsize for array in (catalogue.patch, catalogue.product)) <= 255
    assert (catalogue.problem == "").sum() == len(good)
    assert all(any(wanted in text for text in catalogue.problem) for wanted in NAMES.values())
    assert max(map(len, catalogue.problem)) <= 1000
    made = ranks(
        1, "etl.catalogue", "--source", str(tmp_path / "patches.parquet"), "--out", str(tmp_path / "again.parquet")
    )
    assert made.returncode == 0, made.stderr
    assert len(pq.read_table(tmp_path / "again.parquet")) == len(good)
    with (tmp_path / "again.rejected.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(NAMES)


def test_paths_of_images_may_be_longer_than_names_of_files(tmp_path):
    archive = make_merced(tmp_path)
    deep = "/".join(["d" * 200] * 4) + "/a.tif"
    (archive.source / deep).parent.mkdir(parents=True)
    shutil.copy(sorted(archive.source.rglob("*.tif"))[0], archive.source / deep)
    table = tmp_path / "table.csv"
    table.write_text("path,label\n" + "".join(f"{path},a\n" for path in (deep, "e/" * 600 + "b.tif", "=c.tif")))
    out = tmp_path / "patches.parquet"
    done = ranks(1, "etl.catalogue", "--source", str(table), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(out)["patch"].to_pylist() == [deep]
    assert "must have at most 1023 bytes, got 1205" in (tmp_path / "patches.rejected.csv").read_text()


def test_cells_that_begin_as_a_formula_are_quoted_and_read_back(tmp_path):
    cells = ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "'x", "x=1", "", "a\0b", "\udcff", "'=x", "two\nlines"]
    data = csv_bytes(("patch", "row"), [(cell, -1) for cell in cells])
    (tmp_path / "file.csv").write_bytes(data)
    with (tmp_path / "file.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert all(line["row"] == "-1" for line in lines)
    assert not any(line["patch"][:1] in ("=", "+", "-", "@", "\t", "\r") for line in lines)
    expected = [cell.replace("\0", "\\x00").replace("\udcff", "\\udcff") for cell in cells]
    assert [unquote_cell(line["patch"]) for line in lines] == expected


@pytest.mark.parametrize("doubled", ["patch", "labels", "country"])
def test_a_catalogue_with_two_columns_of_one_name_is_refused(tmp_path, doubled):
    put_catalogue(tmp_path / "patches.parquet", listed(product_of(1)))
    table = pq.read_table(tmp_path / "patches.parquet")
    pq.write_table(table.append_column(doubled, table[doubled]), tmp_path / "patches.parquet")
    with pytest.raises(ValueError, match=f"column {doubled} .* must be there once"):
        read_catalogue(tmp_path / "patches.parquet")
    (tmp_path / "tiles").mkdir()
    for command in (
        ("etl.extract", "--catalogue", "patches.parquet", "--source", "tiles", "--out", "store.h5"),
        ("etl.catalogue", "--source", "patches.parquet", "--out", "again.parquet"),
    ):
        done = ranks(1, *command, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert len(errors(done)) == 1
        assert "Traceback" not in done.stderr
