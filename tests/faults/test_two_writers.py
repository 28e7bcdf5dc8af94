"""Two and three runs on one store in a bucket, held before any of their puts: none of an earlier one changes anything.

`make test` holds them before some, with `TWO_WRITERS=all` before each, and each pair of two runs.
"""

import itertools
import os
import random
import threading

import pytest
from mpi4py import MPI
from object_server import ObjectServer
from stores import GOOD, make_store
from two_writers import CASES, trials

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.store.location import Location
from etl.store.object_store import _open_key_value_store

ALL = os.environ.get("TWO_WRITERS") == "all"
PUTS = {
    "a new store": 130,
    "rejected rows and a changed source": 80,
    "rejected rows, then none": 80,
    "a damaged store": 77,
}
"""About as many as the runs of a case make."""

ROOT_PUT = 8
"""Number of the put by which a run creates a store."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    with trials(tmp_path_factory.mktemp("images")) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
def test_after_a_takeover_no_put_of_the_earlier_run_changes_an_object(tried, case):
    step = 1 if ALL else 17
    pause = random.Random(case).randrange(step)
    while tried.overlap(CASES[case], pause):
        pause += step


def pairs(seed: int, count: int) -> list[tuple[str, int, int]]:
    """Cases, and a put of each of two runs: all, or some."""
    found = [(case, *pair) for case in CASES for pair in itertools.product(range(PUTS[case]), repeat=2)]
    return found if ALL else random.Random(seed).sample(found, count)


@pytest.mark.parametrize(("case", "first", "second"), pairs(0, 4))
def test_of_three_runs_the_last_one_counts(tried, case, first, second):
    tried.overlap(CASES[case], first, second)


@pytest.mark.parametrize(("case", "first", "second"), [("a new store", ROOT_PUT, ROOT_PUT), *pairs(1, 4)])
def test_a_run_that_goes_on_while_another_takes_over_does_not_disturb_it(tried, case, first, second):
    tried.cross(CASES[case], first, second)


@pytest.mark.parametrize("put", range(3))  # of the root, of the arrays, of a shard
def test_a_conversion_that_was_held_changes_nothing_of_a_later_one(tmp_path, monkeypatch, put):
    source = Location.parse(make_store(tmp_path, GOOD))
    goes_on, held, results = threading.Event(), threading.Event(), []
    keys = ("copy.zarr/zarr.json", "copy.zarr/state/c.0", "copy.zarr/data_10m/c.0.0.0.0")

    def before(run, method, key):
        if run == "first" and (method, key) == ("PUT", keys[put]):
            held.set()
            goes_on.wait()

    def copy(bucket):
        try:
            convert(ConvertSettings(source, Location.parse(f"s3://{bucket}/copy.zarr"), shard_rows=4), MPI.COMM_SELF)
            results.append((bucket, 0))
        except JobError as error:
            results.append((bucket, int(error.status)))

    with ObjectServer(before) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        _open_key_value_store.cache_clear()
        first = threading.Thread(target=copy, args=("first",))
        first.start()
        assert held.wait(30)
        server.objects.pop("copy.zarr.lock")  # as if its time was over
        copy("later")
        left = dict(server.objects)
        goes_on.set()
        first.join()
        _open_key_value_store.cache_clear()
    assert results == ([("later", 0), ("first", 75)] if put == 0 else [("later", 2), ("first", 0)])
    assert put or {k: v for k, v in server.objects.items() if k != "copy.zarr.lock"} == {
        k: v for k, v in left.items() if k != "copy.zarr.lock"
    }
