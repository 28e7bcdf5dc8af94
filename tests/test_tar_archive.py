"""Patches in a tar file: the same catalogue and store as from folders, whatever the form of the tar file."""

import contextlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands import content, ranks, same
from hypothesis import given
from hypothesis import strategies as st

from etl import tar_archive
from etl.bands import BANDS
from etl.catalogue.finder import find_products
from etl.tar_archive import compressed_tar_advice, locate_patches

PATCH = "S2A_MSIL2A_20170613T101031_0_45"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tar_archive._index.cache_clear()
    tar_archive._descriptor.cache_clear()
    return tmp_path / "cache" / "sentinel-etl" / "tar-members"


def packed(path: Path, folder: Path, form: int = tarfile.GNU_FORMAT) -> Path:
    """A tar file of a folder."""
    with tarfile.open(path, "w", format=form) as tar:
        tar.add(folder, folder.name)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("archive", "size"),
    [("BigEarthNet-v1.0", 3), ("BigEarthNet-S2", 1), ("patches_v1", 1), ("patches_v2/BigEarthNet-S2", 2)],
)
def test_catalogue_store_and_verification_are_those_of_the_folders(request, sample, tmp_path, archive, size):
    """The last two are real patches."""
    home = request.getfixturevalue("shared_data") if archive.startswith("patches") else sample
    tar = packed(tmp_path / "archive.tar", home / archive)
    if archive == "BigEarthNet-S2":  # the table of labels lies beside the patches
        shutil.copy(sample / "metadata.parquet", tmp_path)
    stores, catalogues = {}, {}
    lists = ("--lists", str(sample / "lists")) if archive == "BigEarthNet-v1.0" else ()
    for name, source in (("folder", home / archive), ("tar", tar)):
        out, table = tmp_path / f"{name}.h5", tmp_path / f"{name}.parquet"
        for command in (
            ("etl.catalogue", "--source", str(source), *lists, "--out", str(table)),
            ("etl.extract", "--catalogue", str(table), "--source", str(source), "--out", str(out)),
            ("etl.verify", str(out), "--catalogue", str(table), "--source", str(source)),
        ):
            done = ranks(size, *command, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert "native bands bit for bit" in done.stdout
        stores[name], catalogues[name] = content(out), table.read_bytes()
    assert same(stores["folder"], stores["tar"])
    assert catalogues["folder"] == catalogues["tar"]


@given(data=st.data(), form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_every_file_of_every_patch_is_found_and_the_last_of_a_name_counts(tmp_path_factory, data, form):
    home = tmp_path_factory.mktemp("tar")
    endings = [f"_{band.name}.tif" for band in BANDS] + ["_labels_metadata.json", "_quality.txt", ".tif"]
    names = [f"S2A_MSIL2A_20170613T101031_{k}_45" for k in range(3)]
    members = data.draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(endings), st.binary(max_size=1100)), min_size=1)
    )
    prefix = data.draw(st.sampled_from(["", "BigEarthNet-v1.0/", f"{'long' * 40}/"]))
    path = home / "a.tar"
    try:
        with tarfile.open(path, "w", format=form) as tar:
            for name, ending, text in members:
                info = tarfile.TarInfo(f"{prefix}{name}/{name}{ending}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    except ValueError:  # ustar has no names so long
        return
    expected = {(name, ending): text for name, ending, text in members if ending in endings[:13]}
    if not expected:
        with pytest.raises(ValueError, match="must hold patches"):
            locate_patches(path)
        return
    found, locator = locate_patches(path)
    assert found == tuple(sorted({name for name, _ in expected}))
    for name in names:
        patch = locator(name)
        assert locator.holds(name) == (name in found)
        for ending in endings[:13]:
            assert patch.has(ending) == ((name, ending) in expected)
            if patch.has(ending):
                assert patch.read(ending) == expected[name, ending]
            else:
                with pytest.raises(FileNotFoundError, match="is not in the tar file"):
                    patch.read(ending)


def a_tar(path: Path, *, text: bytes = b"text", name: str = f"{PATCH}/{PATCH}_B02.tif") -> Path:
    """A tar file of one member."""
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return path


def test_the_index_is_kept_until_the_tar_file_changes(tmp_path, cache, monkeypatch):
    path = a_tar(tmp_path / "a.tar")
    assert locate_patches(path)[1](PATCH).read("_B02.tif") == b"text"
    (kept,) = cache.iterdir()
    tar_archive._index.cache_clear()
    monkeypatch.setattr(tar_archive, "_read_index", None)
    assert isinstance(tar_archive._index(path), np.memmap)
    tar_archive._index.cache_clear()
    kept.write_bytes(kept.read_bytes()[:50])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert locate_patches(path)[0] == (PATCH,)
    a_tar(path, text=b"other text")
    os.utime(path, ns=(1, 1))
    tar_archive._index.cache_clear()
    tar_archive._descriptor.cache_clear()
    assert locate_patches(path)[1](PATCH).read("_B02.tif") == b"other text"


def two_patches(path: Path) -> bytes:
    """Bytes of a tar file of two patches, of 700 bytes each, whose second header begins at byte 1536."""
    with tarfile.open(path, "w") as tar:
        for number in (45, 46):
            info = tarfile.TarInfo(f"{PATCH[:-2]}{number}/{PATCH[:-2]}{number}_B02.tif")
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes(700)))
    assert path.read_bytes()[1536:1540] == b"S2A_"
    return path.read_bytes()


