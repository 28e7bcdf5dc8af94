"""Two and three runs on one store in a bucket, held before any of their puts: none of an earlier one changes anything.

`make test` holds them before some, `make test-nightly` before each, and each pair of two runs.
"""

import random
import threading

import pytest
from mpi4py import MPI
from object_server import ObjectServer
from stores import GOOD, make_store
from two_writers import CASES, Schedule, schedules, trials

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.store.location import Location
from etl.store.object_store import _open_key_value_store

ROOT_PUT = 8
"""Number of the put by which a run creates a store."""

STEP = 17
"""One put of so many is tried here; `make test-nightly` tries all."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    with trials(tmp_path_factory.mktemp("images")) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
def test_after_a_takeover_no_put_of_the_earlier_run_changes_an_object(tried, case):
    pause = random.Random(case).randrange(STEP)
    while tried.follow(Schedule(case, pause)):
        pause += STEP


def some(seed, cross):
    """Four schedules of two runs that are held."""
    found = [one for case in CASES for one in schedules(case) if one.second is not None and one.cross == cross]
    return random.Random(seed).sample(found, 4)


@pytest.mark.parametrize("schedule", some(0, cross=False), ids=repr)
def test_of_three_runs_the_last_one_counts(tried, schedule):
    tried.follow(schedule)


@pytest.mark.parametrize(
    "schedule", [Schedule("a new store", ROOT_PUT, ROOT_PUT, cross=True), *some(1, cross=True)], ids=repr
)
def test_a_run_that_goes_on_while_another_takes_over_does_not_disturb_it(tried, schedule):
    tried.follow(schedule)


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
