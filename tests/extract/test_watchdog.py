"""The watchdog at the end of a run."""

import os
from pathlib import Path

import pytest
from commands import ranks


@pytest.mark.process
@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_that_is_stopped_at_the_end_of_a_run_ends_the_job_with_75(size):
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = ranks(size, "stopped_at_end", environment={"PYTHONPATH": path}, timeout=60)
    assert done.returncode == 75, done.stderr
    assert f"rank {size - 1} of {size} on" in done.stderr
    assert "does not run (it is stopped, or its host is lost) and was last heard of 2 s ago" in done.stderr
