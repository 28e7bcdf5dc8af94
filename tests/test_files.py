import contextlib
import os
from pathlib import Path

import pytest

from etl.files import remove_path, replace_atomically, temporary_path


def _write(path, content, kind):
    """A file with this content, or a folder that holds one."""
    if kind == "folder":
        path.mkdir()
        path /= "inner"
    path.write_bytes(content)


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_name_appears_when_the_block_has_ended(tmp_path, kind, sync, concurrent):
    with replace_atomically(tmp_path / "x.bin", sync=sync, concurrent=concurrent) as temporary:
        _write(temporary, b"new", kind)
        assert [path.name for path in tmp_path.iterdir()] == [temporary.name]
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
    assert (tmp_path / "x.bin" / "inner" if kind == "folder" else tmp_path / "x.bin").read_bytes() == b"new"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path, kind, failure):
    (tmp_path / "x.bin").write_bytes(b"old")
    with contextlib.suppress(failure), replace_atomically(tmp_path / "x.bin") as temporary:
        _write(temporary, b"new", kind)
        raise failure
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"old"


def test_an_old_file_is_replaced(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"old")
    with replace_atomically(tmp_path / "x.bin") as temporary:
        temporary.write_bytes(b"new")
        assert (tmp_path / "x.bin").read_bytes() == b"old"
    assert (tmp_path / "x.bin").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_does_not_become_part_of_the_new(tmp_path, kind):
    _write(temporary_path(tmp_path / "x"), b"from the killed process", kind)
    with replace_atomically(tmp_path / "x") as temporary:
        assert not temporary.exists()
        temporary.mkdir()
    assert list((tmp_path / "x").iterdir()) == []


def test_a_folder_that_exists_is_not_replaced(tmp_path):
    _write(tmp_path / "x", b"old", "folder")
    with pytest.raises(OSError, match="not empty"), replace_atomically(tmp_path / "x") as temporary:
        _write(temporary, b"new", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "inner").read_bytes() == b"old"


def test_the_content_is_synced_before_it_is_renamed_and_the_name_after(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    with replace_atomically(tmp_path / "x") as temporary:
        _write(temporary, b"new", "folder")
    assert synced == [f"{tmp_path}/x.part/inner", f"{tmp_path}/x.part", f"{tmp_path}"]


def test_the_temporary_name_stands_beside_and_ends_in_part(tmp_path):
    assert temporary_path(tmp_path / "store.h5") == tmp_path / "store.h5.part"
    assert temporary_path(tmp_path / "x", concurrent=True) == tmp_path / f"x.{os.getpid()}.part"


def test_a_link_is_removed_but_not_what_it_points_to(tmp_path):
    _write(tmp_path / "x", b"kept", "folder")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    remove_path(tmp_path / "link")
    remove_path(tmp_path / "absent")
    assert (tmp_path / "x" / "inner").exists()
    assert not (tmp_path / "link").is_symlink()
