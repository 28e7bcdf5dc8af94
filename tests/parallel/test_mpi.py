"""What the ranks agree on: an error of some is one error of all, and rank 0's value is taken up by all."""

import numpy as np
import pytest

from etl.exit_status import ExitStatus, JobError
from etl.mpi import RootOnly, allreduce_max, on_every_rank, on_root


@pytest.mark.mpi(ranks=[1, 3], timeout=60)
def test_only_rank_0_holds_the_value_and_the_others_get_what_is_read_from_it(mpi_ranks, comm):
    calls = []

    def make():
        calls.append(comm.rank)
        return list(range(comm.size))

    held = RootOnly(comm, make)
    assert calls == ([0] if comm.rank == 0 else [])
    assert held.value_on_root == (list(range(comm.size)) if comm.rank == 0 else None)
    assert held.bcast(len) == comm.size
    assert held.scatter(lambda numbers: [10 * number for number in numbers]) == 10 * comm.rank
    assert held.apply_on_root(sum).bcast(lambda total: total) == sum(range(comm.size))


@pytest.mark.mpi(ranks=[1, 3], timeout=60)
def test_an_error_of_rank_0_is_raised_on_all(mpi_ranks, comm):
    errors = {
        ExitStatus.BAD_INPUT: ValueError("no band"),
        ExitStatus.FAILED: OSError("no disk"),
        ExitStatus.RESUMABLE: JobError("no server", ExitStatus.RESUMABLE),
    }
    for status, error in errors.items():

        def fail(*_, error=error):
            raise error

        for attempt in (
            lambda fail=fail: on_root(comm, fail),
            lambda fail=fail: RootOnly(comm, lambda: 1).apply_on_root(fail),
        ):
            with pytest.raises(JobError, match=str(error)) as caught:
                attempt()
            assert caught.value.status is status


@pytest.mark.mpi(ranks=[1, 3], timeout=60)
def test_an_error_of_one_rank_is_raised_on_all_with_its_rank(mpi_ranks, comm):
    def open_it():
        if comm.rank == comm.size - 1:
            raise OSError("no room")
        return comm.rank

    with pytest.raises(JobError, match="opening failed") as caught:
        on_every_rank(comm, "opening", open_it)
    assert "no room" in str(caught.value)
    assert (f"rank {comm.size - 1}" in str(caught.value)) == (comm.size > 1)
    assert on_every_rank(comm, "opening", lambda: comm.rank) == comm.rank


@pytest.mark.mpi(ranks=[1, 3], timeout=60)
def test_the_largest_of_all_ranks_is_found_while_something_else_goes_on(mpi_ranks, comm):
    own = np.array([comm.rank, -comm.rank], np.int32)
    assert allreduce_max(comm, own, lambda: None).tolist() == [comm.size - 1, 0]
    assert own.tolist() == [comm.rank, -comm.rank]
