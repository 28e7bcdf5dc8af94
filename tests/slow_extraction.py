"""`python -m slow_extraction FLAGS`: the command etl.extract, which in a job's first attempt rests before each write.

So it is in the middle of its work when its time limit comes near, however fast the machine is.
"""

import os
import runpy
import time

from etl.extract.batch import Batch
from etl.extract.write_loop import WriteLoop

_REST_S = 0.4


def _rest_before_writes() -> None:
    write = WriteLoop._write

    def write_slowly(loop: WriteLoop, batch: Batch | None) -> None:
        time.sleep(_REST_S)
        write(loop, batch)

    WriteLoop._write = write_slowly


if __name__ == "__main__":
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        _rest_before_writes()
    runpy.run_module("etl.extract", run_name="__main__", alter_sys=True)
