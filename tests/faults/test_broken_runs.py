"""What breaks while a run is under way ends all ranks at once, and the store can be resumed."""

import h5py
import pytest
from bad_input import broken_job, errors, job
from commands import content, same

UNEXPECTED = {
    "decoding, while others wait for its blocks": "import etl.source.tiles as m; m.TilePatches._decode = fail",
    "cutting a patch": "import etl.source.tiles as m; m.TilePatches._patch = fail",
    "upsampling": "import etl.extract.pipeline as m; m.PatchPipeline._place_pixels = fail",
    "writing": "import etl.store.hdf5.writer as m; m.Hdf5Writer.write = fail",
    "opening the store": "import etl.store.hdf5.writer as m; m.Hdf5Writer.__init__ = fail",
}


@pytest.mark.parametrize("where", UNEXPECTED)
def test_an_unexpected_error_on_one_rank_ends_all_at_once_and_names_the_rank(tile, tmp_path, where):
    patches = f"""
        def fail(*_):
            raise MemoryError("no memory for {where}")
        if rank == 1:
            {UNEXPECTED[where]}
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"error: rank 1 of 3: unexpected error: MemoryError('no memory for {where}')" in errors(done)[0]
    with h5py.File(tmp_path / "store.h5") as file:
        assert file["complete"][()] == 0


FAILING = {
    "syncing": ("1", "m.Hdf5Writer.sync", "import etl.store.hdf5.writer as m", "1 of 3 ranks [1]; rank 1: syncing"),
    "writing": ("1", "m.Hdf5Writer.write", "import etl.store.hdf5.writer as m", "1 of 3 ranks [1]; rank 1: writing"),
    "writing without MPI in h5py": (
        "1", "m.OffsetWriter.write",
        "import etl.store.hdf5.writer as m, etl.store.backend as b; b.h5py_is_serial = lambda: True",
        "1 of 3 ranks [1]; rank 1: writing",
    ),
    "journalling": (
        "0", "m.Journal.add", "import etl.extract.write_loop as m",
        "1 of 3 ranks [0]; rank 0: journalling finished rows failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILING)
def test_a_disk_that_fails_under_one_rank_is_one_error_of_all_and_the_store_can_be_resumed(tile, tmp_path, what):
    rank, function, module, wanted = FAILING[what]
    patches = f"""
        {module}
        good, calls = {function}, []
        def fail(self, *given):
            good(self, *given)
            calls.append(1)
            if len(calls) > 1:
                raise OSError(5, "Input/output error")
        if rank == {rank}:
            {function} = fail
    """
    done = broken_job(3, tile, tmp_path, patches, "--sync-s", "0")
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"extraction failed on {wanted}" in errors(done)[0]
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", ["SIGTERM", "SIGUSR1"])
def test_a_signal_before_the_first_row_ends_all_with_status_75(tile, tmp_path, kind, size):
    patches = f"""
        import etl.extract.inputs as m
        good = m.select_patches
        def select_patches(settings):
            os.kill(os.getpid(), signal.{kind})
            return good(settings)
        m.select_patches = select_patches
    """
    done = broken_job(size, tile, tmp_path, patches)
    assert done.returncode == 75, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "interrupted; --resume completes the store" in errors(done)[0]
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("kind", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_rank_stops_all_with_status_75_and_the_store_can_be_resumed(tile, tmp_path, kind):
    patches = f"""
        import etl.extract.write_loop as m
        good = m.WriteLoop._write
        def write(self, batch):
            good(self, batch)
            os.kill(os.getpid(), signal.{kind})
        if rank == 1:
            m.WriteLoop._write = write
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 75, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "stopped by a signal; every row written so far is kept; --resume completes the store" in errors(done)[0]
    with h5py.File(tmp_path / "store.h5") as file:
        assert sorted(set(file["state"][...].tolist())) == [0, 1]
    assert job(2, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)
