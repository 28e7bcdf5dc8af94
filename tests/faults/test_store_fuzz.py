"""Whatever stands in the metadata of a store, a reader gives the same arrays or refuses it in words.

Metadata of a small real store are changed at random: members of an HDF5 file through h5py, values in the JSON of a Zarr
store and of a manifest. A reader that raises anything else, crashes, hangs or opens another file fails.
What once did is kept in `fixtures/store_edits.json`, and tried again at each run.
"""

import json
import math
import os
import random
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mpi4py import MPI
from store_readers import opened_below
from stores import GOOD, as_zarr, make_store

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.store.location import Location

TESTS = Path(__file__).parents[1]
KEPT: dict[str, list[Any]] = json.loads((TESTS / "fixtures" / "store_edits.json").read_text())
EXAMPLES = settings.default.max_examples * 8 // 100
"""Examples of each kind."""

HANG_S = 60

fuzzed = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Readers:
    """A process that reads stores by every reader."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        self.expected: dict[str, dict[str, Any]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """What every reader says of a store, and which files Python opened."""
        if self._process is None:
            command = [sys.executable, str(TESTS / "store_fuzz_worker.py"), str(self._folder)]
            where = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
            self._process = subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": where, "PYTHONFAULTHANDLER": "1"}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._process.stdin.write(json.dumps(str(path)) + "\n")
        self._process.stdin.flush()
        poll = select.poll()  # not `select.select`, which takes no descriptor above 1,023
        poll.register(self._process.stdout, select.POLLIN)
        ready = poll.poll(HANG_S * 1000)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            _, words = self._process.communicate()
            self._process = None
            raise AssertionError(f"the readers {'crashed' if ready else 'hung'}: {words[-2000:]}")
        return dict(json.loads(line))

    def check(self, path: Path, outside: Path, equal: bool = True) -> None:
        """Check that each reader gives what it gave of the undamaged store, or refuses it; and opens nothing else.

        `equal`: False where values of arrays are changed, too, so that a reader may give others.
        """
        with opened_below(outside) as opened:
            answer = self.read(path)
            assert not opened()
        allowed = (str(path.parent), str(self._folder), sys.prefix, sys.base_prefix, str(TESTS.parent), "/proc", "/sys")
        for name in answer["opened"]:
            assert not name.startswith("/") or name.startswith((*allowed, "/usr", "/dev/shm", "/tmp/dask")), name
        for reader, found in answer["found"].items():
            assert "wrong" not in found, f"{reader}: {found['wrong']}"
            if equal and "refused" not in found:
                good = self.expected[path.suffix][reader]
                assert {name: good.get(name) for name in found} == found, reader

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store in every kind, and a folder that is not to be touched."""
    folder = tmp_path_factory.mktemp("home")
    store = make_store(folder, GOOD[:3], upsampled=False)
    as_zarr(store, folder / "store.zarr", shard_rows=2)
    convert(ConvertSettings(Location.parse(store), Location.parse(folder / "store.json")), MPI.COMM_SELF)
    (folder / "outside").mkdir()
    shutil.copy(store, folder / "outside" / "other.h5")
    return folder


