"""Chains of jobs on a real Slurm of one node: stopped, preempted, failed, submitted twice, interrupted."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import content, ranks, same
from slurm_chain import SITE, Chain
from slurm_node import missing_for_slurm, run_slurm

from etl.submit.attempts import attempts_path, read_attempts
from trainer.fit.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(bool(missing_for_slurm()), reason=missing_for_slurm() or "Slurm is here")

TESTS = Path(__file__).parents[1]

TRAINING = {
    "out": "runs/a b", "network": "small", "bands": "rgb", "batch": 4, "steps": 300, "checkpoint_steps": 5,
    "deterministic": True, "sync_norm": True, "validate_every": 0, "threads": 1,
}  # fmt: skip

SMALL = f"""#!/bin/bash
# Python in which an extraction takes its time
case "$2" in
etl.extract) shift 2; set -- -m slow_extraction "$@" ;;
esac
exec {sys.executable} "$@"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    with run_slurm(tmp_path_factory.mktemp("slurm") / "node") as started:
        started.environment["PYTHONPATH"] = path
        yield started


def python_script(folder, text):
    """Words that start the Python of a site: a script in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python.sh"
    path.write_text(text)
    path.chmod(0o755)
    return [str(path)]


def make_chain(node, folder, sample, *, site=None, run=None):
    """A chain on the sample; all its names have spaces."""
    settings = {
        "catalogue": {"source": sample / "labels", "lists": sample / "lists"},
        "extract": {
            "catalogue": "the patches.parquet", "source": sample / "tiles", "out": "my stores/store.h5", "sync_s": 0.2,
            "round_mib": 1,
        },
        "stats": {"out": "statistics.png"},
        "run": run or {},
    }  # fmt: skip
    return Chain(node, folder, settings, {**copy.deepcopy(SITE), **(site or {})})


def attempts(chain, job):
    """(status of the command, what was done) of each attempt of a job that has noted its end."""
    entries = read_attempts(attempts_path(chain.path, job))
    return [(entry["command_status"], entry["done"]) for entry in entries if entry["event"] == "end"]


@pytest.mark.timeout(1500)
def test_a_chain_ended_by_its_limit_told_to_stop_and_preempted_gives_what_an_undisturbed_one_gives(
    node, sample, reference, tmp_path
):
    jobs = {**SITE["jobs"], "extract": {"ranks_per_node": 2, "time": "00:01:00"}}  # the shortest limit of Slurm
    site = {"python": python_script(tmp_path, SMALL), "jobs": jobs}
    chain = make_chain(node, tmp_path / "my work", sample, site=site, run=TRAINING)
    submitted = chain.submit()
    assert submitted.returncode == 0, submitted.stderr
    chain.wait("signal", lambda: "told to stop" in chain.log("extract"), "extract")
    again = chain.submit()
    assert again.returncode == 2
    assert "error: the chain in chain has not ended: extract (" in again.stderr
    chain.wait("end of the first attempt", lambda: bool(attempts(chain, "extract")), "extract")
    chain.lift_limit("extract")
    chain.wait("training", lambda: chain.done("train") > 0, "train")
    node.run("scancel", "--signal=USR1", "--batch", chain.job("train"))
    chain.wait("end of the first attempt", lambda: len(attempts(chain, "train")) == 1, "train")
    stopped_at = chain.done("train")
    chain.wait("further steps", lambda: chain.done("train") > stopped_at, "train")
    node.preempt()
    preempted_at = chain.done("train")
    status = chain.wait_until_done()

    assert [status for status, _ in attempts(chain, "extract")] == [75, 0]
    assert 0 < attempts(chain, "extract")[0][1] < attempts(chain, "extract")[1][1] == 335
    assert [status for status, _ in attempts(chain, "train")] == [75, 0]  # the preempted one was killed
    assert 0 < stopped_at <= preempted_at < 300
    assert "DUE TO PREEMPTION" in chain.log("train")
    assert "train" in status
    assert "step 300" in status
    assert same(content(chain.store), content(reference))
    assert "is good" in chain.log("verify")
    assert (chain.folder / "statistics.png").stat().st_size > 0
    assert (chain.folder / "runs/report/report.html").stat().st_size > 0
    require_same_training(chain, tmp_path / "undisturbed")


def require_same_training(chain, out):
    """Compare a chain's training with one that nothing disturbs, bit for bit."""
    flags = {**TRAINING, "out": out, "store": chain.store}
    words = [
        word
        for name, value in flags.items()
        for word in ([f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)]))
    ]
    done = ranks(2, "trainer.run", *words)
    assert done.returncode == 0, done.stderr
    one, other = Checkpoint.load(chain.run / "checkpoint.npz"), Checkpoint.load(out / "checkpoint.npz")
    assert one.state.step == other.state.step == 300
    assert one.state.loss == other.state.loss
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))


