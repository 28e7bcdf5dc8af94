"""A catalogue in store order is read batch by batch: the same columns as a table that is read whole."""

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.catalogue import parquet_file
from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.in_order import read_in_order, repeated_rows
from etl.catalogue.metadata import image_metadata
from etl.catalogue.table import read_catalogue, write_catalogue
from etl.grid import nominal_origin

GRID = nominal_origin("33UUP")


def row(k: int, **changes):
    """One good row, at the k-th column of the tile's grid."""
    place = {"tile": "33UUP", "product": "product", "epsg": GRID.epsg, "ulx": GRID.ulx + 1200 * k, "uly": GRID.uly}
    labels = {"labels": ["Pastures", "Rice fields"][: k % 3], "split": "train", "snow": False, "cloud": False}
    return {
        "patch": f"p{k}",
        "acquired": datetime(2017, 6, 13, tzinfo=UTC),
        "country": "Österreich",
        **place,
        **labels,
    } | changes


ODD = st.sampled_from(
    [
        {"patch": "same"},
        {"patch": "a name of more bytes than the others, ü"},
        {"labels": ["no such class", "Pastures"]},
        {"labels": None, "split": None, "country": None, "acquired": None},
        {"ulx": GRID.ulx + 7},
        {"ulx": float("inf")},
        {"epsg": 4326, "labels": ["no such class"]},
        {"tile": "nowhere"},
        {"snow": True},
        {"cloud": True, "patch": "same"},
        {},
    ]
)


def write_both(folder: Path, rows: list[dict]) -> tuple[Path, Path]:
    """The same rows as `etl.catalogue` writes them, and from last to first."""
    table = pa.Table.from_pylist(rows, CATALOGUE_SCHEMA)
    write_catalogue(folder / "ordered.parquet", table)
    ordered = pq.read_table(folder / "ordered.parquet")
    pq.write_table(ordered.take(np.arange(len(rows))[::-1]), folder / "other.parquet")
    return folder / "ordered.parquet", folder / "other.parquet"


@given(
    changes=st.lists(ODD, min_size=2, max_size=20),
    batch=st.integers(1, 7),
    keep=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_in_order_gives_the_columns_and_problems_of_reading_whole(tmp_path, monkeypatch, changes, batch, keep):
    monkeypatch.setattr(parquet_file, "_BATCH_ROWS", batch)
    ordered, other = write_both(tmp_path, [row(k, **change) for k, change in enumerate(changes)])
    assert read_in_order(ordered) is not None
    one, two = read_catalogue(ordered, *keep), read_catalogue(other, *keep)
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        np.testing.assert_array_equal(first, second, err_msg=field.name)
        assert getattr(first, "dtype", None) == getattr(second, "dtype", None), field.name


@pytest.mark.parametrize("name", ["=formula", "nul\0", "x" * 256])
def test_a_table_with_a_name_that_cannot_be_used_is_read_whole(tmp_path, name):
    ordered, _ = write_both(tmp_path, [row(0), row(1, patch=name)])
    assert read_in_order(ordered) is None
    assert (read_catalogue(ordered).problem != "").tolist() == [False, True]


def test_a_table_in_another_order_or_without_its_classes_is_read_whole(tmp_path):
    ordered, other = write_both(tmp_path, [row(k) for k in range(5)])
    assert read_in_order(other) is None
    table = pq.read_table(ordered)
    for metadata in (None, image_metadata(["a"])):
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "unstated.parquet")
        assert read_in_order(tmp_path / "unstated.parquet") is None


def test_a_table_that_is_not_what_it_should_be_is_refused_with_the_count_over_all_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "_BATCH_ROWS", 2)
    ordered, _ = write_both(tmp_path, [row(k) for k in range(5)])
    table = pq.read_table(ordered)
    pq.write_table(table.set_column(0, "patch", pa.nulls(5, pa.string())), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="column patch must have a value in every row, but is null in 5"):
        read_catalogue(tmp_path / "bad.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="must be a Parquet file"):
        read_catalogue(tmp_path / "bad.parquet")
    with pytest.raises(FileNotFoundError):
        read_catalogue(tmp_path / "absent.parquet")


@given(st.lists(st.integers(0, 30).map(lambda k: f"{k:019}".encode()), min_size=1, max_size=60))
def test_the_first_of_equal_names_is_not_repeated(names):
    again = [k for k, name in enumerate(names) if name in names[:k]]
    assert repeated_rows(np.array(names, "S19")) == again
