"""What a supervisor ends with, for every end of its worker; no launcher, no TensorFlow."""

import os
import signal
import subprocess
import sys

import psutil
import pytest


def supervised(code, size=2, before="pass"):
    """A process that a launcher would have started as rank 1, which runs `before`, and whose worker runs `code`."""
    imports = "import os, signal, time; from trainer.workers.supervisor import supervise; first = os.getpid()"
    line = f"{imports}\n{before}\nsupervise(); {code}"
    launched = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": str(size)}
    call = [sys.executable, "-c", line]
    return subprocess.Popen(
        call, env={**os.environ, **launched}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("status", [0, 1, 2, 75])
def test_a_workers_own_status_is_handed_on_without_a_word(status):
    process = supervised(f"os._exit({status})")
    assert (process.communicate(timeout=60), process.returncode) == (("", ""), status)


@pytest.mark.parametrize(("kind", "status"), [("SIGKILL", 75), ("SIGUSR2", 75), ("SIGSEGV", 1), ("SIGABRT", 1)])
def test_a_lost_worker_is_named_and_only_a_crash_is_not_to_be_resumed(kind, status):
    process = supervised(f"os.kill(os.getpid(), signal.{kind})")
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said.startswith(f"error: worker 1 of 2 is lost, ended by {kind}; all workers end.")
    assert ("--resume" in said) == (status == 75)


def test_a_worker_alone_has_no_supervisor():
    process = supervised("print(os.getpid() == first)", size=1)
    assert process.communicate(timeout=60)[0] == "True\n"


# In short sleeps: Python runs a handler for a signal that comes just before a sleep only after it.
HERE = "print('here', flush=True); [time.sleep(0.1) for _ in range(600)]"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_worker_ends_with_its_supervisor():
    with supervised(HERE) as process:
        assert process.stdout.readline() == "here\n"
        (worker,) = psutil.Process(process.pid).children()
        process.kill()
        worker.wait(timeout=30)


LATE = """
def fork(real=os.fork):
    worker = real()
    if worker:
        time.sleep(1)
    return worker
os.fork = fork
"""


@pytest.mark.parametrize("kind", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "before", [pytest.param("pass", id="supervisor-waits"), pytest.param(LATE, id="supervisor-not-yet")]
)
def test_a_worker_hears_what_its_supervisor_is_told_from_its_first_moment(before, kind):
    heard = f"signal.signal(signal.{kind}, lambda *_: os._exit(42)); {HERE}"
    with supervised(heard, before=before) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.Signals[kind])
        assert process.wait(timeout=30) == 42


GONE = """
def waitpid(*given, real=os.waitpid):
    found = real(*given)
    os.kill(os.getpid(), signal.SIGTERM)
    return found
os.waitpid = waitpid
"""


def test_a_signal_that_comes_after_the_workers_end_changes_nothing():
    process = supervised("os._exit(42)", before=GONE)
    assert (process.communicate(timeout=60), process.returncode) == (("", ""), 42)


def test_a_worker_that_minds_no_signal_is_ended_by_its_supervisors():
    with supervised(HERE) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
