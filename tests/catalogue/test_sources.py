"""Each published form of patch lists, read into rows of a catalogue."""

import gzip
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.bigearthnet_v2 import join_v2_metadata, list_v2_patches, read_v2, read_v2_metadata
from etl.catalogue.cells import list_grid_cells
from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.finder import find_products
from etl.catalogue.lists import find_lists, join_lists, list_patches, read_lists, unread_files
from etl.catalogue.source_kind import detect_source
from etl.catalogue.table import make_catalogue_table
from etl.grid import TileGrid, nominal_origin
from etl.product_files import ProductFiles
from etl.product_metadata import read_tile_grid

PATCH = "S2A_MSIL2A_20170613T101031_26_57"
V2_PATCH = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
L2A = "S2A_MSIL2A_20170613T101031_N0500_R022_T33UUP_20230101T000000"
WKT = 'PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]],AUTHORITY["EPSG","32633"]]'
GRID = nominal_origin("33UUP")
ULX, ULY = GRID.ulx + 26 * 1200, GRID.uly - 57 * 1200


def description(**changes):
    corners = {"ulx": ULX, "uly": ULY, "lrx": ULX + 1200, "lry": ULY - 1200}
    found = {"labels": ["Pastures"], "coordinates": corners, "projection": WKT, "tile_source": L1C}
    return {**found, "acquisition_date": "2017-06-13 10:10:31", **changes}


def put_v1(folder, patch=PATCH, content=None):
    (folder / patch).mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content or description())
    (folder / patch / f"{patch}_labels_metadata.json").write_text(text)


def put_lists(folder, **lists):
    folder.mkdir(exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def put_metadata(path, **changes):
    row = {"patch_id": V2_PATCH, "labels": ["Arable land"], "split": "validation", "country": "Austria"}
    row |= {"contains_seasonal_snow": False, "contains_cloud_or_shadow": True, "s2v1_name": PATCH, **changes}
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row]), path)
    return path


def tile_xml(grid=GRID, side=2400, **changes):
    said = {"code": f"EPSG:{grid.epsg}", "rows": side, "columns": side, "ulx": grid.ulx, "uly": grid.uly, **changes}
    return """<?xml version="1.0"?><n1:Level-2A_Tile_ID xmlns:n1="urn:x"><n1:Geometric_Info><Tile_Geocoding>
      <HORIZONTAL_CS_CODE>{code}</HORIZONTAL_CS_CODE>
      <Size resolution="20"><NROWS>1</NROWS><NCOLS>1</NCOLS></Size>
      <Size resolution="10"><NROWS>{rows}</NROWS><NCOLS>{columns}</NCOLS></Size>
      <Geoposition resolution="10"><ULX>{ulx}</ULX><ULY>{uly}</ULY></Geoposition>
      </Tile_Geocoding></n1:Geometric_Info></n1:Level-2A_Tile_ID>""".format(**said).encode()


def put_product(folder, name=L2A, zipped=False, xml=None):
    tile = name.split("_")[5]
    inside = f"{name}.SAFE/GRANULE/L2A_{tile}_A010320_20170613T101608/MTD_TL.xml"
    folder.mkdir(exist_ok=True)
    if zipped:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(inside, xml or tile_xml())
        return folder / f"{name}.zip"
    (folder / inside).parent.mkdir(parents=True)
    (folder / inside).write_bytes(xml or tile_xml())
    return folder / f"{name}.SAFE"


# Version 1 -----------------------------------------------------------------------------------------------------------


def test_a_version_1_patch_says_its_labels_place_and_product(tmp_path):
    put_v1(tmp_path)
    rows, rejected = read_v1([PATCH], lambda name: [tmp_path / name])
    assert rejected == []
    row = rows.to_pylist()[0]
    assert (row["patch"], row["tile"], row["product"], row["epsg"]) == (PATCH, "33UUP", L1C, 32633)
    assert (row["ulx"], row["uly"], row["labels"]) == (ULX, ULY, ["Pastures"])
    assert row["acquired"].isoformat() == "2017-06-13T10:10:31+00:00"
    assert (row["split"], row["snow"], row["cloud"], row["country"]) == (None, False, False, None)


