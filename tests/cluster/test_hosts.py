"""Three hosts on one machine: the same content, and the end and the resumption of a job that loses one."""

import pytest
from cluster.host_trials import Trial, extraction, make_archive, try_to_cut
from cluster.hosts import NAMES, cluster, missing
from commands import content, same

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
    Trial("frozen", "host3", ".h5", "after"),
    Trial("frozen", "host2", ".h5", "amid"),
    Trial("frozen", "host3", ".zarr", "after"),
]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.kind}-{trial.victim}{trial.suffix}-{trial.wakes}")
def test_a_job_that_loses_a_host_ends_with_75_and_what_wakes_there_changes_nothing(hosts, archive, tmp_path, trial):
    try_to_cut(hosts, archive, tmp_path, trial)
