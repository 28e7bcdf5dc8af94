"""Says what of the stack works on this machine, and for each gap the line that closes it.

Every part does a piece of real work in a process of its own, so that one that crashes or hangs takes no other with it.
Exit status 0 where extraction can run, 1 where something it needs is missing; a gap that only training would meet is
shown and does not count.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

__all__ = ["PROBES", "Finding", "Probe", "examine", "main"]

_INSTALL = "bash deploy/install.sh"
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Probe:
    """One part of the stack and the work that shows it to be in order."""

    part: str
    """Its name, as shown."""

    code: str
    """Python program that prints one line about the part, or fails."""

    closes: str
    """Command line that closes the gap when it fails."""

    needed: bool = True
    """Whether extraction needs it."""

    ranks: int = 0
    """Ranks to start it on by mpirun; 0 to start it without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one probe."""

    probe: Probe
    """The probe."""

    works: bool
    """Whether it did its work."""

    detail: str
    """Its own line about itself, or the reason why it failed."""

    def __str__(self) -> str:
        line = f"{'ok' if self.works else 'missing':<8} {self.probe.part:<10} {self.detail}"
        return line if self.works else f"{line}\n{'':<8} {'':<10} to close the gap: {self.probe.closes}"


PROBES = (
    Probe(
        "Python",
        """
import sys
if sys.version_info < (3, 11):
    raise SystemExit(f"3.11 or newer is needed, this is {sys.version.split()[0]}")
print(sys.version.split()[0], sys.executable)
""",
        f"PYTHON=python3.11 {_INSTALL}",
    ),
    Probe(
        "processor", "from etl.processor import describe_processor; print(describe_processor())", _INSTALL, needed=False
    ),
    Probe(
        "packages",
        """
import importlib, importlib.metadata
names = ["numpy", "pyarrow", "xarray", "h5netcdf", "zarr", "tensorstore", "xxhash", "matplotlib"]
for name in names:
    importlib.import_module(name)
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
""",
        _INSTALL,
    ),
    Probe(
        "MPI",
        """
from mpi4py import MPI
levels = {getattr(MPI, "THREAD_" + name): name for name in ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")}
library = MPI.Get_library_version().split(",")[0].strip().splitlines()[0]
print(f"{library}, thread level {levels[MPI.Query_thread()]}")
""",
        f"sudo apt-get install openmpi-bin libopenmpi-dev && {_INSTALL}",
    ),
    Probe(
        "mpirun",
        """
from mpi4py import MPI
total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)
if total != 3:
    raise SystemExit(f"two ranks do not form one job: their ranks + 1 sum to {total}, not 3")
if MPI.COMM_WORLD.rank == 0:
    print("two ranks exchanged a number")
""",
        "as root: export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; "
        f"else: sudo apt-get install openmpi-bin && {_INSTALL}",
        needed=False,
        ranks=2,
    ),
    Probe(
        "h5py",
        """
import pathlib, tempfile
import h5py
if not h5py.get_config().mpi:
    print(f"{h5py.__version__} without MPI: HDF5 is written by one rank, or by many with --write independent")
    raise SystemExit(0)
from mpi4py import MPI
with tempfile.TemporaryDirectory() as folder:
    with h5py.File(pathlib.Path(folder, "a.h5"), "w", driver="mpio", comm=MPI.COMM_SELF) as file:
        file["a"] = [1, 2, 3]
print(f"{h5py.__version__} with MPI, HDF5 {h5py.version.hdf5_version}, wrote a file through MPI-IO")
""",
        f"sudo apt-get install libhdf5-openmpi-dev && {_INSTALL}",
    ),
    Probe(
        "GDAL",
        """
import numpy as np
from osgeo import gdal, gdal_array
gdal.UseExceptions()
driver = gdal.GetDriverByName("JP2OpenJPEG")
if driver is None:
    raise SystemExit(f"GDAL {gdal.__version__} has no JPEG 2000 driver JP2OpenJPEG")
pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 15
driver.CreateCopy("/vsimem/a.jp2", gdal_array.OpenArray(pixels), options=["REVERSIBLE=YES", "QUALITY=100"])
if not np.array_equal(gdal.Open("/vsimem/a.jp2").ReadAsArray(), pixels):
    raise SystemExit(f"GDAL {gdal.__version__} does not give back a lossless JPEG 2000 image")
print(f"{gdal.__version__}, JP2OpenJPEG decoded a lossless image")
""",
        f"sudo apt-get install gdal-bin libgdal-dev && {_INSTALL}",
    ),
    Probe(
        "TensorFlow",
        """
import tensorflow as tf
if float(tf.reduce_sum(tf.ones((2, 3)))) != 6:
    raise SystemExit(f"TensorFlow {tf.__version__} cannot add")
print(f"{tf.__version__}, {len(tf.config.list_physical_devices('GPU'))} GPUs")
""",
        _INSTALL,
        needed=False,
    ),
    Probe(
        "Keras",
        """
import keras
if keras.backend.backend() != "tensorflow":
    raise SystemExit(f"Keras {keras.__version__} runs on {keras.backend.backend()}, TensorFlow is needed")
print(f"{keras.__version__} on {keras.backend.backend()}")
""",
        f"unset KERAS_BACKEND; {_INSTALL}",
        needed=False,
    ),
    Probe(
        "Horovod",
        """
import horovod
import horovod.tensorflow as hvd
if not hvd.mpi_built():
    raise SystemExit(f"Horovod {horovod.__version__} was built without MPI")
hvd.init()
print(f"{horovod.__version__} with MPI{' and NCCL' if hvd.nccl_built() else ''}, started {hvd.size()} worker")
""",
        _INSTALL,
        needed=False,
    ),
)
"""Everything that is looked at, in the order shown."""


def examine(probe: Probe, timeout_s: float = _TIMEOUT_S) -> Finding:
    """What `probe` finds, running in a process of its own for `timeout_s` seconds at most."""
    launch = ["mpirun", "-n", str(probe.ranks)] if probe.ranks else []
    # More ranks than cores are no gap; TensorFlow's start-up notes are none either.
    env = {**os.environ, "OMPI_MCA_rmaps_base_oversubscribe": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*launch, sys.executable, "-c", probe.code]
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
    return Finding(probe, False, _reason(done.stderr) or f"ended with status {done.returncode}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _reason(stderr: str) -> str:
    """The line of `stderr` that says most: mpirun buries it in banners, Python puts it last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip(" \n-")]
    if "mpirun has detected an attempt to run as root" in stderr:
        return "mpirun refuses to start as root"
    return _last_line("\n".join(lines))


def main(argv: Sequence[str] | None = None, probes: Sequence[Probe] = PROBES) -> int:
    """Print a line a part; 0 where extraction can run, 1 where something it needs is missing."""
    argparse.ArgumentParser(
        prog="python -m etl.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    needed_gaps: list[str] = []
    other_gaps: list[str] = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        for finding in pool.map(examine, probes):
            print(finding, flush=True)
            if not finding.works:
                (needed_gaps if finding.probe.needed else other_gaps).append(finding.probe.part)
    if needed_gaps:
        print(f"extraction cannot run: {', '.join(needed_gaps)} missing")
    elif other_gaps:
        print(f"extraction can run; not needed for it: {', '.join(other_gaps)} missing")
    else:
        print("everything works")
    return 1 if needed_gaps else 0


if __name__ == "__main__":
    sys.exit(main())
