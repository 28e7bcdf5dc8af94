"""Settings of `etl.submit`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_at_least, setting

__all__ = ["JOB_NAMES", "SubmitSettings"]

JOB_NAMES = ("catalogue", "extract", "verify", "statistics", "train", "evaluate", "report")
"""Jobs of a chain, in an order in which each comes after those that it needs."""


@dataclass(frozen=True, slots=True)
class SubmitSettings:
    """Submit the commands from the catalogue to the report as a chain of Slurm jobs, or tell the state of the chain.

    Each job runs in the current folder and reads pipeline.toml there, when it starts. A job that its time limit or a
    preemption has stopped is queued again and resumes. If the chain is submitted again after it has ended, jobs that
    are done are left out.
    """

    site: str = setting(
        "generic", "what the cluster is like: generic, jsc, nersc, kubernetes, or the path of a site file (.toml)"
    )
    chain: Path = setting(Path("chain"), "folder for the scripts, logs and records of the jobs")
    account: str = setting("", "account that the jobs are charged to; empty = the one of the site file, if any")
    first: str = setting(
        "",
        "submit this job and all later ones, done or not; empty = all that are not done",
        choices=("", *JOB_NAMES),
    )
    last: str = setting("report", "last job of the chain", choices=JOB_NAMES)
    extract_nodes: int = setting(0, "nodes of the extraction; 0 = as in the site file")
    train_nodes: int = setting(0, "nodes of the training; 0 = as in the site file")
    report: Path = setting(Path("runs/report"), "folder of the report")
    deploy: Path | None = setting(
        None, "folder with sites/ and slurm/, the site files and job scripts; none = deploy/ of the checkout"
    )
    dry_run: bool = setting(False, "print the scripts, but write and submit nothing")
    status: bool = setting(False, "print the state of the chain; the exit status is 0 if it is done, 75 if it runs")

    def __post_init__(self) -> None:
        require_at_least(self, extract_nodes=0, train_nodes=0)
        if self.first and JOB_NAMES.index(self.first) > JOB_NAMES.index(self.last):
            raise ValueError(f"--first must not come after --last, got {self.first} and {self.last}")
        if any(letter < " " for letter in str(self.chain.absolute())):
            raise ValueError(f"--chain must have no line break or other control character, got {str(self.chain)!r}")
        if self.chain.exists() and not self.chain.is_dir():
            raise ValueError(f"--chain must be a folder, {self.chain} is a file")
