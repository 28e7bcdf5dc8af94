"""`mpirun -n 72 python -m etl.catalogue`: patch lists in any of their published forms to one `patches.parquet`."""

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.build import CatalogueSettings, read_source, write_joined
from etl.catalogue.source_kind import detect_source
from etl.exit_status import ExitStatus
from etl.mpi import Comm, launch, on_root
from etl.settings import load_settings


def catalogue(settings: CatalogueSettings, comm: Comm) -> int:
    """Collective: make the catalogue and return the exit status."""
    source = on_root(comm, lambda: detect_source(settings.source))
    patches = comm.bcast(source.patches if source is not None and source.kind == "v1" else None)
    if patches is None:
        part = on_root(comm, lambda: read_source(source) if source is not None else None)
        parts = [] if part is None else [part]
    else:
        mine = patches[len(patches) * comm.rank // comm.size : len(patches) * (comm.rank + 1) // comm.size]
        parts = comm.gather(read_v1(mine, settings.source)) or []
    rejected = comm.bcast(on_root(comm, lambda: write_joined(settings, source, parts) if source is not None else 0))
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: load_settings(CatalogueSettings, "etl.catalogue"), catalogue)
