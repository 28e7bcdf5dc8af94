"""`python -m etl.download --catalogue patches.parquet --out tiles`: products or archives from a data service."""

import signal

from etl.download.run import download
from etl.download.settings import DownloadSettings
from etl.mpi import Comm, launch, on_root
from etl.settings import load_settings


def _run(settings: DownloadSettings, comm: Comm) -> int:
    """Collective: download on rank 0; other ranks have nothing to do."""
    return int(comm.bcast(on_root(comm, lambda: download(settings))))


if __name__ == "__main__":
    for kind in (signal.SIGINT, signal.SIGTERM):  # also where a shell has let a job in the background ignore them
        signal.signal(kind, signal.default_int_handler)
    launch(lambda: load_settings(DownloadSettings, "etl.download"), _run, "the same command goes on where it stopped")
