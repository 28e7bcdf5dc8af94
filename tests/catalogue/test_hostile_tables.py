"""Tables, lists and image files made to read other files, to wait, or to fill memory: refused, or rejected by row."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import content
from hostile import SECRET, make_fifo, make_link, vrt_of
from mpi4py import MPI

from etl.catalogue import images, list_file, parquet_file
from etl.catalogue.__main__ import catalogue
from etl.catalogue.build import CatalogueSettings
from etl.catalogue.images import read_image_table
from etl.catalogue.list_file import read_names
from etl.catalogue.lists import read_lists
from etl.catalogue.parquet_file import read_parquet
from etl.catalogue.source_kind import detect_source
from etl.catalogue.table import read_catalogue
from etl.exit_status import JobError
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.input_files import Links
from etl.raster import write_geotiff
from etl.store.location import Location
from etl.verify.run import verify
from etl.verify.settings import VerifySettings

NAME = "S2A_MSIL2A_20170613T101031_87_48"


@pytest.mark.parametrize("name", ["train.csv", "patches_with_seasonal_snow.csv.gz", "patch_to_l1c_product.csv"])
def test_a_list_that_is_no_regular_file_or_leads_out_of_its_folder_is_refused_at_once(tmp_path, name):
    folder, path = tmp_path / "lists", tmp_path / "lists" / name
    folder.mkdir()
    make_fifo(path)
    with pytest.raises(ValueError, match=rf"{name} must be a regular file, got a FIFO"):
        read_lists(folder, links=Links.into(folder))
    for target in ("/dev/zero", "/etc/passwd"):
        make_link(path, target)
        with pytest.raises(ValueError, match=rf"{name} is a link that leads out of --source, to {target}; "):
            read_lists(folder, links=Links.into(folder))
    make_link(path, "/dev/zero")
    with pytest.raises(ValueError, match="must be a regular file, got a device"):
        read_lists(folder, links=Links.into(Path("/dev")))


def test_a_list_is_read_up_to_a_limit_after_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr(list_file, "_MOST_BYTES", 1 << 20)
    with gzip.open(tmp_path / "train.csv.gz", "wb") as file:
        file.write(bytes(8 << 20))
    (tmp_path / "train.csv").write_bytes(b" " * (2 << 20))
    for name in ("train.csv", "train.csv.gz"):
        with pytest.raises(ValueError, match=f"{name} must be a list of at most 1048576 bytes, got more"):
            read_names(tmp_path / name)
    (tmp_path / "train.csv").write_text(f"{NAME}\n" * 1000)
    assert len(read_names(tmp_path / "train.csv")) == 1000


@pytest.mark.parametrize("name", ["x", "x.csv", "x.parquet", "x.zip", "x.SAFE"])
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_a_source_that_is_no_file_or_folder_is_refused_at_once(tmp_path, name, kind):
    if kind == "FIFO":
        make_fifo(tmp_path / name)
    else:
        make_link(tmp_path / name, "/dev/zero")
    with pytest.raises(ValueError, match=rf"--source .*{name} must be a regular file, got a {kind}"):
        detect_source(tmp_path / name)


def test_tables_in_a_folder_that_are_fifos_or_lead_out_are_passed_over(tmp_path):
    (tmp_path / NAME).mkdir()
    make_fifo(tmp_path / "metadata.parquet")
    make_link(tmp_path / "other.parquet", "/dev/zero")
    make_fifo(tmp_path / "train.csv")
    assert detect_source(tmp_path).kind == "v1"
    assert {path.name for path, _ in detect_source(tmp_path).passed_over} == {
        "metadata.parquet", "other.parquet", "train.csv",
    }  # fmt: skip


def test_a_small_parquet_file_of_very_many_rows_is_refused_by_its_own_account(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"patch": pa.nulls(60_000_000, pa.int8())}), path)
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match="at most 50000000 rows and 8589934592 bytes, got 60000000 rows"):
        read_parquet(path)
    pq.write_table(pa.table({"patch": pa.array(["x" * 10_000] * 100_000)}), path)  # one text, repeated
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(parquet_file, "_MOST_BYTES", 200 << 20)
    with pytest.raises(ValueError, match="must have at most 209715200 bytes in memory, got more"):
        read_parquet(path)


@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_a_catalogue_that_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "patches.parquet"
    if kind == "FIFO":
        make_fifo(path)
    else:
        make_link(path, "/dev/zero")
    with pytest.raises(OSError, match=rf"patches\.parquet must be a regular file, got a {kind}"):
        read_catalogue(path)


def test_a_table_is_read_the_same_in_batches(tmp_path):
    table = pa.table({"a": range(40_000), "labels": [["x", str(k)] for k in range(40_000)]})
    pq.write_table(table.replace_schema_metadata({"kind": "images"}), tmp_path / "a.parquet", row_group_size=9_999)
    assert read_parquet(tmp_path / "a.parquet").equals(table)
    assert read_parquet(tmp_path / "a.parquet").schema.metadata == {b"kind": b"images"}
    assert read_parquet(tmp_path / "a.parquet", ["labels"]).column_names == ["labels"]


def test_a_table_of_texts_has_a_limit_and_a_heading_without_end_is_no_heading(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"path," + b"x" * 10_000_000)
    with pytest.raises(ValueError, match=r"a\.csv: "):
        read_image_table(path)
    path.write_text("path\na.tif\n")
    monkeypatch.setattr(images, "_MOST_BYTES", 5)
    with pytest.raises(ValueError, match=r"a\.csv: must have at most 5 bytes, got 11"):
        read_image_table(path)


# --- image files ------------------------------------------------------------------------------------------------------

SIDE = 32


def put_image(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_geotiff(path, np.full((3, SIDE, SIDE), value, np.uint8), None)


HOSTILE = {
    "vrt.png": (lambda p, other: p.write_text(vrt_of(other, SIDE, "Byte")), "vrt.png cannot be opened"),
    "fifo.tif": (lambda p, _: make_fifo(p), "must be a regular file, got a FIFO"),
    "device.tif": (lambda p, _: make_link(p, "/dev/zero"), "is a link that leads out of --source"),
    "link.tif": (lambda p, other: make_link(p, other), "is a link that leads out of --source"),
    "loop.tif": (lambda p, _: make_link(p, p), "cannot be opened"),
    "folder/a.tif": (lambda p, other: p.parent.symlink_to(other.parent), "is a link that leads out of --source"),
    "../elsewhere/a.tif": (lambda p, _: None, "path must lie below --source"),
    "{a}.tif": (lambda p, _: put_image(p, 7), "path must lie below --source"),
    "/vsicurl/http://127.0.0.1:9/a.tif": (lambda p, _: None, "path must lie below --source"),
    "GTIFF_DIR:1:good.tif": (lambda p, _: None, "cannot be opened"),
}


def test_hostile_image_files_and_names_are_rejected_by_row_and_the_others_are_made(tmp_path, monkeypatch):
    source, other = tmp_path / "source", tmp_path / "elsewhere" / "a.tif"
    put_image(source / "good.tif", 1)
    put_image(source / "inside.tif", 2)
    (source / "inner.tif").symlink_to("inside.tif")
    put_image(other, SECRET % 251)
    for name, (make, _) in HOSTILE.items():
        make(source / name, other)
    names = ["good.tif", "inner.tif", *HOSTILE, str(other)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, "x") for name in names)])
    monkeypatch.chdir(tmp_path)
    table, out = tmp_path / "p.parquet", Location.parse("store.h5")
    assert catalogue(CatalogueSettings(source=tmp_path / "t.csv", out=table), MPI.COMM_SELF) == 0
    settings = ExtractSettings(table, Path("source"), out, "none", write="independent")
    assert extract(settings, MPI.COMM_SELF) == 0
    store = content(out.path)
    with Path("store.rejected.csv").open(newline="") as file:
        said = {row["patch"]: row["reason"] for row in csv.DictReader(file)}
    wanted = {**{name: reason for name, (_, reason) in HOSTILE.items()}, str(other): "path must lie below --source"}
    assert {name: reason for name, reason in wanted.items() if reason not in said.get(name, "")} == {}
    assert len(said) == len(wanted)
    assert sorted(store["data_images"][store["state"] == 1][:, 0, 0, 0].tolist()) == [1, 2]
    checks = VerifySettings(out, source=Path("source"), sample=0)
    assert verify(checks, MPI.COMM_SELF) == 0


def test_links_of_image_files_are_followed_where_they_may_lead(tmp_path, monkeypatch):
    """Files as git-annex keeps them: links to objects beside the folder that is the source."""
    source, objects = tmp_path / "repository" / "images", tmp_path / "repository" / ".git" / "annex" / "objects"
    for k in range(3):
        put_image(objects / f"{k}" / "KEY", k + 1)
        (source / "x").mkdir(parents=True, exist_ok=True)
        (source / "x" / f"{k}.tif").symlink_to(os.path.relpath(objects / f"{k}" / "KEY", source / "x"))
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "p.parquet"
    assert catalogue(CatalogueSettings(source=source, out=table), MPI.COMM_SELF) == 0
    for allowed, made in (((), 0), ((tmp_path / "other", tmp_path / "repository" / ".git"), 3)):
        out = Location.parse(f"{made}.h5")
        settings = ExtractSettings(table, source, out, "none", write="independent", allow_links=allowed)
        if made:
            assert extract(settings, MPI.COMM_SELF) == 0
            assert sorted(content(out.path)["data_images"][:, 0, 0, 0].tolist()) == [1, 2, 3]
            checks = VerifySettings(out, source=source, sample=0, allow_links=allowed)
            assert verify(checks, MPI.COMM_SELF) == 0
            assert verify(VerifySettings(out, source=source, sample=0), MPI.COMM_SELF) == 1
        else:
            with pytest.raises(JobError, match="is a link that leads out of --source"):
                extract(settings, MPI.COMM_SELF)
