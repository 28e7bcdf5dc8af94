"""`mpirun -n 72 python -m etl.extract`: catalogue and tiles (or patch archive) to one store."""

import signal

from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.extract.watchdog import COMPLETION_ADVICE
from etl.extract.write_loop import STOP_SIGNALS
from etl.mpi import launch
from etl.settings import load_settings
from etl.without_pandas import leave_out_pandas

if __name__ == "__main__":
    leave_out_pandas()
    for kind in STOP_SIGNALS:  # while rows are written, `WriteLoop` handles them
        signal.signal(kind, signal.default_int_handler)
    launch(lambda: load_settings(ExtractSettings, "etl.extract"), extract, COMPLETION_ADVICE)
