"""Exit statuses, and the one message for what some ranks met."""

import errno
import os

import pytest

from etl.exit_status import ExitStatus, JobError, exit_status_of, joint_message


def test_the_numbers_are_those_that_scripts_rely_on():
    assert {status.name: int(status) for status in ExitStatus} == {
        "DONE": 0, "FAILED": 1, "BAD_INPUT": 2, "REJECTED": 4, "RESUMABLE": 75,
    }  # fmt: skip
    assert ExitStatus.RESUMABLE == os.EX_TEMPFAIL


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no such band"), ExitStatus.BAD_INPUT),
        (OSError(errno.ENOSPC, "full"), ExitStatus.FAILED),
        (ConnectionError("no answer"), ExitStatus.RESUMABLE),
    ],
)
def test_an_error_tells_how_the_command_ends(error, status):
    assert exit_status_of(error) is status


def test_a_job_error_is_a_failure_unless_it_says_otherwise():
    assert JobError("broken").status is ExitStatus.FAILED
    assert JobError("stopped", ExitStatus.RESUMABLE).status is ExitStatus.RESUMABLE


def test_a_joint_message_names_the_ranks_that_failed_and_the_first_ones_error():
    assert joint_message("reading", {0: "torn", 1: "torn"}, 2) == "reading failed: torn"
    some = {17: "B05 is truncated", 3: "B02 is truncated"}
    assert joint_message("reading", some, 64) == "reading failed on 2 of 64 ranks [3, 17]; rank 3: B02 is truncated"
    many = dict.fromkeys(range(1, 12), "gone")
    assert joint_message("reading", many, 64, "worker") == (
        "reading failed on 11 of 64 workers [1, 2, 3, 4, 5, 6, 7, 8, ...]; worker 1: gone"
    )