def test_an_unknown_label_stays_in_the_row(tmp_path):
    put_v1(tmp_path, content=description(labels=["Meadow"]))
    assert read_v1([PATCH], lambda name: [tmp_path / name])[0]["labels"].to_pylist() == [["Meadow"]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must be JSON"),
        ('{"labels": [', "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "lacks labels, coordinates, projection, tile_source"),
        ("{}", "lacks labels"),
        (description(labels="Pastures"), "labels must be a list of names, got 'Pastures'"),
        (description(labels=[1]), "labels must be a list of names"),
        (description(coordinates=[1, 2]), "coordinates must hold ulx, uly, lrx, lry"),
        (description(coordinates={"ulx": 1, "uly": 2, "lrx": 3}), "coordinates must hold"),
        (description(coordinates={"ulx": "1", "uly": 2, "lrx": 3, "lry": 4}), "coordinates must hold"),
        (description(coordinates={"ulx": 0, "uly": 0, "lrx": 600, "lry": -1200}), "1200 m, got 600 x 1200"),
        (description(coordinates={"ulx": float("nan"), "uly": 0, "lrx": 1, "lry": 1}), "must hold ulx"),
        (description(projection="somewhere"), "must be well-known text that ends in its EPSG code, got 'somewhere'"),
        (description(projection=None), "must be texts"),
        (description(tile_source="S2A"), "product must be named like"),
        (description(tile_source=None), "must be texts"),
    ],
)
def test_a_bad_description_rejects_its_patch_with_the_reason_and_no_other(tmp_path, content, reason):
    put_v1(tmp_path, content=content)
    put_v1(tmp_path, "S2A_MSIL2A_20170613T101031_1_1")
    rows, rejected = read_v1([PATCH, "S2A_MSIL2A_20170613T101031_1_1"], lambda name: [tmp_path / name])
    assert [patch for patch, _ in rejected] == [PATCH]
    assert reason in rejected[0][1]
    assert len(rows) == 1


def test_a_patch_without_description_is_rejected(tmp_path):
    (tmp_path / PATCH).mkdir()
    rows, rejected = read_v1([PATCH], lambda name: [tmp_path / name])
    assert (len(rows), rows.schema) == (0, CATALOGUE_SCHEMA)
    assert rejected == [(PATCH, f"{PATCH}_labels_metadata.json must be in the patch's folder, but is missing")]


def test_a_share_of_no_patches_is_an_empty_table(tmp_path):
    rows, rejected = read_v1([], lambda name: [tmp_path / name])
    assert (len(rows), rows.schema, rejected) == (0, CATALOGUE_SCHEMA, [])


# Version 2 -----------------------------------------------------------------------------------------------------------


def test_a_version_2_table_says_all_but_the_place_which_its_names_say(tmp_path):
    rows, rejected = read_v2([put_metadata(tmp_path / "metadata.parquet")])
    assert rejected == []
    row = rows.to_pylist()[0]
    assert (row["patch"], row["product"]) == (V2_PATCH, V2_PATCH.removesuffix("_26_57"))
    assert (row["tile"], row["epsg"], row["ulx"], row["uly"]) == ("33UUP", 32633, ULX, ULY)
    assert (row["labels"], row["split"], row["country"]) == (["Arable land"], "val", "Austria")
    assert (row["snow"], row["cloud"]) == (False, True)


@pytest.mark.parametrize(
    "name", ["", "nothing", PATCH, V2_PATCH.removesuffix("_26_57"), V2_PATCH.replace("33UUP", "33XXX")]
)
def test_a_version_2_name_that_does_not_place_its_patch_rejects_it(tmp_path, name):
    rows, rejected = read_v2(
        [put_metadata(tmp_path / "m.parquet", patch_id=name), put_metadata(tmp_path / "n.parquet")]
    )
    assert (len(rows), [patch for patch, _ in rejected]) == (1, [name])


