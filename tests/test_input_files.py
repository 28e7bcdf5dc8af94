"""Files of a source: what is opened, what is refused and why, and that nothing waits or reads without end."""

import os
import socket
import zipfile

import pytest
from hostile import blanks_zip, make_fifo
from hypothesis import given
from hypothesis import strategies as st

from etl import packed_files
from etl.input_files import (
    NO_LINKS,
    Links,
    RefusedFileError,
    check_link,
    fault_text,
    open_regular,
    read_bytes,
    refused_name,
    walk_folders,
)
from etl.packed_files import FolderFiles, ZipFiles


@pytest.fixture
def tree(tmp_path):
    """A source with a file, and a folder out of it."""
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "file").write_bytes(b"inside")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_bytes(b"outside")
    return tmp_path


def put_special(path, kind):
    """Put something that is no regular file at a path."""
    if kind == "FIFO":
        make_fifo(path)
    elif kind == "socket":
        here = os.open(path.parent, os.O_RDONLY)  # the path of a socket has at most 107 letters
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["FIFO", "socket", "folder", "device"])
def test_what_is_no_regular_file_is_refused_by_its_kind_at_once(tree, kind):
    path, links = tree / "source" / "x", Links.into(tree / "source", tree.__class__("/dev"))
    put_special(path, kind)
    with pytest.raises(RefusedFileError, match=rf"x must be a regular file, got .*{kind}"):
        open_regular(path, links)
    with pytest.raises(RefusedFileError, match=f"got .*{kind}"):
        read_bytes(path, links)


def test_a_link_is_followed_below_the_source_and_to_folders_that_are_allowed_and_nowhere_else(tree):
    source, link = tree / "source", tree / "source" / "link"
    own, both = Links.into(source), Links.into(source, tree / "out")
    link.symlink_to(source / "a" / "file")
    assert read_bytes(link, own) == b"inside"
    link.unlink()
    link.symlink_to("../out/file")
    assert read_bytes(link, both) == b"outside"
    assert check_link(str(link), both) == str(tree / "out" / "file")
    for links in (own, NO_LINKS, Links.into(tree / "ou")):  # a folder whose name begins alike is another
        with pytest.raises(
            RefusedFileError, match=r"is a link that leads out of --source, to .*out/file; .*--allow-links"
        ):
            read_bytes(link, links)
        with pytest.raises(RefusedFileError, match="leads out of --source"):
            check_link(str(link), links)
    assert read_bytes(link, Links.into(tree.__class__("/"))) == b"outside"


def test_a_source_that_is_a_link_itself_is_where_it_leads_to(tree):
    (tree / "tiles").symlink_to(tree / "source")
    (tree / "source" / "link").symlink_to(tree / "source" / "a" / "file")
    assert read_bytes(tree / "tiles" / "link", Links.into(tree / "tiles")) == b"inside"


def test_a_walk_ends_and_leaves_out_what_is_special_or_leads_out_with_the_reason(tree):
    source = tree / "source"
    for name, target in {
        "root": "/", "up": "..", "here": ".", "loop": "loop", "gone": "nowhere", "out": "../out", "twin": "a",
    }.items():  # fmt: skip
        (source / name).symlink_to(target)
    make_fifo(source / "fifo")
    refused = {}
    walk = list(walk_folders(source, Links.into(source), refused))
    assert [here for here, _, _ in walk] == [source, source / "a"]
    assert walk[0][1:] == (["a", "twin"], ["gone", "loop"]) or sorted(walk[0][2]) == ["gone", "loop"]
    assert {path.name for path in refused} == {"root", "up", "out", "fifo"}
    assert refused[source / "fifo"] == "must be a regular file, got a FIFO"
    assert "leads out of --source, to /;" in refused[source / "root"]
    refused.clear()
    assert source / "out" in [here for here, _, _ in walk_folders(source, Links.into(source, tree / "out"), refused)]


