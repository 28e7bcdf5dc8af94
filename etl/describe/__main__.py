"""`python -m etl.describe STORE`: a STAC collection, GeoParquet, Croissant and a data card of a store."""

from etl.describe.run import describe
from etl.describe.settings import DescribeSettings
from etl.exit_status import ExitStatus
from etl.mpi import Comm, launch, on_root
from etl.settings import load_settings


def _run(settings: DescribeSettings, comm: Comm) -> int:
    """Collective: describe on rank 0; other ranks have nothing to do."""
    on_root(comm, lambda: describe(settings))
    return ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: load_settings(DescribeSettings, "etl.describe", positional="store"), _run)
