"""What a small command does on every rank, for tests of launchers: `mpirun -n 2 python mpi_actions.py ACTION`."""

import os
import signal
import sys
import time

import numpy as np

from etl.exit_status import ExitStatus
from etl.mpi import Comm, allreduce_max, launch, local_rank, on_every_rank

PATIENCE_S = 30


def say(line: str) -> None:
    """Print a line in one piece: two ranks' pieces may be mixed."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def place(comm: Comm) -> int:
    """Print the numbers that MPI gives this process."""
    largest = allreduce_max(comm, np.array([comm.rank], np.int32))
    say(f"rank {comm.rank} of {comm.size}, {local_rank(comm)} on its node, largest {largest[0]}")
    return ExitStatus.DONE


def lose_server(comm: Comm) -> int:
    """Fail on rank 1 as when a server does not answer."""

    def ask() -> None:
        if comm.rank == 1:
            raise ConnectionError("no server")

    on_every_rank(comm, "asking", ask)
    return ExitStatus.DONE


def fail(comm: Comm) -> int:
    """Meet a fault on rank 1, while the others wait for it."""
    if comm.rank == 1:
        raise RuntimeError("a fault")
    comm.barrier()
    return ExitStatus.DONE


def interrupt(comm: Comm) -> int:
    """Be interrupted on rank 1, while the others wait for it."""
    if comm.rank == 1:
        raise KeyboardInterrupt
    comm.barrier()
    return ExitStatus.DONE


def await_signal(comm: Comm) -> int:
    """Print the first signal that comes, and end as what can be resumed."""
    heard: list[int] = []
    for kind in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda number, _: heard.append(number))
    say("ready")
    end_s = time.monotonic() + PATIENCE_S
    while not heard and time.monotonic() < end_s:
        time.sleep(0.01)
    say(f"rank {comm.rank}: {signal.Signals(heard[0]).name if heard else 'no signal'}")
    return ExitStatus.RESUMABLE


ACTIONS = {action.__name__: action for action in (place, lose_server, fail, interrupt, await_signal)}

if __name__ == "__main__":
    launch(lambda: sys.argv[1], lambda name, comm: ACTIONS[name](comm))
