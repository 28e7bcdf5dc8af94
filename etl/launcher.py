"""Rank and number of the processes that a launcher started together, by the environment variables that it sets.

No MPI here: MPI's own numbers are held against these.
"""

import os

__all__ = ["launcher_rank", "unconnected_ranks"]

_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),  # horovodrun with Gloo
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI's mpirun
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH's mpirun
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),  # jsrun
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),  # flux run
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; not set by sbatch for the batch script itself
)
"""Variables of each launcher; one that may run inside another comes before it."""


def launcher_rank() -> tuple[int, int]:
    """(rank, number of processes) from the environment; (0, 1) if no launcher started this process."""
    rank, size, _ = _read()
    return rank, size


def unconnected_ranks(seen: int, library: str) -> str | None:
    """What is wrong and what to do if `library` sees fewer ranks than the launcher started; None if it sees all.

    Each process would then take itself for the only one, and all would write the same files.
    """
    _, started, source = _read()
    if seen >= started:
        return None
    return (
        f"the launcher started {started} processes ({source}), but {library} sees {seen} in each: it was built for "
        "another MPI or PMI than this launcher's. Start with the mpirun of that MPI, or with srun --mpi=pmix "
        "(srun --mpi=list shows what there is); or rebuild it for this launcher's MPI (bash deploy/install.sh)"
    )


def _read() -> tuple[int, int, str]:
    """Rank, number of processes, and the variable that gives the number."""
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size]), f"{size}={os.environ[size]}"
    return 0, 1, ""
