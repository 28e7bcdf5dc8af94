"""Runs on one store in a bucket, each held before any of its requests, as SIGSTOP would hold its process.

The runs are real: `etl.extract` with TensorStore's client, each in a process of its own. The server is in this process:
it holds the requests of a run, those of its lease as well.
"""

import contextlib
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from commands import same, zarr_content
from object_server import ObjectServer
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.catalogue.images import read_image_table
from etl.catalogue.table import write_catalogue
from etl.pixel_groups import IMAGES
from etl.raster import write_geotiff

__all__ = ["CASES", "Case", "Schedule", "Trials", "schedules", "trials"]

LEASE_S = 0.3
ROWS, PX = 6, 8
BROKEN = 3
"""Row whose file is no image in the source `broken`."""


def draw(folder: Path, seed: int) -> None:
    """Image files of six patches; the pixels of `BROKEN` depend on the seed."""
    folder.mkdir(parents=True)
    for row in range(ROWS):
        rng = np.random.default_rng(row + (seed if row == BROKEN else 0))
        write_geotiff(folder / f"patch_{row}.tif", rng.integers(1, 255, (3, PX, PX)).astype(np.uint8), None)


class Runs:
    """Runs on one store, by name; each can be held before one of its puts, from the first one on."""

    def __init__(self, server: ObjectServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self._workers: dict[str, subprocess.Popen[str]] = {}
        self._answers: dict[str, list[object]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._left: dict[str, float] = {}
        self._change = threading.Condition()
        self._held: set[str] = set()
        server.before = self._before

    def _before(self, run: str, method: str, key: str) -> None:
        with self._change:
            self._left[run] = self._left.get(run, float("inf")) - (method in ("PUT", "DELETE"))
            while self._left[run] < 0:
                self._held.add(run)
                self._change.notify_all()
                self._change.wait()

    def start(self, run: str, *flags: str, puts: float = float("inf"), source: str = "whole") -> None:
        """Begin a run that is held before its put number `puts`, from 0, and at each request after that."""
        if run not in self._workers:
            environment = {**os.environ, **self.server.environment}
            line = [sys.executable, str(Path(__file__).with_name("extract_worker.py"))]
            how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None, "text": True}
            self._workers[run] = subprocess.Popen(line, env=environment, **how)
        with self._change:
            self._left[run] = puts
            self._held.discard(run)
        paths = ("--catalogue", self.folder / "patches.parquet", "--source", self.folder / source)
        given = [*map(str, paths), "--out", f"s3://{run}/store.zarr", "--shard-rows", "2", "--sync-s", "0", *flags]
        worker = self._workers[run]
        worker.stdin.write(json.dumps([[*given, "--round-mib", "1"], LEASE_S]) + "\n")
        worker.stdin.flush()

        def listen() -> None:
            line = worker.stdout.readline()
            with self._change:
                self._answers[run] = json.loads(line or '[-1, "the process has ended"]')
                self._change.notify_all()

        self._answers.pop(run, None)
        self._threads[run] = threading.Thread(target=listen, daemon=True)
        self._threads[run].start()

    def until_held(self, run: str) -> bool:
        """Wait until a run is held; False if it ended before."""
        with self._change:
            assert self._change.wait_for(lambda: run in self._held or run in self._answers, 60), f"{run} hangs"
            return run not in self._answers

    def wake(self, run: str) -> None:
        """Let all requests of a run through."""
        with self._change:
            self._left[run] = float("inf")
            self._held.discard(run)
            self._change.notify_all()

    def wait(self, run: str) -> tuple[int, str]:
        """Exit status and message of a run."""
        with self._change:
            assert self._change.wait_for(lambda: run in self._answers, 60), f"{run} hangs"
        return tuple(self._answers[run])

    def finish(self, run: str, *flags: str, source: str = "whole") -> tuple[int, str]:
        """Do a whole run."""
        self.start(run, *flags, source=source)
        return self.wait(run)

    def count(self, run: str) -> int:
        """How many requests a run has made."""
        return sum(request.run == run for request in self.server.requests)

    def close(self) -> None:
        """End all processes."""
        for run, worker in self._workers.items():
            self.wake(run)
            worker.kill()
            worker.communicate()


@dataclass(frozen=True)
class Case:
    """An earlier and a later run."""

    start: str
    """Source of the complete store that is there before; empty for none."""
    earlier: tuple[Sequence[str], str]
    """Flags and source of the earlier run."""
    later: tuple[Sequence[str], str]
    """Flags and source of the later run."""
    sources: Sequence[str]
    """The store must become what one of these sources gives."""
    puts: int
    """About as many as each of the runs makes."""


_RETRY = ("--resume", "--retry-rejected")
_RECHECK = ("--resume", "--recheck")

CASES = {
    "a new store": Case("", ((), "whole"), (("--resume",), "whole"), ["whole"], 130),
    "rejected rows and a changed source": Case(
        "broken", (_RETRY, "whole"), (_RETRY, "changed"), ["whole", "changed"], 80
    ),
    "rejected rows, then none": Case("broken", (_RETRY, "whole"), (("--resume",), "broken"), ["whole", "broken"], 80),
    "a damaged store": Case("damaged", (_RECHECK, "whole"), (_RECHECK, "whole"), ["whole"], 77),
}


@dataclass(frozen=True)
class Schedule:
    """Before which puts runs of a case are held."""

    case: str
    first: int
    second: int | None = None
    """Of the later run; None if that is not held."""
    cross: bool = False
    """Whether the first run goes on while the second one is held: see `Trials.cross`, else `Trials.overlap`."""


def schedules(case: str) -> list[Schedule]:
    """All of one held run, by put; then all pairs of puts of two held runs, both ways, in a fixed random order."""
    puts = range(CASES[case].puts)
    ways = itertools.product(puts, puts, (False, True))
    pairs = [Schedule(case, *way) for way in ways]
    random.Random(case).shuffle(pairs)
    return [Schedule(case, put) for put in puts] + pairs


@contextlib.contextmanager
def trials(folder: Path) -> Iterator["Trials"]:
    """An archive of six image files: whole, with a broken file, and with other pixels in this file; and its runs."""
    for name, seed in (("whole", 0), ("broken", 0), ("changed", 99)):
        draw(folder / name, seed)
    (folder / "broken" / f"patch_{BROKEN}.tif").write_bytes(b"no image")
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((f"patch_{k}.tif", "AB"[k % 2]) for k in range(ROWS))])
    write_catalogue(folder / "patches.parquet", read_image_table(folder / "table.csv")[0])
    with ObjectServer() as server, contextlib.closing(Runs(server, folder)) as runs:
        yield Trials(runs)


