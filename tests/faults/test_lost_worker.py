"""A worker that is lost, or that hangs, ends the whole job at once, with status 75, and the job can be resumed."""

import os
import signal
import time

import psutil
import pytest
from commands import begin, ranks
from stores import TRAIN, training_store

from trainer.fit.checkpoint import LAST, Checkpoint


def flags(folder, *more):
    place = (
        "--store", str(folder / "store.h5"), "--out", str(folder / "run"), "--bands", "rgb",
        "--batch", "2", "--network", "small",
    )  # fmt: skip
    return ("trainer.run", *place, "--checkpoint-steps", "1", "--validate-every", "0", *map(str, more))


def lose(folder, kind, rank, *more):
    """Train on two workers and send one a signal amid the steps: (status, seconds until the job's end, its words)."""
    training_store(folder / "store.h5", [TRAIN] * 8)
    with (folder / "log").open("w") as log, begin(2, *flags(folder, *more), stdout=log, stderr=log) as job:
        try:
            deadline = time.monotonic() + 200
            while not (folder / "run" / LAST).exists():
                assert job.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "no step was done"
                time.sleep(0.1)
            os.kill(worker(job.pid, rank), kind)
            start = time.monotonic()
            status = job.wait(timeout=250)
            seconds = time.monotonic() - start
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    return status, seconds, (folder / "log").read_text()


def worker(launcher, rank):
    """Process id of a worker: what the supervisor that mpirun started has started."""
    supervisors = psutil.Process(launcher).children()
    (supervisor,) = (each for each in supervisors if each.environ()["OMPI_COMM_WORLD_RANK"] == str(rank))
    return supervisor.children()[0].pid


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_ends_the_job_at_once_with_status_75_and_it_resumes(tmp_path):
    status, seconds, said = lose(tmp_path, signal.SIGKILL, 1, "--steps", 10_000)
    assert status == 75, said
    assert seconds < 20
    assert said.count("is lost") == 1
    assert "error: worker 1 of 2 is lost, ended by SIGKILL; all workers end." in said
    assert "--resume continues from the last checkpoint" in said
    step = Checkpoint.load(tmp_path / "run" / LAST).state.step
    done = ranks(2, *flags(tmp_path, "--steps", step + 1, "--resume"), timeout=250)
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {step} of {step + 1}" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stopped_worker_ends_the_job_with_status_75_once_the_others_have_waited_long_enough(tmp_path):
    status, seconds, said = lose(tmp_path, signal.SIGSTOP, 0, "--steps", 10_000, "--stall", 75)
    assert status == 75, said
    assert 60 < seconds < 140
    assert "worker 1 of 2 has waited 75 s for another, which hangs or is stopped; all workers end." in said
    assert "--resume continues from the last checkpoint" in said
