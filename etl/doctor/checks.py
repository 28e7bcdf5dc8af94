"""One small piece of real work for each part of the installation.

A check returns a line about its part, or raises. Each runs in a process of its own, so that a crash or an import that
fails ends only that check: `python -m etl.doctor.checks etl.doctor.checks:check_gdal`. Packages are therefore imported
inside the functions.
"""

import importlib
import importlib.metadata
import pkgutil
import sys
import tempfile
from pathlib import Path

__all__ = ["check_gdal", "check_horovod", "check_keras", "check_mpi", "check_mpirun", "check_packages",
           "check_parallel_h5py", "check_processor", "check_python", "check_tensorflow"]  # fmt: skip

_PACKAGES = ("numpy", "pyarrow", "xarray", "h5netcdf", "zarr", "tensorstore", "xxhash", "matplotlib")


def check_python() -> str:
    """Return the version and the path of the interpreter."""
    version = sys.version.split()[0]
    if sys.version_info < (3, 11):  # noqa: UP036 - an old interpreter is what the doctor is for
        raise SystemExit(f"3.11 or newer is needed, this is {version}")
    return f"{version} {sys.executable}"


def check_processor() -> str:
    """Return the processor's name and vector extensions."""
    from etl.processor import describe_processor

    return describe_processor()


def check_packages() -> str:
    """Import the packages that need nothing of the machine, and return their versions."""
    for name in _PACKAGES:
        importlib.import_module(name)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)


def check_mpi() -> str:
    """Start MPI with one rank; return the library and the thread level it grants."""
    from mpi4py import MPI

    levels = {getattr(MPI, f"THREAD_{name}"): name for name in ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")}
    library = MPI.Get_library_version().split(",")[0].strip().splitlines()[0]
    return f"{library}, thread level {levels[MPI.Query_thread()]}"


def check_mpirun() -> str:
    """Collective on two ranks: exchange a number; empty on the second rank."""
    from mpi4py import MPI

    # where mpirun and mpi4py are of different MPI libraries, each process is rank 0 of a job of its own
    total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)
    if total != 3:
        raise SystemExit(f"two ranks do not form one job: their ranks + 1 sum to {total}, not 3")
    return "two ranks exchanged a number" if MPI.COMM_WORLD.rank == 0 else ""


def check_parallel_h5py() -> str:
    """Write a file through MPI-IO where h5py can; return the versions of h5py and HDF5."""
    import h5py

    if not h5py.get_config().mpi:
        return f"{h5py.__version__} without MPI: HDF5 is written by one rank, or by many with --write independent"
    from mpi4py import MPI

    with (
        tempfile.TemporaryDirectory() as folder,
        h5py.File(Path(folder, "a.h5"), "w", driver="mpio", comm=MPI.COMM_SELF) as file,
    ):
        file["a"] = [1, 2, 3]
    return f"{h5py.__version__} with MPI, HDF5 {h5py.version.hdf5_version}, wrote a file through MPI-IO"


def check_gdal() -> str:
    """Write and read 64 x 64 pixels, uint16, as lossless JPEG 2000; return GDAL's version."""
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
    return f"{gdal.__version__}, JP2OpenJPEG decoded a lossless image"


def check_tensorflow() -> str:
    """Add six ones; return TensorFlow's version and the number of GPUs it sees."""
    import tensorflow as tf

    if float(tf.reduce_sum(tf.ones((2, 3)))) != 6:
        raise SystemExit(f"TensorFlow {tf.__version__} cannot add")
    return f"{tf.__version__}, {len(tf.config.list_physical_devices('GPU'))} GPUs"


def check_keras() -> str:
    """Return Keras's version and its backend, which must be TensorFlow."""
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise SystemExit(f"Keras {keras.__version__} runs on {backend}, TensorFlow is needed")
    return f"{keras.__version__} on {backend}"


def check_horovod() -> str:
    """Start Horovod with one worker; return its version and what it was built with."""
    import horovod
    import horovod.tensorflow as hvd

    if not hvd.mpi_built():
        raise SystemExit(f"Horovod {horovod.__version__} was built without MPI")
    hvd.init()
    return f"{horovod.__version__} with MPI{' and NCCL' if hvd.nccl_built() else ''}, started {hvd.size()} worker"


if __name__ == "__main__":
    print(pkgutil.resolve_name(sys.argv[1])())