@pytest.mark.parametrize("name", ["patch_id", "labels", "split", "country", "contains_seasonal_snow"])
def test_a_missing_column_of_a_version_2_table_is_named(tmp_path, name):
    path = put_metadata(tmp_path / "m.parquet")
    pq.write_table(pq.read_table(path).drop_columns(name), path)
    with pytest.raises(ValueError, match=rf"m\.parquet: column {name} must be there"):
        read_v2([path])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "labels",
            "['Arable land']",
            r"list<item: string>, got string, such as \"\['Arable land'\]\"; write a list of",
        ),
        ("labels", [3, 7], r"list<item: string>, got list<.*int64>, such as \[3, 7\]; write a list of class names"),
        ("patch_id", 17, "string, got int64, such as 17"),
        ("split", ["train"], r"string, got list<.*string>, such as \['train'\]"),
        ("contains_seasonal_snow", "False", "bool, got string, such as 'False'"),
    ],
)
def test_a_column_of_a_version_2_table_of_another_type_is_named_with_what_came(tmp_path, name, value, reason):
    path = put_metadata(tmp_path / "m.parquet", **{name: value})
    with pytest.raises(ValueError, match=rf"m\.parquet: column {name} must be of type {reason}"):
        read_v2([path])


def test_flags_of_a_version_2_table_may_be_numbers(tmp_path):
    rows, _ = read_v2([put_metadata(tmp_path / "m.parquet", contains_seasonal_snow=1, contains_cloud_or_shadow=0)])
    assert (rows["snow"].to_pylist(), rows["cloud"].to_pylist()) == ([True], [False])


def test_a_version_2_folder_is_described_by_a_table_that_lies_elsewhere(tmp_path):
    rows, rejected = list_v2_patches(pa.chunked_array([[V2_PATCH, V2_PATCH.replace("26_57", "01_02")]]))
    described, named = join_v2_metadata(rows, read_v2_metadata([put_metadata(tmp_path / "m.parquet")]))
    assert (named, rejected) == (1, [])
    assert described["labels"].to_pylist() == [["Arable land"], None]
    assert described["split"].to_pylist() == ["val", None]


# Published lists -----------------------------------------------------------------------------------------------------


def rows_of(*patches):
    return make_catalogue_table(patch=list(patches), tile=["33UUP"] * len(patches), product=["p"] * len(patches))


