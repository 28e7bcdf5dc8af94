"""Attempts of a job: which are queued again, and when the chain stops."""

import json
from pathlib import Path

import numpy as np
import pytest

from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.submit.attempts import attempts_path, digest_settings, main, read_attempts
from etl.submit.progress import read_progress
from trainer.fit.checkpoint import Checkpoint, TrainingState


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return tmp_path


def begin(folder, mark=""):
    return main(["begin", str(folder), "extract", mark, digest_settings()])


def end(folder, status, mark=""):
    return main(["end", str(folder), "extract", mark, digest_settings(), str(status)])


def write_rows(folder, rows):
    """A journal in which the first `rows` of 100 rows are finished; returns its path."""
    location = journal_location(Location.parse(folder / "store.h5"))
    journal = Journal.begin(location, {"rows": 100})
    if rows:
        journal.add([(0, rows)], {})
    return str(location)


@pytest.mark.parametrize("status", [75, 137, 138, 142, 205])
def test_a_command_that_was_stopped_or_killed_is_queued_again(folder, status):
    assert begin(folder) == 0
    assert end(folder, status) == 75


@pytest.mark.parametrize("status", [1, 2, 4, 134, 139, 143])
def test_a_command_that_failed_is_not_queued_again(folder, capsys, status):
    assert begin(folder) == 0
    assert end(folder, status) == status
    assert f"chain: extract: failed with status {status}; jobs that need it are cancelled" in capsys.readouterr().err


def test_the_third_attempt_in_a_row_without_progress_stops_the_chain(folder, capsys):
    mark = write_rows(folder, 10)
    for _ in range(2):
        assert begin(folder, mark) == 0
        assert end(folder, 75, mark) == 75
    assert begin(folder, mark) == 0
    assert end(folder, 75, mark) == 1
    assert "3 attempts in a row made no progress (10 of 100 rows): the chain stops" in capsys.readouterr().err


def test_progress_in_between_begins_the_count_anew(folder):
    for rows in (10, 10, 20, 20, 30, 30, 40):
        mark = write_rows(folder, rows)
        assert begin(folder, mark) == 0
        assert end(folder, 75, mark) == 75


def test_attempts_that_were_killed_count_too(folder):
    mark = write_rows(folder, 10)
    assert [begin(folder, mark) for _ in range(4)] == [0, 0, 0, 1]


def test_a_job_that_is_submitted_again_begins_its_count_anew(folder, monkeypatch):
    assert [begin(folder) for _ in range(4)] == [0, 0, 0, 1]
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert begin(folder) == 0


def test_a_last_line_that_was_cut_off_is_passed_over_and_kept_apart(folder):
    assert begin(folder) == 0
    path = attempts_path(folder, "extract")
    path.write_bytes(path.read_bytes()[:-20])
    assert begin(folder) == 0
    assert [entry["event"] for entry in read_attempts(path)] == ["begin"]
    assert len(path.read_bytes().splitlines()) == 2


def test_an_attempt_that_cannot_be_recorded_stops_the_chain(folder, capsys):
    assert main(["begin", str(folder / "gone"), "extract", "", digest_settings()]) == 1
    assert "chain: the attempt cannot be recorded, so the chain stops: " in capsys.readouterr().err


def test_settings_that_changed_since_the_submit_stop_the_job(folder, capsys):
    digest = digest_settings()
    Path("pipeline.toml").write_text("[run]\nepochs = 3\n")
    assert main(["begin", str(folder), "train", "", digest]) == 2
    assert "pipeline.toml must be as it was when the chain was submitted" in capsys.readouterr().err


def test_rows_of_a_journal_are_progress(folder):
    assert read_progress(f"{folder}/store.h5.journal").done == 0
    assert read_progress(write_rows(folder, 0)).done == 0
    found = read_progress(write_rows(folder, 42))
    assert (found.done, found.text) == (42, "42 of 100 rows")


def test_a_run_that_hung_before_there_was_a_store_has_no_row(folder):
    path = folder / "store.h5.journal"
    path.write_text(json.dumps({"stalled": ["a"]}) + "\n")
    assert read_progress(str(path)).done == 0


def test_steps_of_a_checkpoint_are_progress(folder):
    path = folder / "checkpoint.npz"
    assert read_progress(str(path)).text == "no checkpoint"
    Checkpoint({}, TrainingState(step=12), [np.zeros(3)]).save(path)
    assert (read_progress(str(path)).done, read_progress(str(path)).text) == (12, "step 12")


@pytest.mark.parametrize("name", ["checkpoint.npz", "store.h5.journal"])
@pytest.mark.parametrize("content", [b"no", b"PK\x03\x04", b"{}\n"])
def test_a_damaged_file_leaves_the_word_to_the_command_and_counts_as_no_progress(folder, name, content):
    mark = folder / name
    mark.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint of trainer.run|not a journal"):
        read_progress(str(mark))
    assert [begin(folder, str(mark)) for _ in range(4)] == [0, 0, 0, 1]
    assert read_attempts(attempts_path(folder, "extract"))[0]["text"].startswith("unknown: ")
