"""`mpirun -n 72 python -m etl.catalogue`: patch lists in any of their published forms to one `patches.parquet`."""

from etl.catalogue.build import CatalogueSettings, finish, look, read_alone
from etl.catalogue.v1 import read_v1
from etl.exit_status import ExitStatus
from etl.mpi import Comm, launch, on_root
from etl.settings import load


def catalogue(settings: CatalogueSettings, comm: Comm) -> int:
    """Collective: make the catalogue and return the exit status."""
    origin = on_root(comm, lambda: look(settings))
    patches = comm.bcast(origin.patches if origin is not None and origin.kind == "v1" else None)
    if patches is None:
        part = on_root(comm, lambda: read_alone(origin) if origin is not None else None)
        parts = [] if part is None else [part]
    else:
        mine = patches[len(patches) * comm.rank // comm.size : len(patches) * (comm.rank + 1) // comm.size]
        parts = comm.gather(read_v1(mine, settings.source)) or []
    rejected = comm.bcast(on_root(comm, lambda: finish(settings, origin, parts) if origin is not None else 0))
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: load(CatalogueSettings, "etl.catalogue"), catalogue)
