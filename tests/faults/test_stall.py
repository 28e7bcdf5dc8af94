"""A rank that hangs is named, the job ends with 75, and the next run goes on without what it hung at."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from bad_input import broken_job, errors, job, reasons
from commands import begin, content, extract, ranks_of, same

STALL = ("--stall", "6")

HANG = """
import time
def hang(*_, **__):
    os.read(os.pipe()[0], 1)  # nothing is ever written to it
"""

BLOCK = """
import etl.raster as m
good = m.RasterFile.read
def read(self, window, out):
    if "_B03_" in self.path and window[:2] == (120, 120):
        hang()
    good(self, window, out)
m.RasterFile.read = read
"""
"""Decoding one block of a band hangs, whichever rank does it."""

PRODUCT = "import etl.source.inspection as m\nm.read_product = hang"


def hanging(size, tile, folder, patches, *flags):
    return broken_job(size, tile, folder, HANG + patches, *STALL, *flags)


def named_ranks(done):
    """Lines that name ranks that hang; mpirun may interrupt other ranks while they end, which then say so."""
    return [line for line in errors(done) if "interrupted" not in line]


def named(folder):
    """Units that the journal names."""
    lines = (folder / "store.h5.journal").read_text().splitlines()
    return [unit for line in lines for unit in json.loads(line).get("stalled", {})]


@pytest.mark.parametrize("size", [1, 3])
def test_a_block_at_which_a_rank_hangs_is_named_and_rejected_by_the_next_run(tile, tmp_path, size):
    start = time.monotonic()
    done = hanging(size, tile, tmp_path, BLOCK)
    assert (done.returncode, len(named_ranks(done))) == (75, 1), done.stderr
    assert time.monotonic() - start < 40
    (unit,) = named(tmp_path)
    assert unit.endswith("_B03_10m.jp2, block at row 120, column 120")
    assert f"of {size} on " in named_ranks(done)[0]
    assert f"has made no progress for 6 s: decoding {unit}; all ranks end. --resume completes" in named_ranks(done)[0]
    assert "the journal names it, so that it is rejected then" in named_ranks(done)[0]
    # whoever starts it again has no loop: the block hangs still
    again = hanging(4 - size, tile, tmp_path, BLOCK, "--resume")
    assert again.returncode == 0, again.stderr
    ((patch, reason),) = reasons(tmp_path / "store.h5").items()
    assert patch.endswith("_1_1")
    assert reason == f"{unit}: an earlier run hung here for 6 s; --resume --retry-rejected tries it again"
    last = job(2, tile.root, tmp_path / "store.h5", "--resume", "--retry-rejected")
    assert last.returncode == 0, last.stderr
    assert same(content(tmp_path / "store.h5"), tile.store)


def test_a_product_that_hangs_before_there_is_a_store_is_rejected_by_the_next_run(tile, tmp_path):
    done = hanging(2, tile, tmp_path, PRODUCT)
    assert (done.returncode, len(named_ranks(done))) == (75, 1), done.stderr
    assert not (tmp_path / "store.h5").exists()
    (unit,) = named(tmp_path)
    assert unit == str(tile.root / "tiles" / tile.spec.name)
    assert f"has made no progress for 6 s: opening {unit};" in named_ranks(done)[0]
    again = hanging(3, tile, tmp_path, PRODUCT, "--resume")
    assert again.returncode == 2, again.stderr  # no other product has its patches
    assert "9 of them for this reason" in again.stderr
    assert set(reasons(tmp_path / "store.h5").values()) == {
        f"{unit}: an earlier run hung here for 6 s; --resume --retry-rejected tries it again"
    }
    last = job(1, tile.root, tmp_path / "store.h5", "--resume", "--retry-rejected")
    assert last.returncode == 0, last.stderr
    assert same(content(tmp_path / "store.h5"), tile.store)


def test_rows_that_are_written_stay_when_their_product_hangs_later(tile, begun):
    done = hanging(2, tile, begun, PRODUCT, "--resume")
    assert done.returncode == 75, done.stderr
    assert len(named(begun)) == 1
    again = hanging(1, tile, begun, PRODUCT, "--resume")
    assert again.returncode == 0, again.stderr
    assert same(content(begun / "store.h5"), tile.store)


ELSEWHERE = {
    "comparing a file": (2, "import etl.source.inspection as m; m.digests_of = hang", "reading "),
    "the catalogue": (3, "import etl.catalogue.table as m; m.read_catalogue = hang", "reading /"),
    "writing": (
        3, "import etl.store.hdf5.writer as m\nif rank == 2: m.Hdf5Writer.write = hang", "writing data_10m, rows",
    ),
    "syncing": (
        2, "import etl.store.hdf5.writer as m\nif rank == 1: m.Hdf5Writer.sync = hang", "flushing written rows",
    ),
    "the end": (1, "import etl.extract.run as m; m._complete_store = hang", "completing store.h5"),
}  # fmt: skip


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_rank_that_hangs_elsewhere_ends_the_job_with_75_and_is_named(tile, tmp_path, where):
    size, patches, what = ELSEWHERE[where]
    done = hanging(size, tile, tmp_path, patches)
    assert (done.returncode, len(named_ranks(done))) == (75, 1), done.stderr
    assert f"has made no progress for 6 s: {what}" in named_ranks(done)[0]
    if where in ("writing", "syncing", "the end"):
        assert job(2, tile.root, tmp_path / "store.h5", "--resume", "--retry-rejected").returncode == 0
        assert same(content(tmp_path / "store.h5"), tile.store)


def test_a_disk_that_hangs_keeps_the_journal_from_being_written_and_the_job_ends_all_the_same(tile, tmp_path):
    patches = BLOCK + "import etl.extract.watchdog as w; w.add_stalled_units = hang; w._NOTE_S = 2.0"
    done = hanging(2, tile, tmp_path, patches)
    assert (done.returncode, len(named_ranks(done))) == (75, 1), done.stderr
    assert "the journal cannot name what hangs: it did not answer in time" in named_ranks(done)[0]


def test_without_a_network_between_hosts_a_rank_that_hangs_ends_the_job_by_itself(tile, tmp_path):
    patches = (
        BLOCK
        + """
