"""Units of the source at which a run hung, in the journal."""

import numpy as np

from etl.schema import RowSpan
from etl.store.backend import backend_of
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.stalled_units import add_stalled_units, read_stalled_units


def store_in(folder):
    """A store that need not be there: its location, and itself."""
    location = Location.parse(folder / "store.h5")
    return location, backend_of(location)


def test_a_unit_that_is_named_is_refused_until_that_is_taken_back(tmp_path):
    store, backend = store_in(tmp_path)
    assert read_stalled_units(store) == {}
    add_stalled_units(backend, {"B02": "hung", "B0\udc80ü": "hung too"})
    assert read_stalled_units(store) == {"B02": "hung", "B0\udc80ü": "hung too"}
    add_stalled_units(backend, {"B02": ""})
    assert read_stalled_units(store) == {"B0\udc80ü": "hung too"}


def test_a_unit_at_which_a_process_was_lost_is_refused_the_second_time(tmp_path):
    store, backend = store_in(tmp_path)
    add_stalled_units(backend, {"B02": "lost"}, lost=True)
    add_stalled_units(backend, {"B03": "lost"}, lost=True)
    assert read_stalled_units(store) == {}
    add_stalled_units(backend, {"B02": "lost"}, lost=True)
    assert read_stalled_units(store) == {"B02": "lost"}
    add_stalled_units(backend, {"B02": ""})
    add_stalled_units(backend, {"B02": "lost"}, lost=True)
    assert read_stalled_units(store) == {}


def test_the_journal_keeps_its_rows_beside_them_also_after_a_line_that_was_cut(tmp_path):
    store, backend = store_in(tmp_path)
    location = journal_location(store)
    journal = Journal.begin(location, {"rows": 9})
    journal.add([RowSpan(0, 4)], {2: "dark"})
    with location.path.open("ab") as file:
        file.write(b'{"rows": [[4, 5]')
    add_stalled_units(backend, {"B02": "hung"})
    journal = Journal.read(location, repair=True)
    journal.reopen(np.array([3]))
    again = Journal.read(location)
    assert (again.ranges, again.rejected) == ([(0, 3)], {2: "dark"})
    assert read_stalled_units(store) == {"B02": "hung"}


def test_lines_that_are_damaged_refuse_nothing(tmp_path):
    store, _ = store_in(tmp_path)
    location = journal_location(store).path
    location.write_bytes(b'{"stalled": 3}\n{"stalled": {"a"\n\xff\n{"stalled": ["b"]}\n{"stalled": {"c": "hung"}}\n')
    assert read_stalled_units(store) == {"c": "hung"}
