"""The journal: what was synced is found again, a torn last line is not."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.source.content import FileContent
from etl.store.journal import Journal, journal_location, read_contents
from etl.store.location import Location
from etl.store.lock import FileLock


def test_what_was_added_is_read_back(tmp_path):
    path = journal_location(Location.parse(tmp_path / "store.h5"))
    journal = Journal.begin(path, {"rows": 10})
    journal.add([(0, 4), (8, 10)], {3: "broken"})
    journal.add([(4, 8)], {})
    again = Journal.read(path)
    assert (again.fingerprint, again.ranges, again.rejected) == ({"rows": 10}, [(0, 10)], {3: "broken"})
    assert again.finished_rows(12).tolist() == [True] * 10 + [False] * 2


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
    assert Journal.read(location).ranges == [(0, 8)]


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
    assert Journal.read(path).ranges == [(0, 1), (2, 4), (6, 7)]
    assert np.flatnonzero(Journal.read(path).reopened_rows(8)).tolist() == [1, 7]


CONTENTS = {"a2": [{"B01": FileContent(100, 12345, ("MD5:00",)), "SCL": FileContent(7, 1, ("CRC32:0", "XXH3:1"))}]}


def full_journal(path):
    """A journal with a line of every kind."""
    journal = Journal.begin(Location.parse(path), {"rows": 20}, {"a": ["a2", "a1"]}, CONTENTS)
    journal.add([(0, 4), (6, 8)], {1: 'broken, "sum": "0123456789abcdef"}', 7: "no product: \udcff ü"})
    journal.reopen(np.array([1, 2]))
    journal.change_candidates({"b": ["b1"]})
    journal.change_contents({"b1": [{"B02": FileContent(1, 2, ("XXH3:2",))}]})
    journal.reopen(np.array([3]), repair=True)
    journal.add([(1, 3), (10, 20)], {12: "cloud share 0.5 is above the limit"})
    journal.add([(8, 9)], {})
    return journal


def state_of(journal):
    named = (journal.fingerprint, journal.candidates, journal.contents, journal.repairs.tolist())
    return json.dumps(named), journal.ranges, dict(journal.rejected)


def test_lines_of_every_kind_are_read_back(tmp_path):
    written = full_journal(tmp_path / "journal")
    assert state_of(Journal.read(written.location)) == state_of(written)
    assert dict(written.rejected) == {7: "no product: \udcff ü", 12: "cloud share 0.5 is above the limit"}
    assert written.contents["a2"] == CONTENTS["a2"]
    assert written.repairs.tolist() == [3]
    assert read_contents(written.location) == written.contents
    (tmp_path / "journal").write_bytes((tmp_path / "journal").read_bytes()[:-200])
    assert read_contents(written.location).keys() <= written.contents.keys()
    (tmp_path / "journal").write_bytes(b"[1]")
    assert read_contents(written.location) == read_contents(Location.parse(tmp_path / "none")) == {}


def test_lines_of_other_writers_are_passed_over_wherever_they_stand(tmp_path):
    path = tmp_path / "journal"
    location = full_journal(path).location
    lines = path.read_bytes().splitlines(keepends=True)
    others = [b'{"fence": 1}\n', b'{"stalled": {"B02": "a block took 600 s"}, "lost": true}\n']
    path.write_bytes(b"".join(part for line in lines for part in (line, *others)))
    assert state_of(Journal.read(location)) == state_of(full_journal(tmp_path / "other"))
    Journal.read(location).add([(3, 4)], {})
    assert Journal.read(location).repairs.tolist() == []


def test_a_line_that_is_lost_changed_doubled_or_moved_is_noticed(tmp_path):
    path = tmp_path / "journal"
    location = full_journal(path).location
    lines = path.read_bytes().splitlines(keepends=True)
    for k in range(1, len(lines) - 1):
        for damaged in (
            [*lines[:k], *lines[k + 1 :]],
            [*lines[:k], lines[k].replace(b"B0", b"B1").replace(b"[", b"[ "), *lines[k + 1 :]],
            [*lines[: k + 1], *lines[k:]],
            [*lines[:k], lines[k + 1], lines[k], *lines[k + 2 :]],
            [*lines[:k], re.sub(rb', "sum": "\w+"', b"", lines[k]), *lines[k + 1 :]],
        ):
            path.write_bytes(b"".join(damaged))
            with pytest.raises(
                ValueError, match=r"journal, line \d+, is damaged: it must name .* restore the journal, or"
            ):
                Journal.read(location)
    path.write_bytes(b"".join(lines[:-1]))  # as after a kill: its rows are extracted again
    assert Journal.read(location).ranges == [(0, 3), (6, 8), (10, 20)]


def test_a_last_line_of_zeros_as_after_a_power_loss_is_ignored_and_cut_off(tmp_path):
    path = tmp_path / "journal"
    location = full_journal(path).location
    whole = path.read_bytes()
    for torn in (b"\0" * 100, b'{"rows": [[4' + b"\0" * 20 + b'{}, "sum": "0"}\n'):
        path.write_bytes(whole + torn)
        journal = Journal.read(location, repair=True)
        assert path.read_bytes() == whole
        assert state_of(journal) == state_of(Journal.read(location))


WRONG = {
    "no object": "[1, 2]", "deep": "[" * 100_000, "unknown": '{"unknown": 1}', "nothing": "{}", "blank": "",
    "backwards": '{"rows": [[4, 2]], "rejected": {}}', "beyond": '{"rows": [[0, 21]], "rejected": {}}',
    "negative": '{"rows": [[-1, 2]], "rejected": {}}', "fraction": '{"rows": [[0, 1.5]], "rejected": {}}',
    "huge": '{"rows": [[0, 1000000000000000000000000]], "rejected": {}}', "digits": '{"rows": %s, "rejected": {}}' % (
        "9" * 5000), "triple": '{"rows": [[0, 1, 2]], "rejected": {}}', "number": '{"rows": 3, "rejected": {}}',
    "texts": '{"rows": [["0", "1"]], "rejected": {}}', "ragged": '{"rows": [[0, 1], [2]], "rejected": {}}',
    "no reasons": '{"rows": [[0, 2]]}', "list of reasons": '{"rows": [[0, 2]], "rejected": ["broken"]}',
    "row of no number": '{"rows": [[0, 2]], "rejected": {"x": "broken"}}',
    "row outside": '{"rows": [[0, 2]], "rejected": {"9": "broken"}}',
    "row beyond": '{"rows": [[0, 2]], "rejected": {"99999999999999999999": "broken"}}',
    "no reason": '{"rows": [[0, 2]], "rejected": {"1": ""}}', "null": '{"rows": [[0, 2]], "rejected": {"1": null}}',
    "reopened text": '{"reopened": "all"}', "reopened pair": '{"reopened": [[5]]}', "candidates": '{"candidates": []}',
    "candidate": '{"candidates": {"a": "b"}}', "names": '{"candidates": {"a": [1]}}', "contents": '{"contents": 1}',
    "content": '{"contents": {"a": {"B01": 1}}}', "file": '{"contents": {"a": [{"B01": [1]}]}}', "NaN": "NaN",
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_says_something_else_is_refused(tmp_path, what):
    path = tmp_path / "journal"
    path.write_text('{"begun_with": {"rows": 20}}\n{"rows": [[0, 1]], "rejected": {}}\n' + WRONG[what] + "\n")
    with pytest.raises(ValueError, match="journal, line 3, is damaged: it must name finished rows, got "):
        Journal.read(Location.parse(path))


FIRST = ["", "{}", "[]", "null", '{"begun_with": []}', '{"begun_with": {}, "candidates": 1}', "{" * 9999,
         '{"begun_with": {}, "contents": {"a": 1}}', '"begun_with"', "\xff"]  # fmt: skip


@pytest.mark.parametrize("first", FIRST, ids=range(len(FIRST)))
def test_a_first_line_that_says_something_else_is_refused(tmp_path, first):
    path = tmp_path / "journal"
    path.write_bytes(first.encode("latin-1") + b"\n")
    with pytest.raises(ValueError, match=r"is not a journal of etl\.extract"):
        Journal.read(Location.parse(path))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), checksums=st.booleans())
def test_whatever_is_done_to_a_journal_it_is_refused_or_names_only_what_it_named(tmp_path_factory, data, checksums):
    path = tmp_path_factory.mktemp("journal") / "journal"
    written = full_journal(path)
    text = path.read_bytes()
    if not checksums:
        text = re.sub(rb', "sum": "\w{16}"\}\n', b"}\n", text)
    at = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(at, len(text)))
    path.write_bytes(text[:at] + data.draw(st.binary(max_size=20)) + text[stop:])
    try:
        journal = Journal.read(written.location)
    except ValueError:
        return
    if checksums and b"\0" not in path.read_bytes() and path.read_bytes().startswith(text[: text.index(b"\n")]):
        assert (journal.finished_rows(30) <= np.isin(np.arange(30), [*range(4), *range(6, 9), *range(10, 20)])).all()
        assert set(journal.rejected.values()) <= {"broken", *written.rejected.values(), *BROKEN}


BROKEN = {'broken, "sum": "0123456789abcdef"}'}
