"""`mpirun -n 72 python -m etl.extract`: catalogue and tiles (or patch archive) to one store."""

import signal

from etl.extract.rounds import STOPS
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.mpi import launch
from etl.settings import load

if __name__ == "__main__":
    for kind in STOPS:  # while rows are written, `Rounds` sees to them
        signal.signal(kind, signal.default_int_handler)
    launch(lambda: load(ExtractSettings, "etl.extract"), extract)