@pytest.mark.parametrize("cut", [1, 100, 512, 513, 1000, 1536, 1600, 2047, 2048, 2100, 3072, 3100])
def test_a_tar_file_that_is_cut_is_refused(tmp_path, cut):
    path = tmp_path / "a.tar"
    data = two_patches(path)
    path.write_bytes(data[:cut])
    with pytest.raises(ValueError, match="must be a whole tar file without compression"):
        find_products(path)
    path.write_bytes(data)
    tar_archive._index.cache_clear()
    assert len(find_products(path).patches) == 2


@pytest.mark.parametrize("at", [1536, 1536 + 124, 1536 + 150, 1536 + 156])
def test_a_header_with_a_flipped_byte_is_refused(tmp_path, at):
    path = tmp_path / "a.tar"
    data = bytearray(two_patches(path))
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ValueError, match="must be a whole tar file without compression: it is cut, or has a damaged"):
        find_products(path)


def with_size(path: Path, size: bytes) -> Path:
    """A tar file of two patches, of which the second has another size in its header, with a right checksum."""
    data = bytearray(two_patches(path))
    header = data[1536:2048]
    header[124:136], header[148:156] = size, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1536:2048] = header
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "size", [b"\xff" * 10 + b"\xfe\0", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"77777777777\0"], ids=repr
)
def test_a_size_that_no_file_has_is_refused(tmp_path, size):
    path = with_size(tmp_path / "a.tar", size)
    with pytest.raises(ValueError, match="must be a whole tar file without compression"):
        find_products(path)


@given(changes=st.lists(st.tuples(st.integers(0, 10_239), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_tar_file_is_read_or_refused(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    data = bytearray(two_patches(path))
    for at, value in changes:
        data[at] = value
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        find_products(path)


def test_a_patch_in_two_folders_is_refused_and_other_names_are_no_patches(tmp_path):
    path = a_tar(tmp_path / "a.tar", name=f"one/{PATCH}/{PATCH}_B02.tif")
    with tarfile.open(path, "a") as tar:
        for name in (f"{PATCH}é", f"{PATCH}\udcff", f"{PATCH}{'1' * 90}", "S2A_MSIL2A_x"):
            tar.addfile(tarfile.TarInfo(f"{name}/{name}_B02.tif"))
    assert find_products(path).patches == (PATCH,)
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo(f"two/{PATCH}/{PATCH}_B03.tif"))
    tar_archive._index.cache_clear()
    with pytest.raises(ValueError, match=f"{PATCH} lies in two folders of it"):
        find_products(path)


def test_a_tar_file_can_be_a_link(tmp_path):
    a_tar(tmp_path / "a.tar")
    (tmp_path / "b.tar").symlink_to("a.tar")
    assert find_products(tmp_path / "b.tar").folder_of(PATCH).read("_B02.tif") == b"text"


def test_without_a_cache_each_run_lists_the_tar_file(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert locate_patches(a_tar(tmp_path / "a.tar"))[1](PATCH).read("_B02.tif") == b"text"
    assert "lists" in caplog.text


def test_a_hard_link_is_the_file_that_it_names(tmp_path):
    path = a_tar(tmp_path / "a.tar")
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(f"{PATCH}/{PATCH}_B03.tif")
        info.type, info.linkname = tarfile.LNKTYPE, f"{PATCH}/{PATCH}_B02.tif"
        tar.addfile(info)
    assert find_products(path).folder_of(PATCH).read("_B03.tif") == b"text"


def test_links_in_a_tar_file_are_no_files(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"{PATCH}/{PATCH}_B02.tif")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    with pytest.raises(ValueError, match="must hold patches"):
        find_products(path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("BigEarthNet-v1.0.tar.gz", "cat {}BigEarthNet-v1.0.tar.gz | gzip -dc > BigEarthNet-v1.0.tar"),
        ("x.tgz", "cat {}x.tgz | gzip -dc > x.tar"),
        ("BigEarthNet-S2.tar.zst", "cat {}BigEarthNet-S2.tar.zst | zstd -dc > BigEarthNet-S2.tar"),
        ("BigEarthNet-S2.tar.zst.aa", "cat {}BigEarthNet-S2.tar.zst.* | zstd -dc > BigEarthNet-S2.tar"),
        ("x.tar.gz-001", "cat {}x.tar.gz-* | gzip -dc > x.tar"),
        ("x y.tgz", "cat '{}x y.tgz' | gzip -dc > 'x y.tar'"),
        ("x.tar", ""),
        ("x.zip", ""),
    ],
)
def test_for_a_compressed_archive_the_command_line_is_told(tmp_path, name, line):
    path = tmp_path / name
    expected = line.format(f"{tmp_path}/")
    assert compressed_tar_advice(path) == expected
    if expected:
        path.write_bytes(b"any")
        with pytest.raises(ValueError, match="must be a tar file without compression; make one with: cat"):
            find_products(path)
