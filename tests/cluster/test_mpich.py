"""Commands under MPICH: mpi4py's wheel with its library, exit statuses, signals and places of ranks."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = Path(__file__).with_name("mpi_actions.py")
MPIRUN, MPICC = shutil.which("mpirun.mpich"), shutil.which("mpicc.mpich")

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not (MPIRUN and MPICC), reason="no MPICH here: sudo apt-get install mpich libmpich-dev"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables by which mpi4py takes MPICH, from what install.sh makes in an environment where mpicc is MPICH's."""
    folder = tmp_path_factory.mktemp("mpich")
    (folder / "bin").mkdir()
    (folder / "bin" / "mpicc").symlink_to(MPICC)
    (folder / "lib").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    library = folder / "lib" / "libmpi.so.12"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MPI4PY_LIBMPI": str(library)}
    functions = (ROOT / "deploy" / "install.sh").read_text().rpartition('main "$@"')[0]
    script = f"{functions}\nvenv={folder} PATH={folder / 'bin'}:$PATH\nhash -r\nmpi4py_opens_libmpi"
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert library.is_file()
    return variables


def begin(environment: dict[str, str], action: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [MPIRUN, "-n", "2", sys.executable, str(ACTIONS), action],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(environment: dict[str, str], action: str) -> tuple[int, str, str]:
    with begin(environment, action) as job:
        try:
            out, err = job.communicate(timeout=60)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    return job.returncode, out, err


def test_two_ranks_form_one_job_on_one_node(environment):
    status, out, err = run(environment, "place")
    assert status == 0, err
    assert sorted(out.splitlines()) == [f"rank {n} of 2, {n} on its node, largest 1" for n in range(2)]


@pytest.mark.parametrize(
    ("action", "expected", "message"),
    [
        ("lose_server", 75, "asking failed on 1 of 2 ranks [1]; rank 1: no server"),
        ("interrupt", 75, "rank 1 of 2: interrupted"),
        ("fail", 1, "rank 1 of 2: unexpected error: RuntimeError('a fault')"),
    ],
)
def test_a_job_ends_with_the_status_of_the_rank_that_failed(environment, action, expected, message):
    status, _, err = run(environment, action)
    assert (status, message in err) == (expected, True), err


@pytest.mark.parametrize("kind", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_job_stopped_by_a_signal_to_mpirun_ends_with_75_in_each_of_three_tries(environment, kind):
    """MPICH's mpirun hands the signal on, and then ends with 0 in a third of the tries if the ranks end by exit."""
    for _ in range(3):
        with begin(environment, "await_signal") as job:
            assert [job.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
            job.send_signal(signal.Signals[kind])
            out, err = job.communicate(timeout=60)
        assert job.returncode == 75, err
        lines = sorted(line for line in out.splitlines() if "mpiexec" not in line)
        assert lines == [f"rank {n}: {kind}" for n in range(2)]
