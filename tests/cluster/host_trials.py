"""Extractions on three hosts, one of which is cut off or frozen amid the run, and what becomes of the store."""

import hashlib
import itertools
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from bad_input import SMALL_BLOCKS, listed, product_of, put_catalogue, random_pixels
from cluster.hosts import NAMES, Cluster
from commands import content, reference_of, same

from etl.sample.safe import BLOCK_PX, write_product

__all__ = ["FAST", "TooLateError", "Trial", "draw_trial", "extraction", "make_archive", "try_to_cut", "wait_for_lines"]

_TILE_PX = 720

FAST = {"OMPI_MCA_oob_tcp_keepalive_time": "4", "OMPI_MCA_oob_tcp_keepalive_intvl": "1", "LOST_HOST_S": "3"}
"""Shorter times than those of deploy/settings/hosts.sh, with --stall 6; {} and --stall 75 are those that users have."""

_LIMIT_S = 120.0
"""A job that has lost a host ends within this time."""


class TooLateError(AssertionError):
    """The run had ended before a host was cut off."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What happens to which host."""

    kind: str
    """`link`: its link is down; `frozen`: its processes are stopped."""

    victim: str
    suffix: str
    """Of the store."""

    wakes: str
    """`amid` the resumed run, or `after` it."""

    lines: int = 3
    """Lines of the journal after which it happens."""

    def __str__(self) -> str:
        what = "link of {} down" if self.kind == "link" else "processes of {} frozen"
        return f"{what.format(self.victim)} after {self.lines} lines of the journal, {self.wakes} the resumed run awake"


def draw_trial(rng: random.Random, number: int) -> Trial:
    """A trial; numbers take turns between dead links and frozen processes."""
    kind, suffix = ("link", "frozen")[number % 2], rng.choice([".h5", ".zarr"])
    return Trial(kind, rng.choice(NAMES), suffix, rng.choice(["amid", "after"]), rng.randint(2, 4))


def make_archive(folder: Path) -> Path:
    """An archive of 36 patches, each with its own blocks, and their store as one rank of one host writes it."""
    spec = product_of(1)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        write_product(folder / "tiles", spec, random_pixels(0, _TILE_PX))
    put_catalogue(folder / "patches.parquet", listed(spec, _TILE_PX))
    reference_of(folder)
    return folder


def extraction(archive: Path, out: Path, *flags: str) -> tuple[str, ...]:
    """The command that extracts an archive in small rounds, each of which is journalled."""
    paths = ("--catalogue", str(archive / "patches.parquet"), "--source", str(archive / "tiles"), "--out", str(out))
    shards = ("--shard-rows", "2") if out.suffix == ".zarr" else ()  # several for each rank
    return ("etl.extract", *paths, *shards, "--round-mib", "2", "--sync-s", "0.1", "--decode-threads", "1", *flags)


def try_to_cut(hosts: Cluster, archive: Path, folder: Path, trial: Trial, users: bool = False) -> float:
    """Cut a host off amid an extraction, resume on the others, let it wake; seconds until the first run ended.

    `users`: with the times that users have. The archive holds `reference.h5`.

    Raises:
        AssertionError: a run ended in another way than it must, or the store is not as it must be.
    """
    out, log = folder / f"store{trial.suffix}", folder / "log"
    times, stall = ({}, "75") if users else (FAST, "6")
    with log.open("w") as file, hosts.begin(NAMES, file, *extraction(archive, out, "--stall", stall), **times) as job:
        try:
            wait_for_lines(out, trial.lines, job, log)
            start = time.monotonic()
            _cut(hosts, trial)
            others = [host for host in NAMES if host != trial.victim]
            if trial.kind == "frozen" and trial.victim == NAMES[0]:  # mpirun is frozen with it
                _wait_for_end(hosts, others, _LIMIT_S, but="orted")  # which waits for mpirun
            else:
                status = _status(hosts, job, _LIMIT_S, log)
                if not status:
                    raise TooLateError(log.read_text())
                assert status == 75, log.read_text()
            seconds = time.monotonic() - start
            if trial.kind == "frozen" and trial.victim != NAMES[0]:
                assert "does not run (it is stopped, or its host is lost)" in log.read_text()
            _resume(hosts, others, archive, out, trial, times)
            assert _status(hosts, job, 30, log) == 75, log.read_text()
        finally:
            hosts.link(trial.victim, up=True)
            for host in NAMES:
                hosts.end(host)
    assert same(content(out), content(archive / "reference.h5")), "the content differs"
    return seconds


def _resume(hosts: Cluster, others: list[str], archive: Path, out: Path, trial: Trial, times: dict[str, str]) -> None:
    """Complete the store on the other hosts, and let the victim wake; after that no byte changes."""
    log, lines = out.parent / "log.resumed", _lines(out)
    with log.open("w") as file, hosts.begin(others, file, *extraction(archive, out, "--resume"), **times) as resumed:
        if trial.wakes == "amid":
            wait_for_lines(out, lines + 1, resumed, log)
            _wake(hosts, trial)
        assert _status(hosts, resumed, 200, log) == 0, log.read_text()
    complete = _digests(out)
    if trial.wakes == "after":
        _wake(hosts, trial)
    _wait_for_end(hosts, [trial.victim], 60)
    changed = [name for name, digest in _digests(out).items() if complete.get(name) != digest]
    assert not changed, f"processes of {trial.victim} have changed {changed}"


def _status(hosts: Cluster, job: "subprocess.Popen[Any]", timeout_s: float, log: Path) -> int:
    """Exit status of a job; a hang is an error that lists what runs on each host."""
    try:
        return job.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        pids = [str(pid) for host in NAMES for pid in hosts.pids(host)]
        line = ["ps", "-o", "pid=,stat=,wchan:20=,args=", "-p", ",".join(pids)]
        left = subprocess.run(line, capture_output=True, text=True, check=False).stdout
        raise AssertionError(f"the job hangs for {timeout_s:g} s; on the hosts run:\n{left}{log.read_text()}") from None


def _cut(hosts: Cluster, trial: Trial) -> None:
    if trial.kind == "link":
        hosts.link(trial.victim, up=False)
    else:
        hosts.send(trial.victim, signal.SIGSTOP)


def _wake(hosts: Cluster, trial: Trial) -> None:
    if trial.kind == "link":
        hosts.link(trial.victim, up=True)
    else:
        hosts.send(trial.victim, signal.SIGCONT)


def _lines(out: Path) -> int:
    journal = out.with_name(out.name + ".journal")
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for_lines(out: Path, lines: int, job: "subprocess.Popen[Any]", log: Path) -> None:
    """Wait until the journal has so many lines."""
    deadline = time.monotonic() + 120
    while _lines(out) < lines:
        if job.poll() == 0:
            raise TooLateError(log.read_text())
        assert job.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def _wait_for_end(hosts: Cluster, names: list[str], timeout_s: float, but: str = "") -> None:
    """Wait until no process is left on these hosts, but those of a name."""
    deadline = time.monotonic() + timeout_s
    while left := [pid for name in names for pid in hosts.pids(name, but)]:
        assert time.monotonic() < deadline, f"{left} outlive the job on {names}"
        time.sleep(0.1)


def _digests(out: Path) -> dict[str, str]:
    """Digest of each file of the store, and of those beside it, by name."""
    files = (
        [path for path in out.parent.glob("store*") if path.is_file()],
        [path for path in out.rglob("*") if path.is_file()],
    )
    return {
        str(path.relative_to(out.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in itertools.chain(*files)
    }
