"""`mpirun -n 72 python -m etl.catalogue`: patch lists in any of their published forms to one `patches.parquet`."""

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.build import CatalogueSettings, read_source, write_joined
from etl.catalogue.source_kind import detect_source
from etl.exit_status import ExitStatus
from etl.mpi import Comm, RootOnly, launch
from etl.settings import load_settings


def catalogue(settings: CatalogueSettings, comm: Comm) -> int:
    """Collective: make the catalogue and return the exit status."""
    source = RootOnly(comm, lambda: detect_source(settings.source))
    patches = source.bcast(lambda found: found.patches if found.kind == "v1" else None)
    if patches is None:
        parts = source.apply_on_root(lambda kind: [read_source(kind)]).value_on_root or []
    else:
        mine = patches[len(patches) * comm.rank // comm.size : len(patches) * (comm.rank + 1) // comm.size]
        parts = comm.gather(read_v1(mine, settings.source)) or []
    rejected = source.apply_on_root(lambda kind: write_joined(settings, kind, parts)).bcast(bool)
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: load_settings(CatalogueSettings, "etl.catalogue"), catalogue)
