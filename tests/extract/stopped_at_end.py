"""`mpirun -n 2 python stopped_at_end.py MOMENT`: a run whose last rank is stopped when all its work is done.

MOMENT is `watched`, while the watchdog still looks, or `leaving`, when the process is about to end.
"""

import atexit
import os
import signal
import sys
import time

from etl import mpi
from etl.exit_status import ExitStatus
from etl.extract.watchdog import Watchdog

LIMIT_S = 2


def stop() -> None:
    """Stop this process."""
    os.kill(os.getpid(), signal.SIGSTOP)


def main(moment: str, comm: mpi.Comm) -> int:
    """Stop the last rank at the end."""
    with Watchdog(comm, LIMIT_S, lambda verdict, store: None):
        time.sleep(1)  # rank 0 has heard of it
        if comm.rank == comm.size - 1:
            atexit.register(stop) if moment == "leaving" else stop()
    return ExitStatus.DONE


if __name__ == "__main__":
    mpi._FINALIZE_S = LIMIT_S
    mpi.launch(lambda: sys.argv[1], main)
