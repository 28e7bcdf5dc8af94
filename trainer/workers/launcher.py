"""Rank and number of workers, read from the environment variables that the launcher sets.

Import this module before h5py and Horovod: both start MPI, which reads the variables set below when it starts.
"""

import os

# Unless the user has set them: a waiting worker yields its core, and Horovod looks for work every 5 ms instead of every
# 1 ms. A step of two workers on two shared cores then took 0.6 CPU seconds each instead of 1.1.
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
os.environ.setdefault("HOROVOD_CYCLE_TIME", "5")
# Otherwise timing would decide which groups of tensors are sent together, and so the order of their sums.
os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")

__all__ = ["launcher_rank"]

_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),  # horovodrun with Gloo
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI's mpirun
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; not set by sbatch for the batch script itself
)


def launcher_rank() -> tuple[int, int]:
    """(rank, number of workers) from the environment; (0, 1) if no launcher started this process."""
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1
