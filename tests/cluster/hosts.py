"""Three hosts on one machine: network namespaces on a bridge, each with its own address, name and sshd.

They share the file system, as hosts of a cluster share a parallel one. It needs root rights, sshd, ip and tc.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["Cluster", "cluster", "missing"]

NAMES = ("host1", "host2", "host3")

_PREFIX = "etl-"
"""How the namespaces are called: etl-host1, ..., and etl-net with the bridge."""

_NETWORK = "10.77.0"

_STATE = Path("/run/sentinel-etl-hosts")
"""Names of hosts (UTS namespaces), and the lock that lets one cluster at a time exist on this machine."""

_LAUNCHER = Path(__file__).parents[2] / "deploy" / "mpirun.sh"

_TOOLS = {"sshd": "openssh-server", "ssh-keygen": "openssh-client", "ip": "iproute2", "nsenter": "util-linux"}


def missing() -> str:
    """What keeps hosts from being made here, and what to do; empty if nothing does."""
    if os.geteuid():
        return "network namespaces need root rights"
    packages = sorted({package for tool, package in _TOOLS.items() if _which(tool) is None})
    if packages:
        return f"hosts need Debian's {', '.join(packages)} (apt-get install)"
    name = f"probe-{os.getpid()}"
    probe = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, env=_environment())
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, env=_environment())
    return f"this machine makes no network namespaces: {probe.stderr.strip()}" if probe.returncode else ""


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=_environment()["PATH"])


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hosts that run; rank 0 is on the first one, on which mpirun is started."""

    folder: Path
    """Keys and configuration of sshd and ssh."""

    names: tuple[str, ...] = NAMES

    def line(self, host: str, *command: str) -> list[str]:
        """The command line that runs a command on a host."""
        inside = ("nsenter", f"--uts={_STATE / host}", "--", *command)
        return ["ip", "netns", "exec", _PREFIX + host, *inside]

    def begin(self, hosts: Sequence[str], log: IO[str], *command: str, **variables: str) -> "subprocess.Popen[Any]":
        """Start `python -m <command>` by deploy/mpirun.sh on the first host, with a rank on each of the hosts."""
        launcher = ("bash", str(_LAUNCHER), "-n", str(len(hosts)), "--host", ",".join(f"{host}:1" for host in hosts))
        line = self.line(hosts[0], *launcher, sys.executable, "-m", *command)
        agent = f"ssh -F {self.folder / 'ssh_config'}"
        more = {"OMPI_MCA_plm_rsh_agent": agent, "PYTHONPATH": str(_LAUNCHER.parents[1]), "INTERFACE": "eth0"}
        environment = {**_environment(), **more, **variables}
        return subprocess.Popen(line, stdout=log, stderr=log, env=environment, start_new_session=True)

    def run(self, hosts: Sequence[str], log: Path, *command: str, timeout: float = 600, **variables: str) -> int:
        """Do what `begin` does, to the end; its exit status."""
        with log.open("a") as file, self.begin(hosts, file, *command, **variables) as job:
            try:
                return job.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                for host in hosts:
                    self.end(host)
                raise AssertionError(f"{' '.join(command)} hung for {timeout} s\n{log.read_text()}") from None

    def link(self, host: str, *, up: bool) -> None:
        """Connect a host with the network, and wait until it and the others reach each other; or cut it off."""
        _run("ip", "-n", f"{_PREFIX}net", "link", "set", f"to-{host}", "up" if up else "down")
        if up:
            # for some seconds a host may be "unreachable" to one that has sought it while it was cut off
            for other in self.names:
                for source, target in ((host, other), (other, host)):
                    _wait_for_ssh(self, source, target)

    def pids(self, host: str, but: str = "") -> list[int]:
        """Processes of a host but its sshd, which has no part in a job once orted runs, and those of a name."""
        listed = _run("ip", "netns", "pids", _PREFIX + host).split()
        return [int(pid) for pid in listed if _name_of(int(pid)) not in ("sshd", "", but)]

    def send(self, host: str, kind: signal.Signals) -> None:
        """Send a signal to all processes of a host."""
        for pid in self.pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)

    def end(self, host: str) -> None:
        """End all processes of a host but its sshd."""
        self.send(host, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while self.pids(host):
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of {host} outlive SIGKILL: {self.pids(host)}")
            time.sleep(0.05)

    def slow(self, host: str, *, mbit_per_s: float = 0, loss: float = 0, delay_s: float = 0) -> None:
        """Limit the rate of a host's link, drop a share of the packets that come to it, and delay both ways."""
        net, space = f"{_PREFIX}net", _PREFIX + host
        if mbit_per_s:
            rate = ("root", "tbf", "rate", f"{mbit_per_s}mbit", "burst", "256kb", "latency", "100ms")
            _run("tc", "-n", net, "qdisc", "replace", "dev", f"to-{host}", *rate)
            _run("tc", "-n", space, "qdisc", "replace", "dev", "eth0", *rate)
        if loss:
            chance = ("-m", "statistic", "--mode", "random", "--probability", str(loss), "-j", "DROP")
            _run(*self.line(host, "iptables", "-A", "INPUT", "-i", "eth0", *chance))
        if delay_s:
            _run("ip", "-n", net, "link", "set", f"to-{host}", "nomaster")
            _run("ip", "-n", net, "link", "add", f"a-{host}", "type", "veth", "peer", "name", f"b-{host}")
            _run("ip", "-n", net, "link", "set", f"b-{host}", "master", "bridge", "up")
            for device in (f"a-{host}", f"to-{host}"):
                _run("ip", "-n", net, "link", "set", device, "promisc", "on", "up")
            relay = (sys.executable, str(Path(__file__).with_name("relay.py")), f"a-{host}", f"to-{host}", str(delay_s))
            # it ends with the namespaces
            line = ["ip", "netns", "exec", net, *relay]
            started = subprocess.Popen(line, stdout=subprocess.PIPE, start_new_session=True)
            started.stdout.readline()


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _run(*command: str) -> str:
    """What a command prints; an error names it."""
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Hosts that exist in the `with` block; keys and configuration are made in `folder`.

    What a killed run left of earlier ones is removed first. Another run's cluster is waited for.
    """
    _STATE.mkdir(exist_ok=True)
    with (_STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), False)
        _remove()
        try:
            _make_network()
            _make_keys(folder)
            for host in NAMES:
                _start_sshd(folder, host)
            yield Cluster(folder)
        finally:
            _remove()


def _make_network() -> None:
    """The namespaces, and the bridge that connects them."""
    net, table = f"{_PREFIX}net", "127.0.0.1 localhost\n"
    table += "".join(f"{_NETWORK}.{number} {host}\n" for number, host in enumerate(NAMES, 1))
    _run("ip", "netns", "add", net)
    _run("ip", "-n", net, "link", "add", "bridge", "type", "bridge")
    _run("ip", "-n", net, "link", "set", "bridge", "up")
    for number, host in enumerate(NAMES, 1):
        space = _PREFIX + host
        (Path("/etc/netns") / space).mkdir(parents=True, exist_ok=True)
        (Path("/etc/netns") / space / "hosts").write_text(table)
        _run("ip", "netns", "add", space)
        _run("ip", "-n", net, "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "-n", net, "link", "set", f"to-{host}", "master", "bridge", "up")
        _run("ip", "-n", space, "address", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", space, "link", "set", device, "up")
        (_STATE / host).touch()
        _run("unshare", f"--uts={_STATE / host}", "hostname", host)


def _make_keys(folder: Path) -> None:
    """A key of the hosts, one of their user, and ssh's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    known = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text("".join(f"{host} {' '.join(known)}\n" for host in NAMES))
    said = {
        "IdentityFile": folder / "user_key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    (folder / "ssh_config").write_text("".join(f"{key} {value}\n" for key, value in said.items()))
    (folder / "ssh_config").chmod(0o600)


def _start_sshd(folder: Path, host: str) -> None:
    """Start a host's sshd, and wait until it answers."""
    said: dict[str, Any] = {
        "ListenAddress": f"{_NETWORK}.{NAMES.index(host) + 1}",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "user_key.pub",
        "PidFile": folder / f"{host}.pid",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
    }
    config = folder / f"{host}.sshd"
    config.write_text("".join(f"{key} {value}\n" for key, value in said.items()))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    here = Cluster(folder)
    _run(*here.line(host, str(_which("sshd")), "-f", str(config), "-E", str(folder / f"{host}.log")))
    try:
        _wait_for_ssh(here, host, host)
    except TimeoutError as error:
        raise TimeoutError(f"{error}{(folder / f'{host}.log').read_text()}") from None


def _wait_for_ssh(hosts: Cluster, source: str, target: str, timeout_s: float = 20) -> None:
    """Wait until the sshd of a host answers another one, or itself."""
    deadline = time.monotonic() + timeout_s
    while True:
        line = hosts.line(source, "ssh", "-F", str(hosts.folder / "ssh_config"), target, "hostname")
        done = subprocess.run(line, capture_output=True, text=True)
        if done.stdout.strip() == target:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"sshd of {target} does not answer {source}: {done.stderr}")
        time.sleep(0.1)


def _remove() -> None:
    """End all processes of the hosts, and remove what was made for them."""
    spaces = [line.split()[0] for line in _run("ip", "netns", "list").splitlines() if line.startswith(_PREFIX)]
    for space in spaces:
        for pid in _run("ip", "netns", "pids", space).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _run("ip", "netns", "delete", space)
        shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)
    for host in NAMES:
        subprocess.run(["umount", str(_STATE / host)], capture_output=True)
        (_STATE / host).unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """That of this process; programs of a system's administrator are found, too."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
