"""Settings for several hosts: both files are valid, and their times end a job in time."""

import subprocess
from pathlib import Path

import pytest

from etl.extract.settings import ExtractSettings
from etl.settings import load_settings
from trainer.config import RunSettings

SETTINGS = Path(__file__).parents[1] / "deploy" / "settings"
LIMIT_S = 120


def variables(**given):
    """Variables that deploy/settings/hosts.sh leaves when `given` ones are set."""
    command = ["bash", "-euc", f"source {SETTINGS / 'hosts.sh'}; set -o posix; set"]
    lines = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize(("cls", "name"), [(ExtractSettings, "etl.extract"), (RunSettings, "trainer.run")])
def test_a_lost_host_is_noticed_in_time_whoever_notices_it(tmp_path, monkeypatch, cls, name):
    (tmp_path / "pipeline.toml").write_text((SETTINGS / "hosts.toml").read_text())
    monkeypatch.chdir(tmp_path)
    needed = ["--catalogue", "p", "--source", "s"] if cls is ExtractSettings else ["--store", "s.h5"]
    stall = load_settings(cls, name, needed).stall
    found = variables()
    time, interval, probes = (int(found[f"OMPI_MCA_oob_tcp_keepalive_{k}"]) for k in ("time", "intvl", "probes"))
    assert time + interval * probes < stall, "mpirun notices a dead link before the watchdog ends its ranks"
    assert stall + 2 + 10 + int(found["LOST_HOST_S"]) < LIMIT_S  # 10: what writing a note may take


def test_an_interface_is_given_to_all_that_talk_over_the_network():
    found = variables(INTERFACE="ib0", HOROVOD_GLOO_IFACE="eth1")
    names = ("OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_oob_tcp_if_include", "NCCL_SOCKET_IFNAME", "HOROVOD_GLOO_IFACE")
    assert [found[name] for name in names] == ["ib0", "ib0", "ib0", "eth1"]
    of_addresses = variables(INTERFACE="10.1.0.0/16")
    assert of_addresses["OMPI_MCA_btl_tcp_if_include"] == "10.1.0.0/16"
    assert "NCCL_SOCKET_IFNAME" not in of_addresses  # which takes names only
    assert "OMPI_MCA_btl_tcp_if_include" not in variables()
