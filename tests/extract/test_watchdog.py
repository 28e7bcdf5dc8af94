"""What a run does that loses a rank at its end."""

import os
from pathlib import Path

import pytest
from commands import ranks

pytestmark = pytest.mark.process


def run(size, moment):
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return ranks(size, "stopped_at_end", moment, environment={"PYTHONPATH": path}, timeout=60)


@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_that_is_stopped_at_the_end_of_a_run_ends_the_job_with_75(size):
    done = run(size, "watched")
    assert done.returncode == 75, done.stderr
    assert f"rank {size - 1} of {size} on" in done.stderr
    assert "does not run (it is stopped, or its host is lost) and was last heard of 2 s ago" in done.stderr


def test_a_rank_that_is_stopped_as_the_processes_end_does_not_hold_the_others():
    assert run(2, "leaving").returncode == 128 + 14  # SIGALRM, which etl.submit takes for a stop
