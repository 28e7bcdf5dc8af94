"""The catalogue's table: written, read, put in order, checked."""

import contextlib
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl.catalogue.columns import CATALOGUE_SCHEMA, SENTINEL1_NAME, sort_in_store_order
from etl.catalogue.metadata import detect_nomenclature
from etl.catalogue.table import make_catalogue_table, read_catalogue, read_catalogue_table, write_catalogue
from etl.grid import nominal_origin
from etl.labels import CLASSES_19, CLASSES_43
from etl.schema import SPLITS

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@st.composite
def rows(draw, name=None):
    """One good row of a catalogue."""
    tile = draw(st.sampled_from(["33UUP", "29SND", "35WPN"]))
    grid, i, j = nominal_origin(tile), draw(st.integers(0, 90)), draw(st.integers(0, 90))
    seconds = draw(st.none() | st.integers(1_490_000_000, 1_490_000_003))
    return {
        "patch": name or f"p{draw(st.integers(0, 10**9))}_{i}_{j}",
        "tile": tile,
        "product": draw(st.sampled_from(["one", "other", "Ⅲ"])),
        "acquired": None if seconds is None else datetime.fromtimestamp(seconds, UTC),
        "epsg": grid.epsg,
        "ulx": grid.ulx + 1200 * i,
        "uly": grid.uly - 1200 * j,
        "labels": draw(st.none() | st.lists(st.sampled_from(CLASSES_43), unique=True, max_size=3)),
        "split": draw(st.sampled_from([*SPLITS[1:], None])),
        "snow": draw(st.booleans()),
        "cloud": draw(st.booleans()),
        "country": draw(st.sampled_from([None, "Österreich", "Finland"])),
    }


tables = st.lists(rows(), min_size=1, max_size=12)


def table(*given_rows):
    return pa.Table.from_pylist(list(given_rows), CATALOGUE_SCHEMA)


def one(**changes):
    grid = nominal_origin("33UUP")
    row = {"patch": "a", "tile": "33UUP", "product": "p", "epsg": grid.epsg, "ulx": grid.ulx, "uly": grid.uly}
    return {**row, "labels": ["Pastures"], "snow": False, "cloud": False, **changes}


@in_tmp
@given(tables)
def test_what_is_written_is_read_back_the_same_whatever_the_row_groups(tmp_path, monkeypatch, given_rows):
    monkeypatch.setattr("etl.catalogue.table._ROW_GROUP", 2)
    write_catalogue(tmp_path / "c.parquet", table(*given_rows))
    assert read_catalogue_table(tmp_path / "c.parquet").equals(sort_in_store_order(table(*given_rows)))


@in_tmp
@given(tables)
def test_the_columns_of_a_catalogue_are_those_of_its_table(tmp_path, given_rows):
    write_catalogue(tmp_path / "c.parquet", table(*given_rows))
    catalogue = read_catalogue(tmp_path / "c.parquet")
    wanted = sort_in_store_order(table(*given_rows)).to_pylist()
    assert len(catalogue) == len(wanted)
    for k, row in enumerate(wanted):
        for name in ("patch", "tile", "product", "country"):
            assert getattr(catalogue, name)[k].decode() == (row[name] or "")
        for name in ("epsg", "ulx", "uly", "snow", "cloud"):
            assert getattr(catalogue, name)[k] == row[name]
        assert SPLITS[catalogue.split[k]] == (row["split"] or "none")
        assert {CLASSES_43[c] for c in np.flatnonzero(catalogue.classes[k])} == set(row["labels"] or [])
        time = catalogue.acquired[k]
        assert (None if np.isnat(time) else time.item().replace(tzinfo=UTC)) == row["acquired"]


