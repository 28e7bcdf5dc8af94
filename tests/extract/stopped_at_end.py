"""A run whose last rank is stopped when all its work is done: `mpirun -n 2 python stopped_at_end.py`."""

import os
import signal
import time

from etl.exit_status import ExitStatus
from etl.extract.watchdog import Watchdog
from etl.mpi import Comm, launch


def main(limit_s: float, comm: Comm) -> int:
    """Stop the last rank at the end of what the watchdog watches."""
    with Watchdog(comm, limit_s, lambda verdict, store: None):
        time.sleep(1)  # rank 0 has heard of it
        if comm.rank == comm.size - 1:
            os.kill(os.getpid(), signal.SIGSTOP)
    return ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: 2.0, main)