@pytest.mark.parametrize("heading", ["", "patch\n"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_splits_and_exclusions_are_joined_by_name_whatever_the_line_ends_and_heading(tmp_path, heading, ending):
    text = heading.replace("\n", ending)
    lists = read_lists(
        put_lists(
            tmp_path,
            train=f"{text}a_1_1{ending}",
            val=f"{text}b_1_1{ending}z_9_9{ending}",
            patches_with_seasonal_snow=f"{text}c_1_1{ending}",
            patches_with_cloud_and_shadow=f"{text}d_1_1{ending}c_1_1",
        )
    )
    joined, rejected, coverages = join_lists(rows_of("a_1_1", "b_1_1", "c_1_1", "d_1_1", "e_1_1"), lists)
    assert rejected == []
    assert {c.name: (c.names, c.patches) for c in coverages} == {
        "train.csv": (1, 1),
        "val.csv": (2, 1),
        "patches_with_seasonal_snow.csv": (1, 1),
        "patches_with_cloud_and_shadow.csv": (2, 2),
    }
    assert joined["split"].to_pylist() == ["train", "val", None, None, None]
    assert joined["snow"].to_pylist() == [False, False, True, False, False]
    assert joined["cloud"].to_pylist() == [False, False, True, True, False]
    assert joined.schema == CATALOGUE_SCHEMA


def test_what_the_lists_leave_open_keeps_what_was_known(tmp_path):
    rows = make_catalogue_table(
        patch=["a_1_1", "b_1_1"], split=["test", "test"], snow=[True, False], cloud=[False, True]
    )
    joined, _, _ = join_lists(rows, read_lists(put_lists(tmp_path, train="a_1_1\n")))
    assert joined["split"].to_pylist() == ["train", "test"]
    assert (joined["snow"].to_pylist(), joined["cloud"].to_pylist()) == ([True, False], [False, True])


def test_the_list_of_products_is_authoritative_for_product_tile_and_time_but_not_for_the_corner(tmp_path):
    text = f"patch,l1c_product\n{PATCH},{L1C}\n"
    rows = make_catalogue_table(patch=[PATCH], tile=["33UVP"], product=["other"], ulx=[1.0], uly=[2.0])
    row = join_lists(rows, read_lists(put_lists(tmp_path, patch_to_l1c_product=text)))[0].to_pylist()[0]
    assert (row["tile"], row["product"], row["acquired"].hour, row["ulx"]) == ("33UUP", L1C, 10, 1.0)


def test_a_patch_whose_listed_product_is_none_is_rejected(tmp_path):
    lists = read_lists(put_lists(tmp_path, patch_to_l1c_product=f"{PATCH},nonsense\n"))
    joined, rejected, _ = join_lists(rows_of(PATCH, "b_1_1"), lists)
    assert joined["patch"].to_pylist() == ["b_1_1"]
    assert rejected[0][0] == PATCH
    assert "nonsense" in rejected[0][1]


def test_patches_are_placed_by_the_list_of_products_alone_compressed_or_not(tmp_path):
    text = f"patch,l1c_product\n{PATCH},{L1C}\nnameless,{L1C}\nS2A_MSIL2A_20170613T101031_0_0,nonsense\n"
    with gzip.open(tmp_path / "patch_to_l1c_product.csv.gz", "wt") as file:
        file.write(text)
    rows, rejected = list_patches(read_lists(tmp_path))
    assert [patch for patch, _ in rejected] == ["nameless", "S2A_MSIL2A_20170613T101031_0_0"]
    row = rows.to_pylist()[0]
    assert (row["tile"], row["epsg"], row["ulx"], row["uly"], row["labels"]) == ("33UUP", 32633, ULX, ULY, None)


def test_a_first_line_that_is_no_heading_is_not_dropped(tmp_path):
    lists = read_lists(put_lists(tmp_path, patch_to_l1c_product=f"patch1,{L1C}\n{PATCH},{L1C}\n"))
    rows, rejected = list_patches(lists)
    assert (len(rows), [patch for patch, _ in rejected]) == (1, ["patch1"])


def test_a_patch_in_two_splits_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="a_1_1 is in train and val"):
        read_lists(put_lists(tmp_path, train="b_1_1\na_1_1\n", val="a_1_1\n"))


def test_a_patch_twice_in_one_split_is_harmless(tmp_path):
    lists = read_lists(put_lists(tmp_path, train="a_1_1\na_1_1\n"))
    assert join_lists(rows_of("a_1_1"), lists)[0]["split"].to_pylist() == ["train"]


def test_an_empty_list_excludes_nobody(tmp_path):
    empty = {
        "patches_with_seasonal_snow": "",
        "val": "\n",
        "test": "patch\n",
        "patch_to_l1c_product": "patch,l1c_product",
    }
    lists = read_lists(put_lists(tmp_path, train="a_1_1\n", **empty))
    assert join_lists(rows_of("a_1_1"), lists)[0]["snow"].to_pylist() == [False]


def test_a_folder_without_a_known_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one of train\.csv, .*; not read: other\.csv"):
        read_lists(put_lists(tmp_path, other="a_1_1\n"))
    with pytest.raises(ValueError, match="which is none"):
        find_lists(tmp_path / "absent")


@pytest.mark.parametrize("ending", [".csv", ".CSV", ".txt", ".tsv", ".csv.gz", ".TXT.GZ"])
@pytest.mark.parametrize("name", ["patches_with_seasonal_snow", "Patches_With_Seasonal_Snow"])
def test_a_list_is_known_by_its_name_in_any_case_and_with_any_ending_of_text(tmp_path, name, ending):
    put_text = gzip.open if ending.lower().endswith(".gz") else open
    with put_text(tmp_path / f"{name}{ending}", "wt") as file:
        file.write(f"{PATCH}\n")
    joined, _, _ = join_lists(rows_of(PATCH), read_lists(tmp_path, rows_of(PATCH)["patch"]))
    assert joined["snow"].to_pylist() == [True]
    assert unread_files(tmp_path) == []


def test_other_texts_and_copies_beside_the_lists_are_not_read(tmp_path):
    put_lists(tmp_path, train="a_1_1\n", snow="b_1_1\n", **{"train (1)": "c_1_1\n", "Test": "d_1_1\n"})
    for name in ("train.csv.gz", "TRAIN.csv", "val", "val.xlsx", ".val.csv", "training.h5", "map.png"):
        (tmp_path / name).write_text("")
    (tmp_path / "tiles.csv").mkdir()
    assert {name: path.name for name, path in find_lists(tmp_path).items()} == {
        "train": "train.csv",
        "test": "Test.csv",
    }
    assert unread_files(tmp_path) == ["TRAIN.csv", "train (1).csv", "train.csv.gz", "val", "val.xlsx", "snow.csv"]


def test_a_list_whose_link_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "train.csv").symlink_to(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"train\.csv is a link that leads out of --source"):
        read_lists(tmp_path)


