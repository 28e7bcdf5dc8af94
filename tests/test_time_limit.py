"""Functions that compute for too long are abandoned; those that only wait are not."""

import hashlib
import subprocess
import sys
import time

import pytest

from etl.time_limit import TimeLimit, TimeLimitError, is_computing

LONG = bytes(1 << 20)


def compute(seconds):
    """Compute without Python's lock for some seconds of this thread."""
    while time.thread_time() < seconds:
        hashlib.sha256(LONG).digest()
    return "done"


def computing_for(seconds):
    start = []

    def action():
        start.append(time.thread_time())
        return compute(start[0] + seconds)

    return action


def wait_for_the_end():
    deadline = time.monotonic() + 30
    while is_computing():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("limit_s", [0, 5])
def test_within_the_limit_a_function_returns_or_raises_as_without(limit_s):
    limit = TimeLimit(limit_s)
    assert limit.call(lambda: 5) == 5
    with pytest.raises(OSError, match="gone"):
        limit.call(lambda: open("/gone/gone"))  # noqa: PTH123, SIM115
    assert limit.call(computing_for(0.01)) == "done"
    assert not is_computing()


def test_a_function_that_computes_for_too_long_is_abandoned_and_the_next_one_runs():
    limit = TimeLimit(0.1)
    start = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"more than 0\.1 s"):
        limit.call(computing_for(1.0))
    assert is_computing()
    assert limit.call(lambda: 7) == 7
    wait_for_the_end()
    assert time.monotonic() - start > 0.2
    assert limit.call(lambda: 8) == 8


def test_time_that_is_only_waited_is_not_counted():
    assert TimeLimit(0.2).call(lambda: time.sleep(1.0)) is None


def test_a_command_ends_with_its_status_while_an_abandoned_thread_computes_on():
    program = """
import hashlib
from etl.mpi import launch
from etl.time_limit import TimeLimit, TimeLimitError

def main(settings, comm):
    try:
        TimeLimit(0.1).call(lambda: [hashlib.sha256(bytes(1 << 24)).digest() for _ in range(10**6)])
    except TimeLimitError:
        print("abandoned")
        return 4
    return 0

launch(lambda: 1, main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, "abandoned\n", "")
