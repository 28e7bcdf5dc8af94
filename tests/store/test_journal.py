"""The journal: what was synced is found again, a torn last line is not."""

import subprocess
import sys

import numpy as np
import pytest

from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.lock import FileLock


def test_what_was_added_is_read_back(tmp_path):
    path = journal_location(Location.parse(tmp_path / "store.h5"))
    journal = Journal.begin(path, {"rows": 10})
    journal.add([(0, 4), (8, 10)], {3: "broken"})
    journal.add([(4, 8)], {})
    again = Journal.read(path)
    assert (again.fingerprint, again.ranges, again.rejected) == ({"rows": 10}, [(0, 4), (8, 10), (4, 8)], {3: "broken"})


def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path):
    path, location = tmp_path / "journal", Location.parse(tmp_path / "journal")
    Journal.begin(location, {}).add([(0, 4)], {})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"rows": [[4, 5')
    assert Journal.read(location).ranges == [(0, 4)]
    assert path.read_bytes() != whole
    journal = Journal.read(location, repair=True)
    assert path.read_bytes() == whole
    journal.add([(4, 8)], {})
    assert Journal.read(location).ranges == [(0, 4), (4, 8)]


def test_a_row_that_was_rejected_and_then_made_is_rejected_no_more(tmp_path):
    path = Location.parse(tmp_path / "journal")
    journal = Journal.begin(path, {})
    journal.add([(0, 4)], {1: "no product", 2: "broken"})
    journal.add([(1, 2)], {})
    assert journal.rejected == Journal.read(path).rejected == {2: "broken"}


def test_a_missing_or_foreign_journal_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is missing, and --resume needs it"):
        Journal.read(Location.parse(tmp_path / "none"))
    (tmp_path / "foreign").write_text("hello\n")
    with pytest.raises(ValueError, match=r"is not a journal of etl\.extract"):
        Journal.read(Location.parse(tmp_path / "foreign"))


def test_whoever_takes_a_store_over_waits_until_its_last_writer_is_gone(tmp_path):
    store = tmp_path / "store.h5"
    hold = (
        "from etl.store.location import Location; from etl.store.lock import FileLock; "
        f"lock = FileLock(Location.parse({str(store)!r})); lock.acquire_shared(); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        lock = FileLock(Location.parse(store))
        with pytest.raises(ValueError, match="held by another run"):
            lock.acquire(timeout_s=0.3)
        other.communicate(b"\n")
    lock.acquire(timeout_s=1)
    lock.release()


def test_candidates_are_read_back_and_later_ones_replace_earlier_ones(tmp_path):
    path = Location.parse(tmp_path / "journal")
    journal = Journal.begin(path, {"rows": 2}, {"a": ["a2", "a1"], "b": []})
    journal.add([(0, 1)], {})
    journal.change_candidates({"b": ["b1"]})
    journal.change_candidates({})
    again = Journal.read(path)
    assert again.candidates == journal.candidates == {"a": ["a2", "a1"], "b": ["b1"]}
    assert (again.fingerprint, again.ranges) == ({"rows": 2}, [(0, 1)])
    assert len((tmp_path / "journal").read_text().splitlines()) == 3


def test_rows_that_are_to_be_extracted_again_are_not_finished_until_they_are_added_again(tmp_path):
    path = Location.parse(tmp_path / "journal")
    journal = Journal.begin(path, {})
    journal.add([(0, 4), (6, 8)], {1: "broken", 7: "no product"})
    journal.reopen(np.array([1, 2, 7]))
    journal.reopen(np.array([], int))
    for one in (journal, Journal.read(path)):
        assert (one.ranges, one.rejected) == ([(0, 1), (3, 4), (6, 7)], {})
    journal.add([(2, 3)], {})
    assert Journal.read(path).ranges == [(0, 1), (3, 4), (6, 7), (2, 3)]