def test_a_broken_list_is_refused_by_name(tmp_path):
    (tmp_path / "patch_to_l1c_product.csv.gz").write_bytes(b"\x1f\x8b\x08 no gzip")
    with pytest.raises(ValueError, match=r"patch_to_l1c_product\.csv\.gz must be a list of patches"):
        read_lists(tmp_path)


def test_a_list_of_products_needs_two_columns(tmp_path):
    with pytest.raises(ValueError, match="must have 2 columns, got 1"):
        read_lists(put_lists(tmp_path, patch_to_l1c_product=f"{PATCH}\n"))


# Products without a list ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_a_product_gives_every_whole_cell_of_its_grid_unlabelled(tmp_path, zipped):
    put_product(tmp_path, zipped=zipped)
    rows, rejected = list_grid_cells(find_products(tmp_path).products)
    assert (len(rows), rejected) == (400, [])
    found = {row["patch"]: row for row in rows.to_pylist()}
    row = found["S2A_MSIL2A_20170613T101031_N0500_R022_T33UUP_03_12"]
    assert (row["ulx"], row["uly"], row["epsg"]) == (GRID.ulx + 3 * 1200, GRID.uly - 12 * 1200, 32633)
    assert (row["product"], row["labels"], row["split"]) == (L2A, None, None)


def test_a_full_tile_has_91_cells_a_side(tmp_path):
    put_product(tmp_path, xml=tile_xml(side=10980))
    rows, _ = list_grid_cells(find_products(tmp_path).products)
    assert len(rows) == 91 * 91


def test_of_several_products_of_a_scene_the_newest_is_listed(tmp_path):
    new = L2A.replace("N0500", "N0511")
    put_product(tmp_path, new)
    put_product(tmp_path, L2A)
    rows, rejected = list_grid_cells(find_products(tmp_path).products)
    assert (set(rows["product"].to_pylist()), rejected) == ({new}, [])


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"<a", "must be well-formed XML"),
        (b"<a/>", "HORIZONTAL_CS_CODE"),
        (tile_xml(ulx=""), "ULX"),
        (tile_xml(rows="many"), "many"),
        (tile_xml(columns=1200), "square tile, got 2400 x 1200"),
        (tile_xml(rows=2500, columns=2500), "multiple of 6"),
        (tile_xml(ulx=300060), "must begin at 300000, 5400000"),
    ],
)
def test_a_product_with_bad_tile_metadata_is_rejected_and_the_others_go_on(tmp_path, xml, reason):
    other = L2A.replace("T33UUP", "T33UVP")
    put_product(tmp_path, other, xml=tile_xml(nominal_origin("33UVP")))
    put_product(tmp_path, xml=xml)
    rows, rejected = list_grid_cells(find_products(tmp_path).products)
    assert set(rows["product"].to_pylist()) == {other}
    assert [name for name, _ in rejected] == [f"{L2A}.SAFE"]
    assert reason in rejected[0][1]


def test_a_broken_zip_and_a_product_without_metadata_are_rejected_and_one_without_a_name_passed_over(tmp_path):
    (tmp_path / f"{L2A}.zip").write_bytes(b"PK no zip")
    empty = tmp_path / f"{L2A.replace('T33UUP', 'T33UVP')}.SAFE"
    empty.mkdir()
    put_product(tmp_path).rename(tmp_path / "my.SAFE")
    found = find_products(tmp_path)
    rows, rejected = list_grid_cells(found.products)
    reasons = dict(rejected)
    assert (len(rows), len(reasons)) == (0, 2)
    assert "must be a zip file" in reasons[f"{L2A}.zip"]
    assert "must hold GRANULE/*/MTD_TL.xml, which is missing" in reasons[empty.name]
    assert found.passed_over == ((tmp_path / "my.SAFE", "must hold MTD_MSIL2A.xml, which is missing"),)


