"""The names of patches in a list, whatever wrote the file."""

import codecs

import pyarrow as pa
import pytest

from etl.catalogue.list_file import read_names, read_names_and_products

V1 = "S2A_MSIL2A_20170613T101031_26_57"
OLD = "S2A_MSIL2A_20180510T94033_19_86"
V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
S1 = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57"
L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"


def names_in(tmp_path, text, *patches):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_names(path, pa.chunked_array([list(patches)], pa.string()) if patches else None).to_pylist()


@pytest.mark.parametrize("name", [V1, OLD, V2])
@pytest.mark.parametrize(
    "line",
    [
        "{0}",
        "{0}   ",
        "\t{0}\t",
        '"{0}"',
        "'{0}'",
        '"""{0}"""',
        "\u201c{0}\u201d",
        "{0},",
        "{0};;",
        "/data/BigEarthNet-v1.0/{0}",
        "./{0}/",
        "C:\\data\\BigEarthNet\\{0}",
        '"D:\\my data\\{0}.tif"',
        "{0}.tif",
        "{0}_B02.tif",
        "{0}/{0}_B8A.tiff",
        "{0}_labels_metadata.json",
        "s3://bucket/{0}.zarr",
        "17,{0}",
        "17;{0};0.93",
        f"{{0}},{S1}",
        f"{S1},{{0}}",
        f"{S1}\t{{0}}",
        f"{S1} {{0}}",
        f"('{S1}', '{{0}}')",
    ],
)
def test_a_name_is_found_in_whatever_form_a_line_has(tmp_path, line, name):
    other = name.replace("_26_57", "_1_2").replace("_19_86", "_1_2")
    text = "\n".join(line.format(each) for each in (other, name))
    assert names_in(tmp_path, text) == [other, name]
    assert names_in(tmp_path, text, other, name) == [other, name]


@pytest.mark.parametrize(
    "form", ["{}, {}, {}", "{} {} {}", "['{}', '{}', '{}']", "{};{}\t/data/{}.tif", '["{}","{}","{}"]']
)
@pytest.mark.parametrize("name", [V1, OLD, V2])
def test_all_names_of_a_line_count(tmp_path, name, form):
    stem = name.rsplit("_", 2)[0]
    wanted = [f"{stem}_{i}_7" for i in range(6)]
    text = f"{form.format(*wanted[:3])}\n{wanted[3]}\n{wanted[4]},{wanted[5]}\n"
    assert names_in(tmp_path, text) == wanted
    assert names_in(tmp_path, text, *wanted) == wanted


def test_a_list_of_names_over_several_lines_has_no_other_names(tmp_path):
    assert names_in(tmp_path, f'[\n "{V1}",\n "{OLD}"\n]\n') == [V1, OLD]


def test_names_of_both_versions_are_of_one_patch_only_if_mission_day_and_cell_are_equal(tmp_path):
    for other in (V1.replace("S2A", "S2B"), V1.replace("0613T", "0614T"), V1.replace("_57", "_58")):
        assert names_in(tmp_path, f"{V2},{other}\n", V2, other) == [V2, other]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("bom", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_the_first_name_is_found_whatever_the_encoding_and_the_line_ends(tmp_path, bom, encoding, ending):
    content = bom + f"{V1}{ending}{OLD}{ending}{ending}".encode(encoding)
    assert names_in(tmp_path, content) == [V1, OLD]


@pytest.mark.parametrize(
    "heading",
    ["patch", "patch_id;s1_name", "s2v1_name,cloud", "S2 patch 10 m", ",patch", "# made on 2026-01-01", '"patch"'],
)
def test_a_heading_is_no_name(tmp_path, heading):
    assert names_in(tmp_path, f"{heading}\n{V1}\n") == [V1]
    assert names_in(tmp_path, f"\ufeff{heading}\r\n{V1}\r\n", V1) == [V1]


def test_a_list_with_the_names_of_both_versions_serves_either(tmp_path):
    text = f"patch_id,s1_name,s2v1_name\n{V2},{S1},{V1}\n"
    assert names_in(tmp_path, text, V1) == [V1]
    assert names_in(tmp_path, text, V2) == [V2]
    assert names_in(tmp_path, text) == [V2]


def test_names_of_another_form_are_found_with_path_and_suffix_if_the_source_has_them(tmp_path):
    text = "/data/field_1.tif\n'field_2'\nfield.3\nforest\nfield_9.tif\n"
    expected = ["field_1", "field_2", "field.3", "forest", "field_9.tif"]
    assert names_in(tmp_path, text, "field_1", "field_2", "field.3", "forest") == expected
    assert names_in(tmp_path, "forest\nfield_1\n", "forest", "field_1") == ["forest", "field_1"]


def test_a_name_of_the_source_that_holds_another_name_is_read_as_it_is(tmp_path):
    assert names_in(tmp_path, f"mine-{V1}\n", f"mine-{V1}", V1) == [f"mine-{V1}"]


def test_a_column_in_another_encoding_hides_no_name(tmp_path):
    assert names_in(tmp_path, f"{V1},\u00d6sterreich\n".encode("latin-1")) == [V1]


@pytest.mark.parametrize("content", [b"PK\x03\x04\0\0", codecs.BOM_UTF16_LE + b"a"])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"list\.csv must be a list of patches"):
        names_in(tmp_path, content)