@pytest.fixture(scope="module")
def readers(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    """The process that reads, which knows what the undamaged stores give."""
    process = Readers(tmp_path_factory.mktemp("made"))
    for suffix in (".h5", ".zarr", ".json"):
        process.expected[suffix] = process.read(home / f"store{suffix}")["found"]
        assert not any({"wrong", "refused"} & set(found) for found in process.expected[suffix].values())
    yield process
    process.close()


def kept(kind: str) -> Callable[[Any], Any]:
    """The edits of one kind that are tried at each run."""

    def decorate(test: Any) -> Any:
        for edit in KEPT[kind]:
            test = example(edits=edit)(test)
        return test

    return decorate


VALUES: list[Any] = [
    None, True, -1, 0, 1, 7, 2**31, 2**63, 10**30, 1.5, math.nan, math.inf, "", "..", "a", "uint8", "string",
    "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/x", "\ud800", "\0",
    [], {}, [[]], [0], [-1], ["a"], {"a": 1},
]  # fmt: skip
"""What is put in the place of a value of JSON."""

json_edits = st.lists(
    st.tuples(st.integers(0, 2**32), st.sampled_from(["put", "drop", "copy", "deep"]), st.integers(0, len(VALUES) - 1)),
    min_size=1,
    max_size=3,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value of JSON."""
    found, pending = [], [value]
    while pending:
        inner = pending.pop()
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        found += [(inner, key) for key in keys]
        pending += [inner[key] for key in keys]
    return found


def edited(text: bytes, edits: list[Any]) -> bytes:
    """JSON with some of its values changed; `edits`: (place, what is done, number of the value)."""
    content = json.loads(text)
    for number, action, which in edits:
        there = places(content)
        if not there:
            break
        container, key = there[number % len(there)]
        if action == "put":
            container[key] = VALUES[which]
        elif action == "drop":
            del container[key]
        elif action == "copy":
            source, name = there[(number // 7 + which) % len(there)]
            container[key] = json.loads(json.dumps(source[name]))
        else:
            container[key] = json.loads("[" * 400 + "]" * 400)
    return json.dumps(content).encode()


ZARR_TEXTS = ("zarr.json", "data_10m/zarr.json", "both")


@fuzzed
@kept("zarr")
@given(edits=st.tuples(st.sampled_from(ZARR_TEXTS), json_edits))
def test_changed_metadata_of_a_zarr_store(home, readers, edits):
    which, changes = edits
    store = home / "store.zarr"
    names = ("zarr.json", "data_60m/zarr.json") if which == "both" else (which,)
    before = {name: (store / name).read_bytes() for name in names}
    try:
        for name in names:
            (store / name).write_bytes(edited(before[name], changes))
        readers.check(store, home / "outside")
    finally:
        for name, data in before.items():
            (store / name).write_bytes(data)


@fuzzed
@kept("manifest")
@given(edits=json_edits)
def test_a_changed_manifest(home, readers, edits):
    manifest = home / "store.json"
    before = manifest.read_bytes()
    try:
        manifest.write_bytes(edited(before, edits))
        readers.check(manifest, home / "outside")
    finally:
        manifest.write_bytes(before)


SHAPES: list[tuple[int, ...] | None] = [
    (),
    (0,),
    (1,),
    (3,),
    (6, 1),
    (3, 120, 120, 4),
    (3, 43),
    (4, 4, 2),
    (2**33,),
    None,
]
TYPES = ["u1", "<u2", ">u2", "<i8", "<f4", "S5", "S0x", "ref", "vlen", "compound", "bool"]
ACTIONS = ["delete", "move", "retype", "reshape", "soft", "external", "loop", "attribute", "unscale", "scale", "chunks"]


def dtype_of(kind: str) -> Any:
    """An HDF5 type."""
    odd = {"ref": h5py.ref_dtype, "vlen": h5py.vlen_dtype(np.int32), "compound": np.dtype([("a", "u1"), ("b", "<f8")])}
    return odd.get(kind, h5py.string_dtype() if kind == "S0x" else np.dtype(kind) if kind not in odd else None)


def change_member(file: h5py.File, outside: Path, action: str, chance: random.Random) -> None:
    """One change of an HDF5 store."""
    names: list[str] = []
    file.visit(names.append)
    name, other = chance.choice(names), chance.choice(names)
    if action in ("delete", "soft", "external", "loop"):
        del file[name]
        targets = {"soft": h5py.SoftLink(f"/{other}"), "external": h5py.ExternalLink(outside / "other.h5", f"/{other}")}
        if action in targets:
            file[name] = targets[action]
        elif action == "loop":
            file[name] = file["/"]
    elif action == "move":
        file.move(name, f"{name}_of_old")
    elif action in ("retype", "reshape", "chunks"):
        shape = chance.choice(SHAPES) if action == "reshape" else getattr(file[name], "shape", (3,))
        kind = chance.choice(TYPES) if action == "retype" else "u1"
        more = {"chunks": True} if action == "chunks" and shape else {}
        del file[name]
        if shape is None:
            file[name] = h5py.Empty(dtype_of(kind))
        else:
            file.create_dataset(name, shape, dtype_of(kind), **(more if shape != (2**33,) else {"chunks": (1024,)}))
    elif action == "attribute":
        value = chance.choice(
            [file["/"].ref, b"\xff\xfe", "[" * 5000, np.arange(3), np.float32("nan"), h5py.Empty("f")]
        )
        target = chance.choice([file, file[name]])
        target.attrs[chance.choice(["settings", "schema_version", "class_names", "bands", "nodata", *target.attrs])] = (
            value
        )
    elif isinstance(file[name], h5py.Dataset):
        if action == "unscale":
            file[name].attrs.pop("DIMENSION_LIST", None)
        elif file[name].ndim and isinstance(file[other], h5py.Dataset):
            file[other].make_scale(f"{other}x")
            file[name].dims[chance.randrange(file[name].ndim)].attach_scale(file[other])


@fuzzed
@kept("members")
@given(edits=st.tuples(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3), st.integers(0, 2**32)))
def test_changed_members_of_an_hdf5_store(home, readers, edits):
    actions, seed = edits
    store, chance = home / "store.h5", random.Random(seed)
    before = store.read_bytes()
    try:
        with h5py.File(store, "r+") as file:
            for action in actions:
                try:
                    change_member(file, home / "outside", action, chance)
                except (KeyError, ValueError, RuntimeError, TypeError, OSError):
                    continue  # HDF5 itself refuses the change
        readers.check(store, home / "outside", equal=False)
    finally:
        store.write_bytes(before)
