"""What a stop signal does to a process: ended at once, told to stop, and ended if it does not; no TensorFlow."""

import os
import signal
import subprocess
import sys
import time

import pytest

from trainer.workers.interruption import HANDLED_SIGNALS, StopSignals

NAMES = [kind.name for kind in HANDLED_SIGNALS]


@pytest.mark.parametrize("name", NAMES)
def test_a_deferred_signal_is_only_noted(name):
    with StopSignals() as signals:
        with signals.deferred():
            os.kill(os.getpid(), signal.Signals[name])
            deadline = time.monotonic() + 10
            while not signals.requested and time.monotonic() < deadline:
                time.sleep(0.01)
            assert signals.deferring
        assert signals.requested
        assert not signals.deferring


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_interrupts_what_is_not_deferred_once(name):
    def wait():
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(10)

    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            wait()
        os.kill(os.getpid(), signal.Signals[name])  # the same again, as mpirun and the supervisor send it
        time.sleep(0.1)
        assert signals.requested


def test_handlers_are_as_before_once_it_has_ended():
    before = [signal.getsignal(kind) for kind in HANDLED_SIGNALS]
    with StopSignals():
        assert [signal.getsignal(kind) for kind in HANDLED_SIGNALS] != before
    assert [signal.getsignal(kind) for kind in HANDLED_SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


# Blocked in C, as in a step: Python runs no handler, and the lock of the interpreter is free.
BUSY = """
import ctypes, signal, trainer.workers.interruption as m
{before}
with m.StopSignals("ADVICE") as signals, signals.deferred():
    print("here", flush=True)
    libc = ctypes.CDLL(None)
    while True:
        libc.usleep(100_000)
"""


def busy(before="pass"):
    """A process that has begun work that ignores stop signals."""
    code = BUSY.format(before=before)
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "here\n"
    return process


@pytest.mark.parametrize("name", NAMES)
def test_a_second_signal_ends_at_once_what_does_not_end_by_itself(name):
    with busy() as process:
        process.send_signal(signal.Signals[name])
        time.sleep(1.5)
        assert process.poll() is None
        while process.poll() is None:  # a busy machine may hear the first one late
            process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (75, "error: stopped at once by a second signal; ADVICE\n")


def test_a_signal_ends_in_time_what_does_not_end_by_itself():
    with busy("m._LIMIT_S = 0.5") as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 75
    assert err.startswith("error: stopped by a signal before its work was saved, after ")
    assert err.endswith("ADVICE\n")


EARLY = """
import time, trainer.workers.interruption as m
m.end_on_signals("ADVICE")
{then}
print("here", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("then", "status"), [("", 75), ("m.keep_status_on_signals(4)", 4)], ids=["importing", "finished"]
)
def test_a_signal_before_the_command_is_75_and_after_it_the_status_that_is_known(name, then, status):
    call = [sys.executable, "-c", EARLY.format(then=then)]
    with subprocess.Popen(call, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.Signals[name])
        _, err = process.communicate(timeout=10)
    assert process.returncode == status
    assert err == (f"error: stopped by {name}; ADVICE\n" if status == 75 else "")
