"""A training that is told to stop, alone and on two workers, by mpirun and by others, amid steps and validations."""

import json
import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
from commands import begin
from stores import TRAIN, VAL, training_store

from trainer.fit.checkpoint import LAST, Checkpoint

MPIRUN = -1
SECONDS = 45
"""Time within which a job ends: 30 s, and what a busy machine adds."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("stopped") / "store.h5"
    training_store(path, [TRAIN] * 11 + [VAL] * 2)
    return path


def command(store, out, *flags):
    fixed = ("--store", store, "--out", out, "--bands", "rgb", "--batch", 2, "--decay", "none", "--warmup", 0)
    return ("trainer.run", "--network", "small", *map(str, (*fixed, *flags)))


def stop(size, out, call, kind, rank, environment=None):
    """Train, and send a worker, or mpirun, a signal once a step is done: status, seconds until the end, its words."""
    log = out.with_suffix(".log")
    with (
        log.open("w") as file,
        begin(size, *call, stdout=file, stderr=file, environment=environment or {}) as job,
    ):
        try:
            deadline = time.monotonic() + 400
            while kind and "step 1 of" not in log.read_text():
                assert job.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "no step was done"
                time.sleep(0.1)
            start = time.monotonic()
            if kind:
                os.kill(job.pid if size == 1 or rank == MPIRUN else worker(job.pid, rank), kind)
            status = job.wait(timeout=400)
            seconds = time.monotonic() - start
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    return SimpleNamespace(status=status, seconds=seconds, said=log.read_text())


def worker(launcher, rank):
    """Process id of a worker: what the supervisor that mpirun started has started."""
    supervisors = psutil.Process(launcher).children()
    (supervisor,) = (each for each in supervisors if each.environ()["OMPI_COMM_WORLD_RANK"] == str(rank))
    return supervisor.children()[0].pid


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("size", "kind", "rank"), [(1, signal.SIGTERM, 0), (2, signal.SIGUSR1, MPIRUN), (2, signal.SIGINT, 1)]
)
def test_a_signal_saves_a_checkpoint_and_ends_the_training_with_status_75(tmp_path, store, size, kind, rank):
    out = tmp_path / "run"
    found = stop(size, out, command(store, out, "--steps", 10**6, "--validate-every", 0), kind, rank)
    assert found.status == 75, found.said
    assert found.seconds < SECONDS
    step = Checkpoint.load(out / LAST).state.step
    assert step > 0
    assert f"error: stopped by a signal after step {step} of 1000000; --resume continues from the last" in found.said
    assert found.said.count("error: stopped") == 1
    assert "is lost" not in found.said
    record = json.loads((out / "run.json").read_text())
    assert (record["steps"], record["finished"]) == (step, False)
    if rank == MPIRUN:
        more = command(store, out, "--steps", step + 1, "--validate-every", 0, "--resume")
        found = stop(size, out, more, None, rank)
        assert found.status == 0, found.said
        assert f"resumed at step {step} of {step + 1}" in found.said
        assert f"{step + 1} steps by 2 workers in " in found.said
        assert json.loads((out / "run.json").read_text())["resumed_at"] == [step]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "patience_s"), [(signal.SIGINT, None), (signal.SIGTERM, 4)], ids=["INT", "TERM"])
def test_sigterm_and_ctrl_c_to_mpirun_leave_an_intact_checkpoint_and_say_its_status(tmp_path, store, kind, patience_s):
    """mpirun kills its workers two seconds later, or after twice as long as its parameter says; its status is 1."""
    environment, out = {"OMPI_MCA_odls_base_sigkill_timeout": patience_s and str(patience_s)}, tmp_path / "run"
    call = command(store, out, "--steps", 10**6, "--validate-every", 0, "--checkpoint-steps", 1)
    found = stop(2, out, call, kind, MPIRUN, environment)
    assert (found.status, found.seconds < SECONDS) == (1, True), found.said
    assert "mpirun is going to kill all workers" in found.said
    assert "its status after SIGTERM or Ctrl-C is 1, not 75; --resume continues from the last checkpoint." in found.said
    step = Checkpoint.load(out / LAST).state.step
    if patience_s:
        assert f"error: stopped by a signal after step {step} of 1000000" in found.said
