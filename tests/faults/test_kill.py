"""Kills: a run that is killed at any instant leaves a store that opens, says so, and resumes to the same content."""

import contextlib
import random
import signal
import time

import h5py
import numpy as np
import psutil
import pytest
from commands import begin, content, extract, ranks_of, same

from etl.store.checksum import checksum
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.reader import StoreReader

KILLS = 20


def start(size, sample, out):
    """Start an extraction with small rounds and frequent syncs, to have many moments to be killed at."""
    paths = ["--catalogue", str(sample / "patches.parquet"), "--source", str(sample / "tiles"), "--out", str(out)]
    flags = ("--round-mib", "2", "--sync-s", "0.1", "--resume")
    with out.with_suffix(".log").open("w") as log:
        return begin(size, "etl.extract", *paths, *flags, stdout=log, stderr=log)


def kill(job, victim, rng):
    """Kill one rank, all ranks, or mpirun, with no warning; returns when the whole job has ended."""
    found = ranks_of(job)
    whom = {"rank": [rng.choice(found)], "ranks": found, "mpirun": [psutil.Process(job.pid)]}[victim] if found else []
    for process in whom:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    job.wait(timeout=60)
    _, left = psutil.wait_procs(found, timeout=60)  # ranks outlive their mpirun for a moment
    assert not left


def wait_for(job, out, syncs, pause_s):
    """Wait until a run has journalled `syncs` times, 0 for a moment of its first seconds, and then for `pause_s`."""
    path = journal_location(Location.parse(out)).path
    before = path.read_bytes().count(b"\n") if path.exists() else 1
    while syncs and job.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= before + syncs:
            break
        time.sleep(0.01)
    time.sleep(pause_s if syncs else 6 * pause_s)


def finished(out):
    """How many rows the journal names; each must be there, with its checksum."""
    journal = Journal.read(journal_location(Location.parse(out)))
    rows = [row for first, stop in journal.ranges for row in range(first, stop)]
    with StoreReader(out) as reader, h5py.File(out) as file:
        state, sums = file["state"][...], file["checksum"][...]
        assert (state[rows] == 1).all()
        assert all(checksum(reader.row(row)) == sums[row] for row in rows)
        assert file["complete"][()] in (0, 1)
        assert not file["complete"][()] or len(rows) == len(state)
    return len(rows)


@pytest.mark.timeout(900)
def test_a_killed_run_opens_says_it_is_incomplete_and_resumes_to_the_same_content(sample, reference, tmp_path):
    rng, whole = random.Random(20171), content(reference)
    landed, kept = 0, 0
    for attempt in range(KILLS):
        out = tmp_path / f"{attempt}.h5"
        for _ in range(rng.choice([1, 1, 2])):  # now and then the run that resumes is killed too
            job = start(rng.choice([1, 2, 3]), sample, out)
            wait_for(job, out, rng.choice([0, 0, 1, 2, 4, 6]), rng.uniform(0, 0.5))
            landed += job.poll() is None
            kill(job, rng.choice(["rank", "ranks", "mpirun"]), rng)
            if out.exists():
                kept += finished(out) > 0
        done = extract(rng.choice([1, 2, 3]), sample, out, "--resume")
        assert done.returncode == 0, done.stderr
        assert same(content(out), whole), f"attempt {attempt}"
        out.unlink()
    assert landed >= KILLS // 2, f"only {landed} kills hit a run that was under way"
    assert kept >= KILLS // 4, f"only {kept} kills found finished rows"


def test_a_finished_row_that_the_disk_lost_is_found_by_its_checksum_and_made_again(sample, reference, tmp_path):
    out = tmp_path / "store.h5"
    assert extract(1, sample, out).returncode == 0
    with h5py.File(out) as file:
        row = len(file["state"]) // 2
        offset = file["data_super"].id.get_offset() + row * 345_600
        complete = file["complete"].id.get_offset()
    with out.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(4096))
        file.seek(complete)
        file.write(b"\0")
    assert extract(2, sample, out, "--resume").returncode == 0
    assert same(content(out), content(reference))


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pause_s", [0, 0.3])
def test_a_run_that_is_asked_to_stop_ends_with_75_and_can_be_resumed(sample, reference, tmp_path, kind, pause_s):
    out = tmp_path / "store.h5"
    job = start(1, sample, out)
    while not out.exists():
        assert job.poll() is None, out.with_suffix(".log").read_text()
        time.sleep(0.02)
    time.sleep(pause_s)
    job.send_signal(kind)
    assert job.wait(timeout=60) == 75
    with h5py.File(out) as file:
        assert file["complete"][()] == 0
        assert np.isin(file["state"][...], [0, 1]).all()
    assert extract(2, sample, out, "--resume").returncode == 0
    assert same(content(out), content(reference))


def test_a_signal_that_mpirun_hands_on_stops_all_ranks_with_75(sample, reference, tmp_path):
    out = tmp_path / "store.h5"
    job, journal = start(2, sample, out), journal_location(Location.parse(out)).path
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert job.poll() is None, out.with_suffix(".log").read_text()
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 75
    assert "stopped by a signal" in out.with_suffix(".log").read_text()
    assert finished(out) > 0
    assert extract(3, sample, out, "--resume").returncode == 0
    assert same(content(out), content(reference))


def test_resuming_a_complete_store_does_nothing(sample, tmp_path):
    out = tmp_path / "store.h5"
    assert extract(1, sample, out).returncode == 0
    before = out.stat().st_mtime_ns
    done = extract(2, sample, out, "--resume")
    assert done.returncode == 0
    assert "is complete" in done.stdout
    assert out.stat().st_mtime_ns == before
