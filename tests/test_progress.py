"""Progress: a live bar on a terminal, one plain line every 10 s in a log, silence on all ranks but one."""

import logging
import os
import pty
import re
import subprocess
import sys

import pytest

from etl import progress
from etl.progress import report_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines_of(caplog, clock, seconds, **options):
    """What is logged while one of five rounds is done each `seconds`."""
    with caplog.at_level(logging.INFO, "etl"), report_progress("extract", 5, "round", **options) as show:
        for done in range(1, 6):
            clock[0] += seconds
            show(done)
    return caplog.messages


def test_a_log_gets_one_line_every_ten_seconds(caplog, clock):
    assert lines_of(caplog, clock, 5) == [
        "extract: 40 %, round 2 of 5, about 15 s left",
        "extract: 80 %, round 4 of 5, about 5 s left",
    ]


def test_a_short_loop_and_a_rank_that_is_not_the_first_say_nothing(caplog, clock):
    assert lines_of(caplog, clock, 1.9) == []
    assert lines_of(caplog, clock, 60, enabled=False) == []


def test_a_loop_over_nothing_says_nothing(caplog):
    with report_progress("extract", 0, "round") as show:
        show(0)
    assert caplog.messages == []


def test_a_terminal_gets_a_live_bar_that_ends_at_the_whole():
    code = "from etl.progress import report_progress as r\nwith r('extract', 5, 'round') as show: show(5)"
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, env=env, timeout=60, check=False)
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(ours, 65536).decode())  # without colours
    os.close(ours)
    assert done.returncode == 0
    assert "extract" in shown
    assert "round 5/5" in shown


def test_no_rank_loads_the_bar_that_nobody_watches():
    code = "import sys, etl.progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