@given(st.lists(rows() | rows(name="same"), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_store_order_does_not_depend_on_the_order_of_listing(given_rows, random):
    shuffled = random.sample(given_rows, len(given_rows))
    assert sort_in_store_order(table(*given_rows)).equals(sort_in_store_order(table(*shuffled)))


@given(tables)
def test_store_order_is_tile_acquired_product_row_column(given_rows):
    late = datetime.max.replace(tzinfo=UTC)
    keys = [
        (row["tile"], row["acquired"] or late, row["product"], -row["uly"], row["ulx"])
        for row in sort_in_store_order(table(*given_rows)).to_pylist()
    ]
    assert keys == sorted(keys)


@in_tmp
@given(tables, st.data())
def test_taking_rows_takes_them_in_every_column(tmp_path, given_rows, data):
    write_catalogue(tmp_path / "c.parquet", table(*given_rows))
    catalogue = read_catalogue(tmp_path / "c.parquet")
    which = np.array(data.draw(st.lists(st.integers(0, len(catalogue) - 1), max_size=5)), np.intp)
    taken = catalogue.take(which)
    assert len(taken) == len(which)
    assert taken.patch.tolist() == [catalogue.patch[k] for k in which]
    assert (taken.classes == catalogue.classes[which]).all()


@pytest.mark.parametrize(("nomenclature", "label"), [(43, "Rice fields"), (19, "Arable land")])
def test_a_written_catalogue_says_its_nomenclature_and_the_software(tmp_path, nomenclature, label):
    write_catalogue(tmp_path / "c.parquet", table(one(labels=[label])), nomenclature)
    catalogue = read_catalogue(tmp_path / "c.parquet")
    assert (catalogue.nomenclature, catalogue.classes.shape, catalogue.classes.sum()) == (
        nomenclature,
        (1, nomenclature),
        1,
    )
    assert b"sentinel-etl" in pq.read_schema(tmp_path / "c.parquet").metadata[b"software"]


@pytest.mark.parametrize(
    ("labels", "nomenclature"),
    [(["Arable land", "Pastures"], 19), (["Rice fields", "Pastures"], 43), (["Pastures"], 43)],
)
def test_a_table_that_does_not_say_its_nomenclature_has_that_of_its_labels(labels, nomenclature):
    assert detect_nomenclature(table(one(labels=labels))) == nomenclature


def test_other_widths_and_encodings_of_a_type_are_taken(tmp_path):
    wide = {"patch": pa.large_string(), "epsg": pa.int64(), "ulx": pa.int32(), "acquired": pa.timestamp("ns")}
    found = table(one()).cast(pa.schema([(f.name, wide.get(f.name, f.type)) for f in CATALOGUE_SCHEMA]))
    found = found.set_column(1, "tile", found["tile"].dictionary_encode())
    found = found.set_column(found.column_names.index("country"), "country", pa.nulls(1))
    pq.write_table(found, tmp_path / "c.parquet")
    assert read_catalogue_table(tmp_path / "c.parquet").equals(table(one()))


def test_a_failed_write_leaves_the_old_catalogue_and_no_draft(tmp_path):
    write_catalogue(tmp_path / "c.parquet", table(one()))
    with pytest.raises(ValueError, match="column tile"):
        write_catalogue(tmp_path / "c.parquet", table(one()).drop_columns("tile"))
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
    assert len(read_catalogue(tmp_path / "c.parquet")) == 1


@pytest.mark.parametrize("name", [name for name in CATALOGUE_SCHEMA.names if name != SENTINEL1_NAME])
def test_a_missing_column_is_named(tmp_path, name):
    pq.write_table(table(one()).drop_columns(name), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=rf"c\.parquet: column {name} .* must be there"):
        read_catalogue(tmp_path / "c.parquet")


def test_a_catalogue_of_an_older_version_names_no_patch_of_sentinel_1(tmp_path):
    pq.write_table(table(one()).drop_columns(SENTINEL1_NAME), tmp_path / "c.parquet")
    assert read_catalogue(tmp_path / "c.parquet", with_sentinel1=True).s1_name.tolist() == [b""]
    assert read_catalogue(tmp_path / "c.parquet").s1_name is None


@pytest.mark.parametrize("name", CATALOGUE_SCHEMA.names)
def test_a_column_of_another_type_is_named_with_both_types(tmp_path, name):
    wrong = pa.array([b"\x00"], pa.binary(1))
    index = CATALOGUE_SCHEMA.get_field_index(name)
    pq.write_table(table(one()).set_column(index, name, wrong), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=rf"column {name} must be of type .*, got fixed_size_binary"):
        read_catalogue(tmp_path / "c.parquet")


def test_numbers_are_not_read_from_texts(tmp_path):
    texts = table(one()).set_column(CATALOGUE_SCHEMA.get_field_index("ulx"), "ulx", pa.array(["300000"]))
    pq.write_table(texts, tmp_path / "c.parquet")
    with pytest.raises(ValueError, match="column ulx must be of type double, got string"):
        read_catalogue(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    "name", [n for n in CATALOGUE_SCHEMA.names if n not in ("acquired", "labels", "split", "country", SENTINEL1_NAME)]
)
def test_a_column_without_which_a_patch_has_no_place_must_have_a_value_in_every_row(tmp_path, name):
    pq.write_table(table(one(), one(**{name: None})), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=f"column {name} must have a value in every row, but is null in 1"):
        read_catalogue(tmp_path / "c.parquet")


def test_an_unknown_split_is_refused(tmp_path):
    pq.write_table(table(one(split="validation")), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match="train, val, test or null, got 'validation'"):
        read_catalogue(tmp_path / "c.parquet")


def test_an_empty_list_holds_no_patch(tmp_path):
    pq.write_table(table(), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match="holds no patch"):
        read_catalogue(tmp_path / "c.parquet")


@pytest.mark.parametrize("content", [b"", b"patch,tile\n", b"PAR1" + bytes(50)])
def test_what_is_no_parquet_is_refused_by_name(tmp_path, content):
    (tmp_path / "c.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.parquet must be a Parquet file"):
        read_catalogue(tmp_path / "c.parquet")


def test_a_folder_is_no_catalogue(tmp_path):
    with pytest.raises(OSError, match="must be a regular file, got a folder"):
        read_catalogue(tmp_path)


def test_an_unknown_nomenclature_is_refused(tmp_path):
    pq.write_table(table(one()).replace_schema_metadata({"nomenclature": "44"}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet: nomenclature .* must be 43 or 19, got b'44'"):
        read_catalogue(tmp_path / "c.parquet")


def test_an_absent_catalogue_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_catalogue(tmp_path / "c.parquet")


def problems(tmp_path, *given_rows, nomenclature=43):
    write_catalogue(tmp_path / "c.parquet", table(*given_rows), nomenclature)
    catalogue = read_catalogue(tmp_path / "c.parquet")
    return dict(zip(catalogue.patch.tolist(), catalogue.problem.tolist(), strict=True))


def test_a_good_row_has_no_problem(tmp_path):
    assert problems(tmp_path, one(), one(patch="b", labels=None), one(patch="c", labels=[])) == {
        b"a": "",
        b"b": "",
        b"c": "",
    }


def test_an_unknown_label_is_a_problem_and_the_known_ones_stay(tmp_path):
    found = problems(tmp_path, one(labels=["Pastures", "Meadow"]), one(patch="b"))
    assert found == {b"a": "label must be one of the 43 classes, got 'Meadow'", b"b": ""}
    assert read_catalogue(tmp_path / "c.parquet").classes.sum(axis=1).tolist() == [1, 1]


def test_a_label_of_the_other_nomenclature_is_unknown(tmp_path):
    assert "19 classes, got 'Rice fields'" in problems(tmp_path, one(labels=["Rice fields"]), nomenclature=19)[b"a"]
    assert CLASSES_19[2] not in CLASSES_43


def test_of_a_patch_that_is_listed_twice_the_first_row_is_good_and_the_others_are_not(tmp_path):
    grid = nominal_origin("33UUP")
    write_catalogue(tmp_path / "c.parquet", table(one(ulx=grid.ulx + 2400), one(), one(ulx=grid.ulx + 1200)))
    problem = read_catalogue(tmp_path / "c.parquet").problem.tolist()
    assert problem[0] == ""
    assert all("listed more than once: a" in why for why in problem[1:])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ulx": 300010.0}, "patch grid of the tile"),
        ({"ulx": 300000.5}, r"got 300000\.5,"),
        ({"uly": float("nan")}, "got 300000, nan"),
        ({"uly": 5400000.0 + 1200}, "inside its tile of 91 x 91 cells, got row -1, column 0"),
        ({"ulx": 300000.0 + 1200 * 91}, "got row 0, column 91"),
        ({"epsg": 32634}, "epsg must be 32633, that of its tile, got 32634"),
        ({"tile": "33XXX"}, "MGRS 100 km square|UTM zone"),
    ],
)
def test_a_patch_off_its_tiles_grid_is_a_problem(tmp_path, changes, reason):
    found = problems(tmp_path, one(), one(patch="b", **changes))
    assert found[b"a"] == ""
    assert re.search(reason, found[b"b"])


def test_all_problems_of_a_row_are_told(tmp_path):
    found = problems(tmp_path, one(labels=["Meadow"], epsg=1))
    assert "epsg must be" in found[b"a"]
    assert "Meadow" in found[b"a"]


def test_what_a_table_leaves_open_is_null_and_without_snow_and_cloud():
    row = make_catalogue_table(patch=["a"], tile=["33UUP"]).to_pylist()[0]
    assert row == {
        **dict.fromkeys(CATALOGUE_SCHEMA.names),
        "patch": "a",
        "tile": "33UUP",
        "snow": False,
        "cloud": False,
    }


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5))
@example(changes=[(0.8839686792508586, 66)])  # integers of 128 bits, which Arrow does not have
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("catalogue") / "patches.parquet"
    write_catalogue(path, make_catalogue_table(**{name: [value] * 9 for name, value in one().items()}))
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[int(at * len(data))] = value
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        read_catalogue(path)
