"""Three hosts on one machine: the same content, and the end and the resumption of a job that loses one."""

import json
import signal
import time

import pytest
from cluster.host_trials import FAST, Trial, extraction, make_archive, try_to_cut, wait_for_lines
from cluster.hosts import NAMES, cluster, missing
from commands import content, same
from stores import TRAIN, training_store

from trainer.fit.checkpoint import LAST, Checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Hosts for the tests of this file."""
    with cluster(tmp_path_factory.mktemp("hosts") / "keys") as made:
        yield made


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What the tests of this file extract."""
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_three_hosts_write_what_one_writes(hosts, archive, tmp_path, suffix):
    out = tmp_path / f"store{suffix}"
    assert hosts.run(NAMES, tmp_path / "log", *extraction(archive, out)) == 0, (tmp_path / "log").read_text()
    assert "by 3 ranks" in (tmp_path / "log").read_text()
    assert same(content(out), content(archive / "reference.h5"))


TRIALS = [
    Trial("link", "host3", ".h5", "amid"),
    Trial("link", "host1", ".zarr", "after"),
    Trial("link", "host2", ".h5", "after"),
    Trial("frozen", "host3", ".h5", "after"),
    Trial("frozen", "host2", ".h5", "amid"),
    Trial("frozen", "host1", ".zarr", "amid"),
]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.kind}-{trial.victim}{trial.suffix}-{trial.wakes}")
def test_a_job_that_loses_a_host_ends_with_75_and_what_wakes_there_changes_nothing(hosts, archive, tmp_path, trial):
    try_to_cut(hosts, archive, tmp_path, trial, users=trial == TRIALS[0])


def test_a_signal_to_the_script_reaches_all_hosts_and_its_status_is_that_of_mpirun(hosts, archive, tmp_path):
    out, log = tmp_path / "store.h5", tmp_path / "log"
    with log.open("w") as file, hosts.begin(NAMES, file, *extraction(archive, out)) as job:
        wait_for_lines(out, 3, job, log)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=60) == 75, log.read_text()
    assert "stopped by a signal; every row written so far is kept" in log.read_text()


def training(folder, out, *flags):
    fixed = ("--store", folder / "store.h5", "--out", folder / out, "--bands", "rgb", "--batch", 2, "--warmup", 0)
    more = ("--decay", "none", "--validate-every", 0, "--checkpoint-steps", 1, "--deterministic", "--threads", 1)
    return ("trainer.run", "--network", "small", *map(str, (*fixed, *more, *flags)))


@pytest.mark.timeout(1500)
def test_a_training_that_loses_a_host_ends_with_75_and_resumes_to_the_same_weights(hosts, tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN] * 11)
    log, others = tmp_path / "log", ["host1", "host3"]
    with log.open("w") as file:
        job = hosts.begin(["host1", "host2"], file, *training(tmp_path, "cut", "--steps", 10**6), **FAST)
        try:
            while not (tmp_path / "cut" / LAST).exists():
                assert job.poll() is None, log.read_text()
                time.sleep(0.05)
            hosts.link("host2", up=False)
            assert job.wait(timeout=120) == 75, log.read_text()
            step = Checkpoint.load(tmp_path / "cut" / LAST).state.step
            last = str(step + 2)
            assert hosts.run(others, log, *training(tmp_path, "cut", "--steps", last, "--resume"), **FAST) == 0
        finally:
            hosts.link("host2", up=True)
            for host in NAMES:
                hosts.end(host)
    assert f"resumed at step {step} of {last}" in log.read_text()
    assert hosts.run(others, log, *training(tmp_path, "whole", "--steps", last), **FAST) == 0, log.read_text()
    cut, whole = (json.loads((tmp_path / run / "run.json").read_text()) for run in ("cut", "whole"))
    assert cut["workers"] == 2
    assert cut["weights_checksums"] == whole["weights_checksums"]
