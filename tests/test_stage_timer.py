"""Stage timers: named stages are there from the start, and laps leave no gap."""

import time

import pytest

from etl.stage_timer import StageTimer


def test_stages_keep_their_order_and_are_zero_until_they_are_timed():
    timer = StageTimer("b_s", "a_s")
    assert timer.seconds == {"b_s": 0.0, "a_s": 0.0}
    timer.add("a_s", 1.5)
    timer.add("c_s", 0.5)
    timer.add("a_s", 0.25)
    assert list(timer.seconds.items()) == [("b_s", 0.0), ("a_s", 1.75), ("c_s", 0.5)]


def test_a_stage_counts_the_seconds_of_its_block_also_where_that_raises():
    timer = StageTimer()

    def read():
        with timer.stage("read_s"):
            time.sleep(0.02)
            raise KeyError

    with pytest.raises(KeyError):
        read()
    assert timer.seconds["read_s"] >= 0.02


def test_laps_add_up_to_the_time_since_the_timer_was_made():
    start = time.perf_counter()
    timer = StageTimer()
    for name in ("one", "two", "one"):
        time.sleep(0.01)
        timer.lap(name)
    assert 0.03 <= sum(timer.seconds.values()) <= time.perf_counter() - start
    assert timer.seconds["one"] > timer.seconds["two"] > 0