import etl.extract.watchdog as w
w._NOTE_S = 1.0
w.platform.node = lambda: f"host{rank}.invalid"
if rank == 0:
    m.RasterFile.read = good
"""
    )
    done = hanging(2, tile, tmp_path, patches + "else:\n    m.RasterFile.read = hang")
    assert (done.returncode, len(named_ranks(done))) == (75, 1), done.stderr
    assert "error: rank 1 of 2 on host1.invalid has made no progress for" in named_ranks(done)[0]
    assert len(named(tmp_path)) == 1


@contextlib.contextmanager
def under_way(size, sample, out):
    """A job whose first rows are in the journal, and its log."""
    paths = ("--catalogue", str(sample / "patches.parquet"), "--source", str(sample / "tiles"), "--out", str(out))
    flags = ("--round-mib", "2", "--sync-s", "0.1", *STALL)
    with (
        (out.parent / "log").open("w") as log,
        begin(size, "etl.extract", *paths, *flags, stdout=log, stderr=log) as run,
    ):
        try:
            journal = out.with_name("store.h5.journal")
            while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
                assert run.poll() is None, (out.parent / "log").read_text()
                time.sleep(0.01)
            yield run
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


def rank_of(process):
    try:
        return process.environ().get("OMPI_COMM_WORLD_RANK")
    except psutil.Error:
        return None


@pytest.mark.parametrize("stopped", [0, 2])
def test_a_rank_that_is_stopped_is_named_by_the_others_and_the_store_resumes_whole(
    sample, reference, tmp_path, stopped
):
    out = tmp_path / "store.h5"
    with under_way(3, sample, out) as run:
        (victim,) = (each for each in ranks_of(run) if rank_of(each) == str(stopped))
        victim.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        status = run.wait(timeout=90)
    text = (tmp_path / "log").read_text()
    assert status == 75, text
    assert time.monotonic() - start < 60
    assert f"rank {stopped}" in text
    assert "does not run (it is stopped, or its host is lost)" in text
    done = extract(2, sample, out, "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(out), content(reference))


def test_a_job_that_is_suspended_as_a_whole_goes_on(sample, reference, tmp_path):
    with under_way(2, sample, tmp_path / "store.h5") as run:
        found = ranks_of(run)
        for rank in found:
            rank.send_signal(signal.SIGSTOP)
        time.sleep(9)
        for rank in found:
            rank.send_signal(signal.SIGCONT)
        assert run.wait(timeout=90) == 0, (tmp_path / "log").read_text()
    assert same(content(tmp_path / "store.h5"), content(reference))


def test_a_process_that_goes_on_after_an_extraction_is_not_ended_for_being_idle(tile, tmp_path):
    program = f"""
import time
from pathlib import Path
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.mpi import MPI
from etl.store.location import Location

paths = Path({str(tile.root / "patches.parquet")!r}), Path({str(tile.root / "tiles")!r}), Location.parse("store.h5")
status = extract(ExtractSettings(*paths, "none", write="independent", stall=1), MPI.COMM_SELF)
time.sleep(4)
print("ended with", int(status))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "ended with 0" in done.stdout, done.stderr
