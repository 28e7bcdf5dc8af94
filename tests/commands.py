"""Commands run as a user runs them, and what they leave."""

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import zarr

__all__ = ["begin", "content", "extract", "mpirun", "ranks", "ranks_of", "reference_of", "same"]


def mpirun(size: int, *command: str) -> list[str]:
    """The command line that runs a module on `size` ranks; one rank needs no mpirun."""
    line = [sys.executable, "-m", *command]
    return ["mpirun", "-n", str(size), *line] if size > 1 else line


def begin(
    size: int, *command: str, environment: Mapping[str, str | None] | None = None, **how: Any
) -> "subprocess.Popen[Any]":
    """Start `python -m <command>` on `size` ranks, in a session of its own; `how` is Popen's. In `environment`, None
    takes a variable away.

    The environment is Python's: importing h5py starts MPI in this process, which adds to the C library's own what makes
    a later mpirun take itself for a rank, and end with status 1 and no word.
    """
    wanted = {**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})}
    variables = {name: value for name, value in wanted.items() if value is not None}
    return subprocess.Popen(mpirun(size, *command), env=variables, start_new_session=True, **how)


def ranks(
    size: int,
    *command: str,
    cwd: Path | None = None,
    timeout: float = 240,
    environment: Mapping[str, str | None] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m <command>` on `size` ranks to its end.

    Raises:
        AssertionError: it hung; all ranks are ended, and the error shows where each thread of each rank was.
    """
    how = {"cwd": cwd, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with begin(size, *command, environment=environment, **how) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            left = ranks_of(process)
            for rank in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    rank.send_signal(signal.SIGABRT)  # on which faulthandler shows the stacks
                    psutil.wait_procs([rank], timeout=1)  # one after the other, as they share one stream
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            hung = f"{' '.join(command)} on {size} ranks hung for {timeout} s, {len(left)} of them still there"
            raise AssertionError(f"{hung}\n{out}\n{err}") from None
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def ranks_of(job: "subprocess.Popen[Any]") -> list[psutil.Process]:
    """Processes of the ranks of a job that was begun: itself, or those that its mpirun has started by now."""
    try:
        process = psutil.Process(job.pid)
        return process.children(recursive=True) if job.args[0] == "mpirun" else [process]
    except psutil.NoSuchProcess:
        return []


def extract(
    size: int, archive: Path, out: Path, *flags: str, timeout: float = 240
) -> "subprocess.CompletedProcess[str]":
    """Extract the tiles of a sample archive; `flags` may name another source."""
    paths = ("--catalogue", str(archive / "patches.parquet"), "--source", str(archive / "tiles"), "--out", str(out))
    return ranks(size, "etl.extract", *paths, *flags, timeout=timeout)


def reference_of(archive: Path) -> Path:
    """A sample archive's store as one rank writes it, in its folder."""
    out = archive / "reference.h5"
    done = extract(1, archive, out)
    assert done.returncode == 0, done.stderr
    return out


def content(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Every data set of a store of either format, a Zarr one by zarr-python."""
    found = {}
    if path.suffix == ".zarr":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr_content(zarr.open_group(path, mode="r"))
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
    return found


def zarr_content(group: zarr.Group) -> dict[str, np.ndarray[Any, Any]]:
    """Every array of a Zarr store; text, which it holds twice, as bytes, once the strings are found to be the same."""
    members = group.members(max_depth=None)
    found = {name: np.asarray(item[...]) for name, item in members if isinstance(item, zarr.Array)}
    for name in [name for name in found if name.startswith("utf8/")]:
        array = found.pop(name)
        text = array.view(f"S{array.shape[-1]}")[..., 0]
        plain = name.removeprefix("utf8/")
        assert [word.decode() for word in text.tolist()] == found[plain].tolist(), plain
        found[plain] = text
    return found


def same(one: dict[str, np.ndarray[Any, Any]], other: dict[str, np.ndarray[Any, Any]]) -> bool:
    """Whether two stores hold the same data sets with the same bytes (so that NaN equals NaN)."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
