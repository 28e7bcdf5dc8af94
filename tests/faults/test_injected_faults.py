"""Faults of the disk, one call at a time: every command ends with a message, and its next run makes the same output.

`make test-nightly` tries all faults at all call sites; here are those that once broke a command, and a sample.
"""

import os
import random
import subprocess
import sys

import pytest
from commands import content, mpirun, ranks
from injector import Fault, injected
from trial_cases import CASES, make_base
from trials import every_fault, outputs, prepare, remove, try_fault, undisturbed

SEED = 20171
QUICK = [name for name, case in CASES.items() if case.command.startswith("etl.")]

BROKE = [
    # HDF5 crashed while it wrote metadata, or extended the file
    ("extract", "pwrite new.h5.part 40 EIO"),
    ("extract-collective", "pwrite new.h5.part 70 EDQUOT lasting"),
    # HDF5 failed on one rank, and the others waited for it: while it wrote rows, and while it opened the store
    ("extract-collective", "pwrite new.h5 1 EIO"),
    ("extract-collective", "pread new.h5 2 ESTALE"),
    ("convert-hdf5", "ftruncate .new.draft.h5.part 1 EFBIG"),
    ("convert-chunked", "pwrite .new.draft.h5 3 EDQUOT"),
    # a traceback in place of a message
    ("report", "write new/report.html.part 1 ENOSPC"),
    ("sample", "write new/sample.json* 2 ENOSPC"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Inputs of all cases."""
    folder = tmp_path_factory.mktemp("base")
    make_base(folder)
    return folder


@pytest.fixture(scope="module")
def references(base, tmp_path_factory):
    """What each case leaves undisturbed, by name; run when first asked for."""
    found = {}

    def reference(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name) / "reference"
            found[name] = undisturbed(CASES[name], base, folder)
            remove(folder)
        return found[name]

    return reference


@pytest.mark.parametrize(("name", "text"), BROKE)
def test_a_fault_that_broke_a_command_is_endured(name, text, base, references, tmp_path):
    rank = 0 if CASES[name].size > 1 else None
    outcome = try_fault(CASES[name], base, tmp_path / "trial", Fault.parse(text), references(name), rank)
    assert outcome.happened
    assert not outcome.problem, outcome.problem
    assert outcome.status == 1


@pytest.mark.parametrize("name", QUICK)
def test_a_command_endures_a_fault_of_a_file_drawn_at_random(name, base, references, tmp_path):
    case, rng = CASES[name], random.Random(f"{SEED} {name}")
    rank = rng.randrange(case.size) if case.size > 1 else None
    # first calls: how many calls of a file follow can differ from run to run
    first = [fault for fault in every_fault(case, base, tmp_path / "sites", rank) if fault.call == 1]
    fault = rng.choice(first)
    outcome = try_fault(case, base, tmp_path / "trial", fault, references(name), rank)
    assert not outcome.problem, f"{name}, {fault} on rank {rank}: {outcome.problem}"


@pytest.mark.parametrize("name", ["extract", "extract-collective", "convert-chunked", "verify", "stats"])
def test_a_file_system_without_locks_serves_every_command(name, base, references, tmp_path):
    case, rank = CASES[name], 0 if CASES[name].size > 1 else None
    prepare(case, base, tmp_path / "trial")
    fault = Fault("flock", "*", 1, "ENOLCK", lasts=True)
    environment = injected(tmp_path / "trial", fault, tmp_path / "fired", rank)
    done = ranks(case.size, *case.line, cwd=tmp_path / "trial", environment=environment)
    assert done.returncode == 0, done.stderr
    assert ("its file system has no locks" in done.stderr) == name.startswith("extract")


def limited(name, limit, folder):
    """Run a case in a shell with a limit, such as `-n 64`."""
    case = CASES[name]
    shell = ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", *mpirun(case.size, *case.line)]
    # Python's environment, as in tests/commands.py
    return subprocess.run(shell, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("name", ["extract-collective", "extract-zarr", "stats-zarr"])
def test_64_file_descriptors_are_enough(name, base, references, tmp_path):
    prepare(CASES[name], base, tmp_path / "trial")
    done = limited(name, "-n 64", tmp_path / "trial")
    assert done.returncode == 0, done.stderr
    assert outputs(CASES[name], tmp_path / "trial") == references(name)


def test_fewer_file_descriptors_are_refused_and_a_soft_limit_is_raised(base, tmp_path):
    prepare(CASES["stats-zarr"], base, tmp_path / "trial")
    done = limited("stats-zarr", "-n 40", tmp_path / "trial")
    assert done.returncode == 2
    assert "must be able to open 64 files, got a limit of 40; raise it" in done.stderr
    done = limited("stats-zarr", "-Sn 40", tmp_path / "trial")
    assert done.returncode == 0, done.stderr


def python(code, folder, fault, **environment):
    """Run Python code in a folder under a fault: what it prints."""
    fired = folder.with_name("fired")
    fired.unlink(missing_ok=True)
    variables = {**os.environ, **injected(folder, fault, fired), **environment}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=variables, cwd=folder, capture_output=True, text=True, timeout=100)
    assert fired.exists(), done.stderr
    return done.stdout + done.stderr


def test_a_store_is_read_without_locks_unless_the_environment_asks_for_them(base, tmp_path, monkeypatch):
    prepare(CASES["stats"], base, tmp_path / "trial")
    code = "import etl; print(etl.open_store('store.h5').sizes['patch'], 'rows')"
    fault = Fault("flock", "*", 1, "ENOLCK", lasts=True)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)  # which `etl.mpi` sets
    assert "5 rows" in python(code, tmp_path / "trial", fault)
    said = python(code, tmp_path / "trial", fault, HDF5_USE_FILE_LOCKING="BEST_EFFORT")
    assert "store.h5" in said
    assert "set HDF5_USE_FILE_LOCKING=FALSE" in said


@pytest.mark.parametrize("call", [1, 2])
def test_whole_arrays_and_files_are_written_also_if_a_call_writes_a_part(call, base, tmp_path):
    prepare(CASES["stats"], base, tmp_path / "trial")
    overwrite = (
        "import numpy as np; from pathlib import Path; from etl.store.hdf5.create import overwrite_hdf5; "
        "overwrite_hdf5(Path('store.h5'), {'checksum': np.arange(5, dtype='u8'), 'ulx': np.arange(5.0)})"
    )
    python(overwrite, tmp_path / "trial", Fault("pwrite", "store.h5", call, "short"))
    stored = content(tmp_path / "trial" / "store.h5")
    assert stored["checksum"].tolist() == stored["ulx"].tolist() == [0, 1, 2, 3, 4]
    append = (
        "from etl.store.location import Location; from etl.store.sidecar import write_file; "
        "[write_file(Location.parse('journal'), b'0123456789', append=True) for _ in range(2)]"
    )
    python(append, tmp_path / "trial", Fault("write", "journal", call, "short"))
    assert (tmp_path / "trial" / "journal").read_bytes() == b"0123456789" * 2
