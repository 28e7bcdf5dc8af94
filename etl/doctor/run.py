"""Test each part of the installation on this machine, and print a repair command for each part that does not work.

Each test does a small piece of real work in its own process, so that a crash or a hang does not stop the other tests.
The exit status is 0 if extraction can run, and 1 if a part that it needs does not work. Parts without which extraction
still runs on one rank (mpirun, TensorFlow, Keras, Horovod) are tested, too, but do not change the exit status.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from etl.doctor import checks
from etl.output import escape_output

__all__ = ["PROBES", "Finding", "Probe", "examine", "main"]

_TIMEOUT_S = 120

_IN_CHECKOUT = Path(__file__).parents[2].joinpath("deploy", "install.sh").exists()
"""False for an installed wheel, which has no installer."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One part of the installation, and the test of it."""

    part: str
    """Its name, as shown."""

    check: Callable[[], str]
    """Function of a module that returns one line about the part, or raises."""

    closes: str
    """Command line that repairs the part when its test fails."""

    needed: bool = True
    """Whether extraction needs it."""

    ranks: int = 0
    """Ranks to start it on by mpirun; 0 to start it without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one probe."""

    probe: Probe
    """The probe."""

    works: bool
    """Whether the check returned."""

    detail: str
    """The line that the check returned, or the reason why it failed."""

    def __str__(self) -> str:
        line = f"{'ok' if self.works else 'FAILED':<8} {self.probe.part:<10} {self.detail}"
        return line if self.works else f"{line}\n{'':<8} {'':<10} repair: {self.probe.closes}"


def _install(extra: str, debs: str = "", first: str = "") -> str:
    """Command line that installs Debian packages, then Python packages: by the installer or, without it, by pip.

    `first` is what pip must install before the extra.
    """
    steps = [f"sudo apt-get install {debs}"] if debs else []
    if _IN_CHECKOUT:
        steps.append("bash deploy/install.sh")
    else:
        steps += [f"pip install {packages}" for packages in (first, f'"sentinel-etl[{extra}]"') if packages]
    return " && ".join(steps)


_GDAL_BINDING = '--no-build-isolation "gdal==$(gdal-config --version)"'
"""The binding must have the library's version; pip alone would take the newest."""

PROBES = (
    Probe("Python", checks.check_python, f"sudo apt-get install python3.11 && PYTHON=python3.11 {_install('extract')}"),
    Probe("processor", checks.check_processor, _install("extract"), needed=False),
    Probe("packages", checks.check_packages, _install("extract")),
    Probe("MPI", checks.check_mpi, _install("extract", "openmpi-bin libopenmpi-dev")),
    Probe(
        "mpirun",
        checks.check_mpirun,
        "as root: export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; "
        f"else: {_install('extract', 'openmpi-bin')}",
        needed=False,
        ranks=2,
    ),
    Probe("h5py", checks.check_parallel_h5py, _install("extract", "libhdf5-openmpi-dev")),
    Probe("GDAL", checks.check_gdal, _install("extract", "gdal-bin libgdal-dev", _GDAL_BINDING)),
    Probe("TensorFlow", checks.check_tensorflow, _install("train"), needed=False),
    Probe("Keras", checks.check_keras, f"unset KERAS_BACKEND; {_install('train')}", needed=False),
    Probe(
        "Horovod",
        checks.check_horovod,
        _install("train") if _IN_CHECKOUT else "bash deploy/install.sh in a checkout of the source, which compiles it",
        needed=False,
    ),
)
"""All probes, in the order shown."""


def examine(probe: Probe, timeout_s: float = _TIMEOUT_S) -> Finding:
    """Run `probe` in a process of its own, for at most `timeout_s` seconds, and return what it found."""
    launch = ["mpirun", "-n", str(probe.ranks)] if probe.ranks else []
    # two ranks must start on one core, too; TensorFlow's start-up messages would hide the error
    env = {**os.environ, "OMPI_MCA_rmaps_base_oversubscribe": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    function = f"{probe.check.__module__}:{probe.check.__qualname__}"
    command = [*launch, sys.executable, "-m", "etl.doctor.checks", function]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        return Finding(probe, False, f"{error.filename} is not on PATH")
    except subprocess.TimeoutExpired:
        return Finding(probe, False, f"did not answer within {timeout_s:g} s")
    if done.returncode == 0:
        return Finding(probe, True, _last_line(done.stdout))
    if done.returncode < 0:
        return Finding(probe, False, f"crashed by {signal.Signals(-done.returncode).name}")
    if "mpirun has detected an attempt to run as root" in done.stderr:  # above a long explanation
        return Finding(probe, False, "mpirun refuses to start as root")
    return Finding(probe, False, _last_line(done.stderr) or f"ended with status {done.returncode}")


def _last_line(text: str) -> str:
    """The last line that says something: mpirun ends its messages with a line of dashes."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip(" -")), "")


def main(argv: Sequence[str] | None = None, probes: Sequence[Probe] = PROBES) -> int:
    """Print a line for each part; return 0 if extraction can run, 1 if something it needs does not work."""
    escape_output()
    argparse.ArgumentParser(
        prog="python -m etl.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    gaps: dict[bool, list[str]] = {True: [], False: []}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for finding in pool.map(examine, probes):
            print(finding, flush=True)
            if not finding.works:
                gaps[finding.probe.needed].append(finding.probe.part)
    if gaps[True]:
        print(f"extraction cannot run, because these parts do not work: {', '.join(gaps[True])}")
    elif gaps[False]:
        print(f"extraction can run on one rank; these other parts do not work: {', '.join(gaps[False])}")
    else:
        print("everything works")
    return 1 if gaps[True] else 0
