"""Catalogues of image files: from tables as people have them, and from one folder a class."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_archives import make_eurosat

from etl.catalogue.images import list_class_folders, read_image_table
from etl.catalogue.metadata import class_names_of, is_single_label
from etl.catalogue.source_kind import detect_source
from etl.catalogue.table import make_catalogue_table, read_catalogue, write_catalogue


def put(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["path", "file", "filename", "Filename", "FILE"])
def test_the_column_of_paths_has_several_names(tmp_path, column):
    rows, rejected = read_image_table(put(tmp_path, f"{column},label\na/1.tif,x\n"))
    assert (rows["patch"].to_pylist(), rows["labels"].to_pylist(), rejected) == (["a/1.tif"], [["x"]], [])


@pytest.mark.parametrize("column", ["labels", "label", "class", "ClassName", "class_name"])
def test_labels_are_one_name_or_several_between_semicolons_and_classes_are_sorted(tmp_path, column):
    rows, _ = read_image_table(put(tmp_path, f"number,path,{column}\n1,1.tif,wood; water\n2,2.tif,crop\n3,3.tif,\n"))
    assert rows["labels"].to_pylist() == [["wood", "water"], ["crop"], None]
    assert class_names_of(rows) == ("crop", "water", "wood")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("['water', 'forest']", ["water", "forest"]),
        ("['water' 'forest']", ["water", "forest"]),  # as numpy writes it
        ("['Sea, lake']", ["Sea, lake"]),
        ('[""water"", ""farmer\'s field""]', ["water", "farmer's field"]),
        ("[water, forest]", ["water", "forest"]),
        ("[]", []),
        ("water, forest", ["water, forest"]),
        ("water;forest", ["water", "forest"]),
    ],
)
def test_a_list_that_was_written_as_text_is_a_list(tmp_path, text, names):
    rows, _ = read_image_table(put(tmp_path, f'path,labels\n1.tif,"{text}"\n'))
    assert rows["labels"].to_pylist() == [names]


def test_a_comma_in_a_name_is_told_once(tmp_path, caplog):
    read_image_table(put(tmp_path, 'path,labels\n1.tif,"a, b"\n2.tif,"c, d"\n'))
    told = "names of classes contain commas, the first: 'a, b'; several labels are separated by semicolons"
    assert caplog.messages == [told]


def test_a_table_without_a_column_of_labels_is_told(tmp_path, caplog):
    rows, _ = read_image_table(put(tmp_path, "path,water,forest\n1.tif,1,0\n"))
    assert class_names_of(rows) == ()
    told = "no labels, and so no classes: the table has no column labels or classname or label or class"
    assert caplog.messages == [told]


def test_labels_of_several_rows_of_one_path_are_joined(tmp_path):
    text = "path,label,split\n1.tif,water,train\n2.tif,water,val\n1.tif,forest,train\n1.tif,water,train\n"
    rows, _ = read_image_table(put(tmp_path, text + "3.tif,a,train\n3.tif,b,test\n"))
    assert rows.select(["patch", "labels", "split"]).to_pylist() == [
        {"patch": "1.tif", "labels": ["water", "forest"], "split": "train"},
        {"patch": "2.tif", "labels": ["water"], "split": "val"},
        {"patch": "3.tif", "labels": ["a", "b"], "split": "train"},
        {"patch": "3.tif", "labels": ["a", "b"], "split": "test"},  # of which one is rejected, as listed twice
    ]


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("path,ClassName\n1.tif,a\n2.tif,b\n3.tif,\n", True),
        ("path,label\n1.tif,a\n1.tif,a\n", True),
        ("path,class\n1.tif,a;b\n2.tif,b\n", False),
        ("path,class\n1.tif,a\n1.tif,b\n", False),  # two rows of one path
        ("path,labels\n1.tif,a\n", False),
        ("path,class\n1.tif,\n", False),
        ("path\n1.tif\n", False),
    ],
)
def test_a_patch_has_one_class_where_the_column_is_of_one_and_no_patch_has_more(tmp_path, text, single):
    write_catalogue(tmp_path / "c.parquet", read_image_table(put(tmp_path, text))[0])
    catalogue = read_catalogue(tmp_path / "c.parquet")
    assert catalogue.single_label == catalogue.take(np.array([0])).single_label == single


def test_the_name_of_a_class_is_taken_before_its_number(tmp_path):
    rows, _ = read_image_table(put(tmp_path, ",Filename,Label,ClassName\n0,1.jpg,3,Forest\n"))
    assert rows["labels"].to_pylist() == [["Forest"]]


@pytest.mark.parametrize(
    "text", ["path;label\n1.tif;a, b\n", "\ufeffpath\tlabel\r\n1.tif\ta, b\r\n", 'path,label\n1.tif,"a, b"\n']
)
def test_a_csv_may_have_another_delimiter_line_ending_or_byte_order_mark(tmp_path, text):
    rows, _ = read_image_table(put(tmp_path, text))
    assert (rows["patch"].to_pylist(), rows["labels"].to_pylist()) == (["1.tif"], [["a, b"]])


def test_a_parquet_table_may_have_lists_of_labels_and_a_place(tmp_path):
    columns = {"file": ["1.tif", "2.tif"], "labels": [["a", "b"], []], "epsg": [32633, None], "other": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert detect_source(tmp_path / "t.parquet").kind == "image table"
    rows, _ = read_image_table(tmp_path / "t.parquet")
    assert (rows["labels"].to_pylist(), rows["epsg"].to_pylist()) == ([["a", "b"], []], [32633, None])


def test_splits_have_their_usual_names_and_may_be_absent(tmp_path):
    rows, _ = read_image_table(put(tmp_path, "path,split\n1,Training\n2,validation\n3,test\n4,\n"))
    assert rows["split"].to_pylist() == ["train", "val", "test", None]
    assert read_image_table(put(tmp_path, "path\n1\n"))[0]["split"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("path,split\n1.tif,fold 3\n", "column split must be train, val, test or empty, got 'fold 3'"),
        ("name,label\n1.tif,x\n", "column path or file or filename must be there; it has name, label"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, wanted):
    with pytest.raises(ValueError, match=wanted):
        read_image_table(put(tmp_path, text))


def test_a_line_without_a_path_is_rejected_by_its_number(tmp_path):
    rows, rejected = read_image_table(put(tmp_path, "path,label\n1.tif,x\n,x\n"))
    assert (len(rows), rejected) == (1, [("row 2", "its path is empty")])


def test_folders_named_like_their_class_need_no_table(tmp_path):
    archive = make_eurosat(tmp_path)
    (archive.source / "readme.txt").write_text("no image")
    (archive.source / "labels.csv").write_text("path\n1.tif\n")
    source = detect_source(archive.source)
    assert (source.kind, source.unused) == (
        "class folders",
        ("labels.csv, a table that can be the --source itself",),
    )
    rows, _ = list_class_folders(archive.source)
    assert is_single_label(rows)
    assert dict(zip(rows["patch"].to_pylist(), rows["labels"].to_pylist(), strict=True)) == {
        path: [label] for path, label in zip(archive.paths, archive.labels, strict=True)
    }


def test_what_else_lies_in_the_folder_of_a_class_does_not_drop_it(tmp_path, caplog):
    for name in ("Forest/1.tif", "River/2.tif", "River/.ipynb_checkpoints/2.tif", "River/masks/2.png", "Sea/3.png",
                 "Sea/info.json", "Sea/4.webp", "Sea/._3.png", "Odd/GRANULE/1.jp2", "Odd/quicklook.jpg", "5.png",
                 "labels.csv", ".git/6.png", "Deep/a/7.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert detect_source(tmp_path).kind == "class folders"
    with caplog.at_level("DEBUG", "etl.catalogue.images"):
        rows, _ = list_class_folders(tmp_path)
    assert rows["patch"].to_pylist() == ["Forest/1.tif", "River/2.tif", "Sea/3.png"]
    assert class_names_of(rows) == ("Forest", "River", "Sea")
    none, first, *others = [record.getMessage() for record in caplog.records if record.name.endswith(".images")]
    assert none == f"{tmp_path}: 1 folders hold no image file, so that they are no classes; the first: Deep"
    assert first == f"{tmp_path}: 10 files and folders passed over, listed with -v"
    assert len(others) == 10
    assert f"passed over: {tmp_path / 'Sea/info.json'} is no image by its suffix: .tif" in "\n".join(others)
    assert f"passed over: {tmp_path / 'River/masks'} is a folder in that of a class" in others
    assert f"passed over: {tmp_path / '5.png'} lies in no folder of a class" in others
    assert f"passed over: {tmp_path / 'Odd'} is a product or patch of Sentinel-2" in others


def test_folders_of_classes_may_lie_below_folders_of_splits(tmp_path):
    for part in ("train", "valid"):
        (tmp_path / part / "wood").mkdir(parents=True)
        (tmp_path / part / "wood" / "1.JPG").write_bytes(b"")
    rows, _ = list_class_folders(tmp_path)
    assert rows.select(["patch", "labels", "split"]).to_pylist() == [
        {"patch": "train/wood/1.JPG", "labels": ["wood"], "split": "train"},
        {"patch": "valid/wood/1.JPG", "labels": ["wood"], "split": "val"},
    ]


def test_a_folder_of_broken_products_is_no_folder_of_classes(tmp_path):
    (tmp_path / "some_product" / "GRANULE").mkdir(parents=True)
    (tmp_path / "some_product" / "quicklook.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no patches, products or lists"):
        detect_source(tmp_path)


def test_a_catalogue_of_image_files_keeps_classes_and_needs_neither_tile_nor_place(tmp_path):
    rows, _ = read_image_table(put(tmp_path, "path,label\nb/2.tif,wood\na/1.tif,crop\na/1.tif,crop\n"))
    write_catalogue(tmp_path / "c.parquet", rows)
    catalogue = read_catalogue(tmp_path / "c.parquet")
    assert (catalogue.class_names, catalogue.is_images) == (("crop", "wood"), True)
    assert catalogue.patch.tolist() == [b"a/1.tif", b"a/1.tif", b"b/2.tif"]
    assert (set(catalogue.epsg), np.isnan(catalogue.ulx).all()) == ({0}, True)
    assert [bool(problem) for problem in catalogue.problem] == [False, True, False]
    assert catalogue.classes.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_a_catalogue_of_products_still_needs_tiles(tmp_path):
    with pytest.raises(ValueError, match="column tile must have a value in every row"):
        write_catalogue(tmp_path / "c.parquet", make_catalogue_table(patch=["1.tif"]))
