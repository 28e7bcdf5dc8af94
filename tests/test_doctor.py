"""The doctor: parts that work, gaps, crashes and hangs, each told apart and none taking another with it."""

import os
import subprocess
import sys
from pathlib import Path

import parts
import pytest

from etl.doctor.run import PROBES, Probe, examine, main

TESTS = Path(__file__).parent
GOOD = Probe("good", parts.works, "nothing")
ABSENT = Probe("absent", parts.is_absent, "pip install it")


@pytest.fixture(autouse=True)
def checks_of_the_tests_can_be_imported(monkeypatch):
    """`examine` starts a process that imports a probe's function by name; those of these tests lie in `parts`."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{os.environ.get('PYTHONPATH', '')}")


def blocked(tmp_path: Path, *modules: str) -> dict[str, str]:
    """Environment in which importing any of `modules` fails."""
    for module in modules:
        (tmp_path / f"{module}.py").write_text(f"raise ImportError('{module} is blocked')")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def doctor(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "etl.doctor"], env=env, capture_output=True, text=True, timeout=200, check=False
    )


def test_a_part_that_works_is_shown_with_its_own_last_line():
    assert str(examine(GOOD)) == "ok       good       version 1"


def test_a_gap_names_its_cause_and_the_line_that_closes_it():
    assert str(examine(ABSENT)).splitlines() == [
        "FAILED   absent     ModuleNotFoundError: No module named 'no_such_module'",
        "                    repair: pip install it",
    ]


def test_a_part_that_ends_with_its_own_words_is_shown_with_them():
    assert examine(Probe("own", parts.ends_itself, "")).detail == "built without MPI"


def test_a_crash_names_its_signal():
    crash = Probe("crash", parts.crashes, "")
    assert examine(crash).detail == "crashed by SIGSEGV"


def test_a_part_that_hangs_is_a_gap():
    finding = examine(Probe("hang", parts.hangs, ""), timeout_s=0.5)
    assert (finding.works, finding.detail) == (False, "did not answer within 0.5 s")


def test_a_launcher_that_is_not_there_is_a_gap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert examine(Probe("mpirun", parts.works, "", ranks=2)).detail == "mpirun is not on PATH"


def test_mpirun_refusing_root_is_told_in_plain_words(monkeypatch, tmp_path):
    (tmp_path / "mpirun").write_text("#!/bin/sh\necho 'mpirun has detected an attempt to run as root.' >&2; exit 1\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert examine(Probe("mpirun", parts.works, "", ranks=2)).detail == "mpirun refuses to start as root"


@pytest.mark.parametrize(
    ("probes", "status", "verdict"),
    [
        ([GOOD], 0, "everything works"),
        ([ABSENT, GOOD], 1, "extraction cannot run, because these parts do not work: absent"),
        (
            [Probe("tf", parts.divides_by_zero, "", needed=False)],
            0,
            "extraction can run on one rank; these other parts do not work: tf",
        ),
    ],
)
def test_only_what_extraction_needs_fails_the_command(capsys, probes, status, verdict):
    assert main([], probes) == status
    assert capsys.readouterr().out.splitlines()[-1] == verdict


@pytest.mark.slow
def test_here_every_part_has_a_line_and_extraction_can_run():
    found = doctor(dict(os.environ))
    assert found.returncode == 0, found.stdout
    assert [line.split()[1] for line in found.stdout.splitlines()[:-1]] == [probe.part for probe in PROBES]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "status"),
    [({"tensorflow": "TensorFlow"}, 0), ({"h5py": "h5py", "tensorflow": "TensorFlow"}, 1)],
    ids=["tensorflow", "h5py"],
)
def test_a_module_that_cannot_be_imported_is_reported_and_the_others_still_are(tmp_path, missing, status):
    found = doctor(blocked(tmp_path, *missing))
    lines = found.stdout.splitlines()
    assert found.returncode == status, found.stdout
    for module, part in missing.items():
        assert any(line.startswith(f"FAILED   {part}") and line.endswith(f"{module} is blocked") for line in lines)
    assert any(line.startswith("ok       GDAL") for line in lines)
    assert any("repair: " in line and "bash deploy/install.sh" in line for line in lines)
