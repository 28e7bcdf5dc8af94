"""A Slurm of one node on this machine, for tests and `make demo-slurm`: munged, slurmctld and slurmd in a folder.

It needs Debian's packages slurmctld, slurmd, slurm-client and munge, and root: slurmd starts jobs for any user.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SlurmNode", "missing_for_slurm", "run_slurm"]

_PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
"""Debian's package by program."""

_PARTS = ("slurmd", "slurmctld", "munged")
"""Daemons in the order in which they are ended."""

_SECONDS = 60
"""Longest time for a daemon to begin or to end on a busy machine."""

_SETTINGS = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000
ReturnToService=2
KillWait=5
OverTimeLimit=1
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
"""cred_expire: a job that is queued again waits as long, 120 s if it is not set or below 5. OverTimeLimit: on a busy
machine a job may take more than the 10 s that it is given to stop."""


class SlurmNode:
    """A Slurm that runs; `environment` is what its commands, and programs that call them, need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """What a command prints.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def state(self, number: str) -> str:
        """State of a job, also of one that has ended; empty if squeue fails, as it does now and then."""
        try:
            lines = self.run("squeue", "--noheader", "--states=all", "--format=%i|%T").splitlines()
        except AssertionError:
            return ""
        return dict(line.split("|") for line in lines)[number]

    def preempt(self) -> None:
        """Have Slurm preempt all running jobs of chains: an urgent job takes the whole node for a moment."""
        self.run(
            "sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--job-name=urgent",
            "--wrap=sleep 1", "--wait",
        )  # fmt: skip

    def logs(self) -> str:
        """The last lines of the daemons' logs, for the message of a test that failed."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-3000:]}" for path in paths)


def missing_for_slurm() -> str:
    """Why no Slurm can be started here; empty if one can."""
    packages = [package for program, package in _PROGRAMS.items() if shutil.which(program, path=_path()) is None]
    if packages:
        return f"Slurm is not here: apt-get install {' '.join(sorted(packages))}"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@contextlib.contextmanager
def run_slurm(folder: Path, cpus: int = 8) -> Iterator[SlurmNode]:
    """Start a Slurm whose state is in `folder`, which must not exist; end it, with all jobs, after the block.

    The node has `cpus` CPUs, whatever the machine has. Every daemon listens on 127.0.0.1 alone.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    text = _SETTINGS.format(folder=folder, host=host, ports=_free_ports(2), cpus=cpus)
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    node = SlurmNode(folder)
    try:
        _start(node, "munged", *_munge_options(folder))
        _start(node, "slurmctld", "-c")
        _start(node, "slurmd", "-c")
        _wait_until_idle(node)
        yield node
    finally:
        _end(node)


def _munge_options(folder: Path) -> list[str]:
    """--force: munged otherwise refuses folders that only root can enter, such as those of tests."""
    options = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    options["seed-file"] = "munge.seed"
    return ["--force", "--num-threads=1", *(f"--{name}={folder / file}" for name, file in options.items())]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start(node: SlurmNode, program: str, *options: str) -> None:
    """Start a daemon; it returns once it has gone into the background."""
    path = shutil.which(program, path=_path())
    with (node.folder / f"{program}.start").open("w") as file:
        status = subprocess.call(
            [str(path), *options], env=node.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    said = (node.folder / f"{program}.start").read_text()
    assert status == 0, f"{program} ended with {status}: {said}\n{node.logs()}"


def _wait_until_idle(node: SlurmNode) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        answer = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=node.environment, capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == "idle":
            return
        assert time.monotonic() < deadline, f"the node is not idle: {answer.stdout}{answer.stderr}\n{node.logs()}"
        time.sleep(0.2)


def _end(node: SlurmNode) -> None:
    """Cancel all jobs, then end the daemons; nothing of a job may live on."""
    with contextlib.suppress(AssertionError, OSError, subprocess.TimeoutExpired):
        if numbers := node.run("squeue", "--noheader", "--format=%A").split():
            node.run("scancel", "--signal=KILL", "--full", *numbers)
            node.run("scancel", *numbers)
            deadline = time.monotonic() + _SECONDS
            while node.run("squeue", "--noheader") and time.monotonic() < deadline:
                time.sleep(0.2)
    for program in _PARTS:
        _kill(node.folder / f"{program}.pid")


def _kill(pid_file: Path) -> None:
    """End the daemon whose process id is in the file: by SIGTERM, and by SIGKILL if that takes too long."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS / 4
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
