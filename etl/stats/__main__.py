"""`python -m etl.stats STORE`, alone, with a Dask cluster, or under mpirun: what the values of a store are like."""

from etl.mpi import launch
from etl.settings import load_settings
from etl.stats.run import stats
from etl.stats.settings import StatsSettings

if __name__ == "__main__":
    launch(lambda: load_settings(StatsSettings, "etl.stats", positional="store"), stats)
