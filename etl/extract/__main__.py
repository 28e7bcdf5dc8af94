"""`mpirun -n 72 python -m etl.extract`: catalogue and tiles (or patch archive) to one store."""

from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.mpi import launch
from etl.settings import load

if __name__ == "__main__":
    launch(lambda: load(ExtractSettings, "etl.extract"), extract)
