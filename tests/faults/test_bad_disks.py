"""Disks that are full, read-only or not to be written: one error that names the file, and nothing is lost."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from bad_input import broken_job, cut_in_block, errors, image, job
from commands import content, same
from disks import disk


@pytest.mark.parametrize(("size", "space"), [(1, "4k"), (1, "64k"), (1, "3m"), (3, "64k")])
def test_a_disk_without_room_for_the_store_is_found_before_anything_is_decoded(tile, tmp_path, size, space):
    with disk(tmp_path / "small", space) as small:
        done = job(size, tile.root, small / "store.h5")
        assert done.returncode == 1, done.stderr
        assert len(errors(done)) == 1, done.stderr
        assert "store.h5 (4 MiB) cannot be created: No space left on device" in errors(done)[0]
        assert "Traceback" not in done.stderr
        assert not (small / "store.h5").exists()
        assert not (small / "store.h5.part").exists()


@pytest.mark.parametrize("size", [1, 3])
def test_a_disk_that_fills_up_under_the_run_ends_it_with_a_message_and_loses_nothing(tile, tmp_path, size):
    """The store's space is reserved; what needs more is the journal, here of many long rejections."""
    (tmp_path / "broken").mkdir()
    shutil.copytree(tile.root / "tiles", tmp_path / "broken" / "tiles")
    for band in ("B02", "B03", "B04", "B08"):
        cut_in_block(image(tmp_path / "broken" / "tiles" / tile.spec.name, band, 10), 1)
    shutil.copy(tile.root / "patches.parquet", tmp_path / "broken")
    patches = """
        import etl.store.backend as m
        good = m.create_hdf5
        def create(path, *given):
            good(path, *given)
            with open(path.parent / "filler", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            journal = path.with_name(path.name + ".journal")
            journal.write_text(journal.read_text().rstrip() + " " * (4050 - journal.stat().st_size) + "\\n")
        m.create_hdf5 = create
    """
    with disk(tmp_path / "small", "12m") as small:
        broken = SimpleNamespace(root=tmp_path / "broken")
        late = "--no-check-files"  # so that patches are rejected while others are written
        done = broken_job(size, broken, tmp_path, patches, "--out", str(small / "store.h5"), late)
        assert done.returncode == 1, done.stderr
        assert len(errors(done)) == 1, done.stderr
        assert "No space left on device" in errors(done)[0]
        assert str(small / "store.h5") in errors(done)[0]
        (small / "filler").unlink()
        assert job(1, broken.root, small / "store.h5", "--resume", late).returncode == 0
        assert job(1, broken.root, tmp_path / "anew.h5", late).returncode == 0
        assert same(content(small / "store.h5"), content(tmp_path / "anew.h5"))


@pytest.mark.parametrize(
    ("name", "wanted", "complete"),
    [
        ("store.rejected.csv", "store.rejected.csv cannot be written: [Errno 28]", False),
        ("store.json", "store.h5 is complete, but its record store.json cannot be written: [Errno 28]", True),
    ],
)
def test_a_disk_that_is_full_at_the_end_is_one_error_that_says_what_is_missing(tile, tmp_path, name, wanted, complete):
    patches = f"""
        import etl.store.interface as m
        good = m.write_file
        def write_file(path, data, append=False):
            if path.name == {name!r}:
                raise OSError(28, "No space left on device")
            good(path, data, append)
        m.write_file = write_file
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 1
    assert len(errors(done)) == 1, done.stderr
    assert wanted in errors(done)[0]
    assert content(tmp_path / "store.h5")["complete"] == complete
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("size", [1, 3])
def test_a_folder_that_may_not_be_written_is_named(tile, tmp_path, size):
    """Root may write anywhere: the program gives up its capabilities first (Linux, capset)."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    patches = """
        import ctypes
        if os.geteuid() == 0:
            header = (ctypes.c_uint32 * 2)(0x20080522, 0)
            assert ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) == 0
    """
    done = broken_job(size, tile, tmp_path, patches, "--out", str(locked / "store.h5"))
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"Permission denied: '{locked}/store.h5" in errors(done)[0]
    assert not list(locked.iterdir())


def test_a_store_that_may_not_be_written_is_named_when_it_is_resumed(begun):
    with disk(begun / "read", "12m") as read:
        for name in ("store.h5", "store.h5.journal"):
            shutil.copy(begun / name, read)
        subprocess.run(["mount", "-o", "remount,ro", read], check=True)
        done = job(3, begun, read / "store.h5", "--resume")
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "Read-only file system" in errors(done)[0]
    assert "store.h5" in errors(done)[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_parent_that_is_a_file_is_named(tile, tmp_path):
    (tmp_path / "file").write_text("")
    done = job(1, tile.root, tmp_path / "file" / "store.h5")
    assert done.returncode == 1
    assert len(errors(done)) == 1
    assert str(tmp_path / "file") in errors(done)[0]
