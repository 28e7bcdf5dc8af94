"""Units of the source at which runs hung, as the journal beside a store names them, so that a later run rejects them.

A run can hang before it creates the store; the journal then has only such lines, until the store is created. A line
`{"stalled": {unit: reason}}` refuses units, and an empty reason takes a refusal back. With `"lost": true` a process
ended or stood still at the unit, which may be no fault of the unit: it is refused the second time.
"""

import json
from collections import Counter
from collections.abc import Mapping

from etl.store.interface import Backend
from etl.store.journal import STALLED, WRITING, journal_location
from etl.store.location import Location
from etl.store.sidecar import read_file

__all__ = ["add_stalled_units", "read_stalled_units"]

_LOST = "lost"


def read_stalled_units(store: Location) -> dict[str, str]:
    """Reason by unit that is refused; empty if there is no journal. Lines that are damaged name none.

    Raises:
        OSError: the journal cannot be read.
    """
    refused, lost = dict[str, str](), Counter[str]()
    for line in (read_file(journal_location(store)) or b"").splitlines():
        if not line.startswith(b'{"' + STALLED.encode()):  # parsing all lines of a long journal takes seconds
            continue
        try:
            entry = json.loads(line)
            units = {str(unit): str(reason) for unit, reason in entry[STALLED].items()}
        except (ValueError, AttributeError, KeyError, TypeError):
            continue
        for unit, reason in units.items():
            lost[unit] += bool(entry.get(_LOST))
            if not reason:
                refused.pop(unit, None)
                del lost[unit]
            elif not entry.get(_LOST) or lost[unit] > 1:
                refused[unit] = reason
    return refused


def add_stalled_units(store: Backend, units: Mapping[str, str], *, lost: bool = False) -> None:
    """Append reasons by unit to the journal of the store, which need not exist; empty reasons take refusals back.

    `lost`: a process was lost there, so that only a second time refuses the unit.

    Raises:
        OSError: it cannot be written.
    """
    location = journal_location(store.location)
    line = json.dumps({STALLED: dict(units), **({_LOST: True} if lost else {})}, ensure_ascii=False) + "\n"
    with WRITING:
        data = read_file(location) or b""
        if not location.is_remote and not data.endswith(b"\n") and data:  # a line that a killed run left incomplete
            with location.path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
        store.write_beside(location, line.encode(errors="backslashreplace"), append=True)
