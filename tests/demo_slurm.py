"""`make demo-slurm`: a chain of jobs on a Slurm of one node, ended by time limits and preempted once.

It starts a Slurm that listens on 127.0.0.1 alone and ends with the demo, submits the chain on a small sample, and tells
what happens to it.
"""

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm_chain import SITE, Chain
from slurm_node import SlurmNode, missing_for_slurm, run_slurm

from etl.files import remove_path

_START_S = time.monotonic()

_PIPELINE = {
    "catalogue": {"source": "data/labels", "lists": "data/lists"},
    "extract": {"source": "data/tiles", "out": "data/store.h5", "sync_s": 0.2, "round_mib": 1},
    "run": {"bands": "rgb", "batch": 8, "steps": 60, "checkpoint_steps": 5, "validate_every": 0, "threads": 1},
}


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make demo-slurm", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo/slurm"), help="folder of the demo; it is made anew")
    out = parser.parse_args().out.absolute()
    if problem := missing_for_slurm():
        print(f"error: {problem}", file=sys.stderr)
        return 1
    remove_path(out)
    out.mkdir(parents=True)
    tell("drawing a sample of three small tiles")
    python(out, "etl.sample", "--out", "data", "--tile-px", "1980", "--tiles", "3")
    with tempfile.TemporaryDirectory() as folder, run_slurm(Path(folder) / "slurm") as node:
        tell("a Slurm of one node runs on 127.0.0.1")
        show_chain(make_chain(node, out))
    tell(f"all jobs are done; look at {out}/runs/report/report.html, and at the scripts and logs in {out}/chain")
    return 0


def make_chain(node: SlurmNode, out: Path) -> Chain:
    """The chain of the demo: one minute for the extraction, two for the training."""
    site = copy.deepcopy(SITE)
    site["jobs"]["extract"]["time"] = "00:01:00"
    site["jobs"]["train"]["time"] = "00:02:00"
    return Chain(node, out, _PIPELINE, site)


def show_chain(chain: Chain) -> None:
    """Submit the chain and tell what happens to it, until it is done."""
    print(chain.submit().stderr, end="")
    chain.wait("row", lambda: chain.done("extract") > 0, "extract")
    rows = chain.done("extract")
    tell(f"extraction has begun: {rows} rows are finished; its time limit is one minute")
    stop_in_the_middle(chain, "extract", 400)
    chain.wait("step", lambda: chain.done("train") > 0, "train", 600)
    tell(f"training has begun: step {chain.done('train')}; its time limit is two minutes")
    stop_in_the_middle(chain, "train", 30)
    step = chain.done("train")
    chain.wait("further step", lambda: chain.done("train") > step or chain.state("train") == "COMPLETED", "train", 600)
    tell(f"training goes on: step {chain.done('train')}; an urgent job takes the node away from it")
    chain.node.preempt()
    tell("the training is queued again")
    print(chain.wait_until_done(900), end="")
    for name in ("extract", "train"):
        lines = [line for line in chain.log(name).splitlines() if "chain: " in line or "PREEMPTION" in line]
        print(f"---- the log of {name} tells:", *lines, sep="\n")


def stop_in_the_middle(chain: Chain, job: str, most: int) -> None:
    """Wait until the time limit has stopped a job; if it is fast, tell it to stop before it has done its work."""
    chain.wait(
        "stop", lambda: "told to stop" in chain.log(job) or chain.done(job) >= most, job, 600
    )  # at `most` rows or steps the limit would come too late
    if "told to stop" in chain.log(job):
        tell(f"Slurm has told the {job} job that its time is nearly up")
    else:
        tell(f"the {job} job is fast: it is told to stop now, as near its time limit")
        chain.node.run("scancel", "--signal=USR1", "--batch", chain.job(job))
    chain.wait("second attempt", lambda: "queued again" in chain.log(job), job)
    chain.lift_limit(job)
    tell(f"it has stopped at {chain.done(job)} and is queued again, now with a limit of 20 minutes")


def tell(what: str) -> None:
    """Print what happens, with the seconds since the start."""
    print(f"[{time.monotonic() - _START_S:4.0f} s] {what}", flush=True)


def python(folder: Path, *command: str) -> None:
    """Run a command of the project."""
    subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True)


if __name__ == "__main__":
    sys.exit(main())