@pytest.mark.timeout(600)
def test_ranks_that_srun_starts_are_told_to_stop_by_slurm_and_the_job_goes_on(node, sample, reference, tmp_path):
    site = {"launcher": "srun", "launcher_options": ["--mpi=pmix"], "python": python_script(tmp_path, SMALL)}
    chain = make_chain(node, tmp_path / "work", sample, site=site)
    chain.submit("--last", "extract")
    chain.wait("row", lambda: chain.done("extract") > 0, "extract")
    node.run("scancel", "--signal=USR1", chain.job("extract"))  # as the limit does: steps, not the script
    chain.wait("end of the first attempt", lambda: len(attempts(chain, "extract")) == 1, "extract")
    chain.wait_until_done()
    assert [status for status, _ in attempts(chain, "extract")] == [75, 0]
    assert "--signal=USR1@10" in (chain.path / "extract.sh").read_text()
    assert same(content(chain.store), content(reference))


@pytest.mark.timeout(600)
def test_a_job_without_progress_stops_the_chain_and_the_next_submit_leaves_out_what_is_done(node, sample, tmp_path):
    stuck = f'#!/bin/bash\nif [ "$2" = etl.extract ]; then exit 75; fi\nexec {sys.executable} "$@"\n'
    chain = make_chain(node, tmp_path / "work", sample, site={"python": python_script(tmp_path, stuck)})
    assert chain.submit("--last", "verify").returncode == 0
    deadline = time.monotonic() + 400
    while (status := chain.submit("--status")).returncode == 75:
        assert time.monotonic() < deadline, status.stdout
        time.sleep(0.5)
    assert status.returncode == 1
    assert "3 attempts in a row made no progress (no row)" in status.stdout
    assert "3 attempts in a row made no progress (no row)" in chain.log("extract")
    assert chain.log("extract").count("attempt") >= 3
    assert chain.state("verify") == "CANCELLED"
    assert "verify" in status.stdout
    assert "cancelled" in status.stdout

    python_script(tmp_path, f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    submitted = chain.submit("--last", "verify")
    assert submitted.returncode == 0, submitted.stderr
    assert "catalogue is done and is not submitted again" in submitted.stderr
    chain.wait_until_done()
    assert "all jobs of the chain in chain are done" in chain.submit("--last", "verify").stderr


def queue(node, folder):
    """Names and states of the jobs of a working folder that wait or run."""
    lines = node.run("squeue", "--noheader", "--format=%Z|%j|%T").splitlines()
    return [line.split("|")[1:] for line in lines if line.startswith(f"{folder}|")]


def slow_sbatch(folder):
    """A folder with an sbatch that takes its time, for PATH."""
    folder.mkdir()
    (folder / "sbatch").write_text(f'#!/bin/bash\ntouch {folder}/called\nsleep 1\nexec /usr/bin/sbatch "$@"\n')
    (folder / "sbatch").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_submit_that_is_interrupted_lets_no_job_begin(node, sample, tmp_path, kind):
    chain = make_chain(node, tmp_path / "work", sample)
    path = slow_sbatch(tmp_path / "bin")
    with subprocess.Popen(
        [sys.executable, "-m", "etl.submit", "--site", "site.toml"],
        cwd=chain.folder, env={**node.environment, "PATH": path}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        while not (chain.path / "chain.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, kind)  # as Ctrl-C does: the whole group
        said = process.communicate(timeout=60)[1]
    if kind != signal.SIGKILL:
        assert process.returncode == 1
        assert "error: the chain is not submitted: interrupted; cancelled: " in said
        assert queue(node, chain.folder) == []
    else:
        time.sleep(1.5)  # its last sbatch ends by itself
        assert ["RUNNING"] not in [states for _, *states in queue(node, chain.folder)]
        submitted = chain.submit("--last", "catalogue")
        assert "cancelling what an interrupted etl.submit has left" in submitted.stderr
        chain.wait_until_done()


def test_a_chain_of_which_slurm_refuses_a_job_leaves_none_in_the_queue(node, sample, tmp_path):
    jobs = {**SITE["jobs"], "train": {"kind": "gpu", "time": "00:20:00"}}
    site = {"gpu": {"cores": 2, "partition": "nowhere"}, "jobs": jobs}
    chain = make_chain(node, tmp_path / "work", sample, site=site)
    refused = chain.submit()
    assert refused.returncode == 1
    assert "invalid partition specified: nowhere" in refused.stderr
    assert queue(node, chain.folder) == []
