"""`mpirun -n 72 python -m etl.catalogue`: patch lists in any of their published forms to one `patches.parquet`."""

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.build import CatalogueSettings, read_source, write_joined
from etl.catalogue.source_kind import detect_source
from etl.exit_status import ExitStatus
from etl.mpi import Comm, RootOnly, launch
from etl.settings import load_settings
from etl.without_pandas import leave_out_pandas


def catalogue(settings: CatalogueSettings, comm: Comm) -> int:
    """Collective: make the catalogue and return the exit status."""
    detected = RootOnly(comm, lambda: detect_source(settings.source, settings.allow_links))
    patches, folder_of, links = detected.bcast(
        lambda source: (*((source.patches, source.folder_of) if source.kind == "v1" else ((), None)), source.links)
    )
    if folder_of is None:
        parts = detected.apply_on_root(lambda source: [read_source(source)]).value_on_root or []
    else:
        own_patches = patches[len(patches) * comm.rank // comm.size : len(patches) * (comm.rank + 1) // comm.size]
        parts = comm.gather(read_v1(own_patches, folder_of.copies, links)) or []
    incomplete = detected.apply_on_root(lambda source: write_joined(settings, source, parts)).bcast(bool)
    return ExitStatus.REJECTED if incomplete and settings.strict else ExitStatus.DONE


if __name__ == "__main__":
    leave_out_pandas()
    launch(lambda: load_settings(CatalogueSettings, "etl.catalogue"), catalogue)