@pytest.mark.parametrize(
    "text",
    [
        f"patch,l1c_product\n{V1},{L1C}\n",
        f"l1c_product;patch\r\n{L1C};{V1}\r\n",
        f"\ufeff'{V1}'\t'/products/{L1C}'\n",
        f"{L1C},/data/{V1}.tif\n",
    ],
)
def test_the_product_is_found_before_or_after_the_patch(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    names, products = read_names_and_products(tmp_path / "list.csv")
    assert (names.to_pylist(), products.to_pylist()) == ([V1], [L1C])


def test_a_line_of_a_product_list_with_several_patches_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text(f"{V1},{L1C}\n{V1} {OLD},{L1C}\n")
    with pytest.raises(ValueError, match="each line must hold one patch and its product"):
        read_names_and_products(tmp_path / "list.csv")


def test_the_names_of_both_versions_may_stand_beside_a_product(tmp_path):
    (tmp_path / "list.csv").write_text(f"{V2},{V1},{L1C}\n")
    names, products = read_names_and_products(tmp_path / "list.csv", pa.chunked_array([[V1]]))
    assert (names.to_pylist(), products.to_pylist()) == ([V1], [L1C])


@pytest.mark.parametrize(
    "lines",
    [
        "patch,snow\n{0},1\n{1},0\n{2},1\n",
        "{0},0\n{1},0\n{2},0\n",
        "patch;tile;snow\n{0};33UUP;True\n{1};33UUP;False\n{2};33UUP;True\n",
        "{0}\t1.0\n{1}\t0.0\n{2}\t0.0\n",
        "{0} 0\n{1} 1\n{2} 0\n",
        "'{0}', 'yes'\n'{1}', 'no'\n'{2}', 'no'\n",
        "snow,patch\n0,{0}\n1,{1}\n1,{2}\n",
        "patch,snow\n{0},1\n{1},\n{2}\n",
        '{{"{0}": true,\n"{1}": false,\n"{2}": false}}\n',
    ],
)
def test_a_column_of_flags_of_which_one_is_false_is_refused(tmp_path, lines):
    for names in ([V1, OLD, V1.replace("_57", "_58")], ["field_1", "field_2", "field_3"]):
        text = lines.format(*names)
        if names[0] == V1 or not text.startswith(("snow", "{")):
            with pytest.raises(ValueError, match=r"must name only the patches that the list is of, got a column of"):
                names_in(tmp_path, text, *names)


@pytest.mark.parametrize(
    "lines",
    [
        "patch,snow\n{0},1\n{1},1\n",  # every patch is marked
        ",patch\n0,{0}\n1,{1}\n",  # row numbers
        "patch,cloud\n{0},0.0\n{1},0.7\n",
        "{0},\n{1},\n",
        "{0},1\n{1},2\n",
    ],
)
def test_other_columns_are_no_flags(tmp_path, lines):
    assert names_in(tmp_path, lines.format(V1, OLD)) == [V1, OLD]


def test_names_that_look_like_flags_are_names(tmp_path):
    assert names_in(tmp_path, "1\n0\n", "0", "1") == ["1", "0"]


@pytest.mark.parametrize("line", ["{0}", "/data/{0}_B02.tif", f"{{0}},{S1}"])
@pytest.mark.parametrize(
    ("name", "padded"),
    [
        (OLD.replace("19_86", "4_0"), OLD.replace("19_86", "004_000")),
        (OLD.replace("19_86", "4_0"), OLD.replace("T94033_19_86", "T094033_04_00")),
        (V1, V1.replace("26_57", "026_057")),
        (V2.replace("26_57", "03_07"), V2.replace("26_57", "3_7")),
        (V2.replace("26_57", "03_00"), V2.replace("26_57", "003_0")),
    ],
)
def test_a_name_with_more_or_fewer_zeros_is_that_of_the_source(tmp_path, name, padded, line):
    assert names_in(tmp_path, line.format(padded), name) == [name]
    assert names_in(tmp_path, line.format(padded), name, padded) == [padded]


def test_a_name_of_version_1_with_more_zeros_may_stand_beside_that_of_version_2(tmp_path):
    assert names_in(tmp_path, f"{V2},{V1.replace('26_57', '026_057')}\n", V1) == [V1]


def test_zeros_at_the_end_of_a_number_tell_patches_apart(tmp_path):
    assert names_in(tmp_path, f"{V1[:-5]}20_5\n", f"{V1[:-5]}2_50", f"{V1[:-5]}2_5") == [f"{V1[:-5]}20_5"]