def test_a_file_of_more_bytes_than_the_limit_is_refused_by_its_size_and_one_without_size_is_read_in_part(tree):
    path = tree / "source" / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no place on the disk
    with pytest.raises(RefusedFileError, match="must have at most 100 bytes, got 1099511627776"):
        read_bytes(path, NO_LINKS, 100)
    assert len(read_bytes("/proc/kallsyms", NO_LINKS, 100)) == 100


@pytest.mark.parametrize("name", ["a.tif", "a/b.tif", "..a/b..tif", "a..", "-a.tif", "GTIFF_DIR:1:a.tif"])
def test_names_below_the_source_are_used(name):
    assert refused_name(name) == ""


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "../a", "a/..", "a/../b", "a\0.tif", "{a}", "/vsicurl/http://a/b.tif", "a\n/../b"]
)
def test_names_that_lead_elsewhere_are_not(name):
    assert "must lie below --source" in refused_name(name)


@given(st.text(st.characters()), st.sampled_from([ValueError, OSError, KeyError, MemoryError, RecursionError]))
def test_every_fault_becomes_one_short_line_that_can_be_written(text, kind):
    said = fault_text(kind(text))
    assert said
    assert len(said) < 320
    assert len(said.splitlines()) == 1
    said.encode()


# --- zip files --------------------------------------------------------------------------------------------------------


def test_a_file_with_holes_is_not_read_to_its_end(tree):
    with (tree / "source" / "holes").open("wb") as file:
        file.truncate(1 << 40)
    files = FolderFiles(tree / "source", NO_LINKS)
    with pytest.raises(RefusedFileError, match="holes must have at most 1073741824 bytes"), files.open("holes"):
        pass


def test_files_of_a_folder_are_counted_and_more_than_any_product_has_are_refused(tree, monkeypatch):
    monkeypatch.setattr(packed_files, "MOST_FILES", 3)
    for number in range(2):
        (tree / "source" / f"{number}").touch()
    assert len(FolderFiles(tree / "source", NO_LINKS).names) == 3
    (tree / "source" / "3").touch()
    with pytest.raises(RefusedFileError, match="must hold at most 3 files, got more"):
        FolderFiles(tree / "source", NO_LINKS)


def test_what_unpacks_to_more_than_the_limit_is_refused_whatever_the_zip_file_says(tmp_path):
    path = tmp_path / "a.zip"
    blanks_zip(path, {"x": b"x"}, "blanks", 40 << 20)
    assert ZipFiles(path).read("x", 100) == b"x"
    with pytest.raises(RefusedFileError, match="blanks must have at most 1000000 bytes, got more"):
        ZipFiles(path).read("blanks", 1_000_000)
    blanks_zip(path, {}, "blanks", 40 << 20, file_size=1000)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):  # zipfile reads no more than the size that is stated
        ZipFiles(path).read("blanks", 1_000_000)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x"])
def test_files_of_a_zip_file_whose_names_lead_elsewhere_are_left_out(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"1")
        archive.writestr(zipfile.ZipInfo(name), b"1")
    files = ZipFiles(tmp_path / "a.zip")
    assert files.names == ["good"]
    assert list(files.refused.values()) == ["must have a name that leads to no other folder"]


def test_a_zip_file_with_a_file_twice_or_in_a_path_with_lone_braces_or_a_huge_list_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x", b"2")  # zipfile reads the last, GDAL the first
    with pytest.raises(zipfile.BadZipFile, match="must hold each file once, got x twice"):
        ZipFiles(tmp_path / "a.zip")
    for name in ("{a.zip", "a}.zip", "}a{.zip"):
        with pytest.raises(RefusedFileError, match=r"must have as many \{ as \} in its path, in pairs"):
            ZipFiles(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(200):
            archive.writestr(f"{number:060000}", b"")
    with pytest.raises(zipfile.BadZipFile, match="its list of files must have at most 8388608 bytes, got 12"):
        ZipFiles(tmp_path / "many.zip")