class Trials:
    """Two or three runs on one store, held and woken in different orders."""

    def __init__(self, runs: Runs) -> None:
        self.runs, self.server = runs, runs.server
        self.stores: dict[str, dict[str, bytes]] = {"": {}}
        self.contents: dict[str, dict[str, Any]] = {}
        for source in ("whole", "broken", "changed"):
            self.server.objects = {}
            status, message = runs.finish("run-a", source=source)
            assert status == 0, message
            self.stores[source], self.contents[source] = self.server.objects, content(self.server)
        self.stores["damaged"] = _damaged(self.stores["whole"], self.stores["broken"])
        assert not same(self.contents["whole"], self.contents["changed"])
        assert self.contents["broken"]["state"].tolist() == [1, 1, 1, 2, 1, 1]

    def follow(self, schedule: Schedule) -> bool:
        """Let runs overlap or cross. False if the first one ends without being held."""
        if schedule.cross:
            return self.cross(CASES[schedule.case], schedule.first, schedule.second or 0)
        return self.overlap(CASES[schedule.case], schedule.first, schedule.second)

    def overlap(self, case: Case, pause: int, second_pause: int | None = None) -> bool:
        """A run is held before its put `pause`, a later one completes the store, then the first one goes on.

        With `second_pause` the later run is held, too, and a third one completes the store. False if the first run
        ends without being held.
        """
        waiting = self._begin(case, pause)
        if waiting and second_pause is not None:
            self.runs.start("run-b", *case.later[0], puts=second_pause, source=case.later[1])
            waiting += ["run-b"] if self.runs.until_held("run-b") else []
        earlier = [run for run in waiting if self._puts(run, "store.zarr.lock")]
        self._complete(case, *self.runs.finish("run-c", *case.later[0], source=case.later[1]))
        for run in waiting:
            left = dict(self.server.objects)
            had_finished = self._puts(run, "store.json") == 2  # once to fence it, once with the record
            self.runs.wake(run)
            status, message = self.runs.wait(run)
            if run in earlier:
                assert not _changed(left, self.server.objects), f"{run} has changed objects of a later run"
                assert status == (0 if had_finished else 75), message
                assert had_finished or "has taken the store over" in message, message
        self._require_content(case)
        self._require_new_bytes()
        return bool(waiting)

    def cross(self, case: Case, pause: int, second_pause: int) -> bool:
        """A run is held, then a later one; the first one goes on to its end, then the later one.

        False if the first run ends without being held.
        """
        if not self._begin(case, pause):
            return False
        self.runs.start("run-b", *case.later[0], puts=second_pause, source=case.later[1])
        self.runs.until_held("run-b")
        self.runs.wake("run-a")
        first = self.runs.wait("run-a")
        self.runs.wake("run-b")
        assert first[0] in (0, 75), first
        self._complete(case, *self.runs.wait("run-b"))
        taken = set[str]()
        for request in self.server.requests:
            if request.changed and request.run == "run-b":
                taken.add(request.key)
            assert not (request.changed and request.run == "run-a" and request.key in taken), request
        self._require_content(case)
        self._require_new_bytes()
        return True

    def _complete(self, case: Case, status: int, message: str) -> None:
        """After a later run: it has completed the store, or one with the earlier source does.

        The later run is refused if its source differs and the earlier one has journalled the row that does.
        """
        if status == 2 and case.later[1] != case.earlier[1]:
            assert "--source" in message, message
            status, message = self.runs.finish("run-c", *case.later[0], source=case.earlier[1])
        assert status == 0, message

    def _begin(self, case: Case, pause: int) -> list[str]:
        self.server.objects = dict(self.stores[case.start])
        self.server.requests.clear()
        self.server.etags.clear()
        self.runs.start("run-a", *case.earlier[0], puts=pause, source=case.earlier[1])
        return ["run-a"] if self.runs.until_held("run-a") else []

    def _puts(self, run: str, key: str) -> int:
        """How often a run has changed an object."""
        return sum(one.run == run and one.key == key and one.changed for one in self.server.requests)

    def _require_new_bytes(self) -> None:
        """Check that no object that a run puts again and again ever returns to bytes that it has had before."""
        once = ("zarr.json", ".csv")
        returned = [one for one in self.server.requests if one.returned and not one.key.endswith(once)]
        assert not returned, returned[:3]

    def _require_content(self, case: Case) -> None:
        found = content(self.server)
        assert any(same(found, self.contents[name]) for name in case.sources), "the store has another content"


def _damaged(objects: dict[str, bytes], others: dict[str, bytes]) -> dict[str, bytes]:
    """The objects of a store without a shard and the list of rejected rows, and with two columns of another store."""
    lost = (f"store.zarr/{IMAGES}/c.{BROKEN // 2}.0.0.0", "store.rejected.csv")
    other = {key: others[key] for key in ("store.zarr/state/c.0", "store.zarr/checksum/c.0")}
    return {key: data for key, data in objects.items() if key not in lost} | other


def content(server: ObjectServer) -> dict[str, Any]:
    """Every array of the store, by zarr-python."""
    to_buffer, prefix = default_buffer_prototype().buffer.from_bytes, "store.zarr/"
    objects = {k.removeprefix(prefix): to_buffer(v) for k, v in server.objects.items() if k.startswith(prefix)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr_content(zarr.open_group(MemoryStore(objects), mode="r"))


def _changed(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
