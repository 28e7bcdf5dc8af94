"""Checks of parts that work, are absent, crash or hang, for the doctor to run in processes of their own."""

import os
import signal
import time


def works():
    print("noise")
    return "version 1"


def is_absent():
    import no_such_module  # noqa: F401


def ends_itself():
    raise SystemExit("built without MPI")


def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs():
    time.sleep(60)


def divides_by_zero():
    return 1 / 0
