"""Chains of `etl.submit` on a Slurm of one node: settings and site of a small chain, and what a user does meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slurm_node import SlurmNode

from etl.submit.progress import read_progress

__all__ = ["SITE", "Chain", "toml"]

SITE: dict[str, Any] = {
    "launcher": "mpirun",
    "signal_s": 10,
    "cpu": {"cores": 2},
    "gpu": {"cores": 2},
    "jobs": {
        name: {"ranks_per_node": ranks, "time": "00:20:00"}
        for name, ranks in {
            "catalogue": 2, "extract": 2, "superres": 2, "verify": 2, "statistics": 1, "train": 2, "evaluate": 2,
            "report": 1,
        }.items()
    },
}  # fmt: skip
"""A site of one machine with two cores."""


def toml(tables: Mapping[str, Any], prefix: str = "") -> str:
    """A TOML document of nested tables of plain values."""
    lines = [f"{json.dumps(key)} = {_value(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{json.dumps(key)}]", toml(value, f"{prefix}{json.dumps(key)}.")]
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else json.dumps(str(value))


class Chain:
    """A chain in the folder `chain` of a working folder."""

    def __init__(self, node: SlurmNode, folder: Path, settings: Mapping[str, Any], site: Mapping[str, Any]) -> None:
        """Write pipeline.toml and site.toml into `folder`."""
        self.node, self.folder, self.path = node, folder, folder / "chain"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pipeline.toml").write_text(toml(settings))
        (folder / "site.toml").write_text(toml(site))
        self.store = folder / settings["extract"]["out"]
        self.run = folder / settings.get("run", {}).get("out", "runs/latest")

    def submit(self, *flags: str) -> "subprocess.CompletedProcess[str]":
        """`python -m etl.submit` with this chain's site."""
        return subprocess.run(
            [sys.executable, "-m", "etl.submit", "--site", str(self.folder / "site.toml"), *flags],
            cwd=self.folder, env=self.node.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def job(self, name: str) -> str:
        """Number of a job."""
        import json

        return str(json.loads((self.path / "chain.json").read_text())["numbers"][name])

    def state(self, name: str) -> str:
        """State of a job as Slurm has it."""
        return self.node.state(self.job(name))

    def lift_limit(self, name: str) -> None:
        """Give a job 20 minutes from its next attempt on: one that its limit has stopped is enough to see."""
        self.node.run("scontrol", "update", f"JobId={self.job(name)}", "TimeLimit=20")

    def done(self, name: str) -> int:
        """Rows or steps that a job has done."""
        return read_progress(str(self.mark(name))).done

    def mark(self, name: str) -> Path:
        """The file that tells how far a job has come."""
        return Path(f"{self.store}.journal") if name == "extract" else self.run / "checkpoint.npz"

    def log(self, name: str) -> str:
        """What a job has printed."""
        path = self.path / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, what: str, condition: Callable[[], bool], job: str, timeout: float = 500) -> None:
        """Wait for a condition.

        Raises:
            AssertionError: it takes too long, or the job has failed meanwhile.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            state = self.state(job)
            told = f"{what}: {job} is {state}\n{self.log(job)}"
            assert state not in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), told
            assert time.monotonic() < deadline, f"no {told}\n{self.node.logs()}"
            time.sleep(0.1)

    def wait_until_done(self, timeout: float = 500) -> str:
        """Wait until no job is left in the queue; returns what `--status` prints, and checks that all is done."""
        deadline = time.monotonic() + timeout
        while (status := self.submit("--status")).returncode == 75:
            assert time.monotonic() < deadline, f"the chain has not ended:\n{status.stdout}\n{self.node.logs()}"
            time.sleep(0.5)
        assert status.returncode == 0, status.stdout + status.stderr
        return status.stdout