def test_the_grid_is_read_from_real_tile_metadata(shared_data):
    for path in sorted((shared_data / "safe_xml").glob("*/GRANULE/*/MTD_TL.xml")):
        tile = path.parent.name.split("_")[1]
        grid = read_tile_grid(ProductFiles(path.parents[2]))
        assert grid == nominal_origin(tile)
        assert isinstance(grid, TileGrid)


# What a source is ----------------------------------------------------------------------------------------------------


def test_each_form_is_recognised(tmp_path):
    put_v1(tmp_path / "v1")
    put_lists(tmp_path / "lists", patch_to_l1c_product=f"{PATCH},{L1C}\n")
    put_metadata(tmp_path / "v2" / "metadata.parquet")
    put_product(tmp_path / "products")
    put_product(tmp_path / "zips", zipped=True)
    (tmp_path / "v2f" / L2A.rsplit("_", 1)[0] / V2_PATCH).mkdir(parents=True)
    (tmp_path / "deep").mkdir()
    put_product(tmp_path / "deep" / "2017")
    pq.write_table(rows_of("a_1_1"), tmp_path / "c.parquet")
    kinds = {
        "v1": "v1",
        "lists": "lists",
        "v2": "v2",
        "v2/metadata.parquet": "v2",
        "c.parquet": "catalogue",
        "products": "products",
        f"products/{L2A}.SAFE": "products",
        "zips": "products",
        f"zips/{L2A}.zip": "products",
        "deep": "products",
        "v2f": "v2 folder",
        f"v2f/{L2A.rsplit('_', 1)[0]}": "v2 folder",
    }
    assert {name: detect_source(tmp_path / name).kind for name in kinds} == kinds
    assert detect_source(tmp_path / "v1").patches == (PATCH,)
    assert detect_source(tmp_path / "v2f").patches == (V2_PATCH,)
    (product,) = detect_source(tmp_path / "deep").products
    assert product.path == tmp_path / "deep" / "2017" / f"{L2A}.SAFE"


def test_described_patches_with_names_of_version_2_are_read_like_version_1(tmp_path):
    put_v1(tmp_path / "v1", V2_PATCH)
    assert detect_source(tmp_path / "v1").kind == "v1"


def test_of_several_forms_in_a_folder_the_likelier_is_taken_and_the_others_are_said(tmp_path):
    put_lists(tmp_path, patch_to_l1c_product=f"{PATCH},{L1C}\n")
    put_metadata(tmp_path / "metadata.parquet")
    source = detect_source(tmp_path)
    assert (source.kind, source.unused) == ("lists", ("metadata of BigEarthNet v2",))


def test_folders_among_patches_that_have_no_patch_name_are_said(tmp_path):
    put_v1(tmp_path)
    put_v1(tmp_path, "strange")
    source = detect_source(tmp_path)
    assert source.patches == (PATCH,)
    assert source.passed_over == ((tmp_path / "strange", "lies among patches, but is not named like one"),)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "--source .* does not exist; it can be"),
        (lambda path: path.mkdir(), "holds no patches, products or lists"),
        (lambda path: put_lists(path, train="a_1_1\n"), "holds no patches, products or lists"),
        (lambda path: path.write_text("a,b\n"), "must be Parquet or a zipped product"),
        (lambda path: pq.write_table(pa.table({"a": [1]}), path), r"column patch \(or patch_id, in version 2\)"),
    ],
)
def test_what_is_no_source_is_refused_with_what_one_can_be(tmp_path, make, reason):
    make(tmp_path / "source")
    with pytest.raises(ValueError, match=reason):
        detect_source(tmp_path / "source")


def test_two_catalogues_in_a_folder_are_no_source(tmp_path):
    for name in ("a", "b"):
        pq.write_table(rows_of("a_1_1"), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet, b\.parquet"):
        detect_source(tmp_path)
