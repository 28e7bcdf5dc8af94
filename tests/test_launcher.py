"""Rank and size from the launcher's variables, and what is said if MPI does not see the others."""

import os

import pytest
from commands import ranks

from etl.launcher import launcher_rank, unconnected_ranks

PREFIXES = ("OMPI_COMM", "PMI_", "HOROVOD_", "SLURM_", "MV2_", "FLUX_", "JSM_")
VARIABLES = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
]


@pytest.fixture
def no_launcher(monkeypatch):
    for name in [key for key in os.environ if key.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_process_that_no_launcher_started_is_the_only_one(no_launcher):
    assert launcher_rank() == (0, 1)
    assert unconnected_ranks(1, "MPI") is None


@pytest.mark.parametrize(("rank", "size"), VARIABLES)
def test_rank_and_size_come_from_the_launcher_and_are_held_against_what_mpi_sees(no_launcher, rank, size):
    no_launcher.setenv(rank, "3")
    no_launcher.setenv(size, "4")
    assert launcher_rank() == (3, 4)
    assert unconnected_ranks(4, "MPI") is None
    assert f"started 4 processes ({size}=4), but MPI sees 1 in each" in unconnected_ranks(1, "MPI")


def test_the_launcher_inside_an_allocation_counts_not_the_allocation(no_launcher):
    for name, value in {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8", "PMI_RANK": "1", "PMI_SIZE": "2"}.items():
        no_launcher.setenv(name, value)
    assert launcher_rank() == (1, 2)


def test_a_batch_script_is_no_step_of_many_tasks(no_launcher):
    no_launcher.setenv("SLURM_PROCID", "0")
    no_launcher.setenv("SLURM_NTASKS", "8")
    assert launcher_rank() == (0, 1)


# Open MPI 4 starts alone under these variables, as an MPI does under an srun whose PMI it does not speak.
@pytest.mark.parametrize(("rank", "size"), [("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), ("PMI_RANK", "PMI_SIZE")])
@pytest.mark.parametrize("command", ["etl.catalogue", "etl.extract", "etl.stats"])
def test_ranks_that_each_take_themselves_for_the_only_one_end_with_status_2_and_one_message(rank, size, command):
    first, second = (ranks(1, command, "absent", environment={rank: str(k), size: "4"}) for k in range(2))
    assert (first.returncode, second.returncode) == (2, 2), first.stderr
    assert first.stderr.startswith(f"error: the launcher started 4 processes ({size}=4), but mpi4py (Open MPI 4")
    assert "srun --mpi=pmix" in first.stderr
    assert (first.stdout, second.stdout, second.stderr) == ("", "", "")
