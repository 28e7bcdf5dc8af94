"""A weights file of either format, written in our own."""

from dataclasses import replace

from etl.exit_status import ExitStatus
from etl.mpi import Comm, on_root
from etl.superres.settings import ConvertSettings
from etl.upsample.weights import read_weights, write_weights

__all__ = ["convert"]


def convert(settings: ConvertSettings, comm: Comm) -> int:
    """Collective: read and write, on rank 0, and return the exit status."""

    def act() -> None:
        found = read_weights(settings.file)
        if settings.level and found.level not in ("", settings.level):
            raise ValueError(f"{settings.file} says level {found.level}, --level says {settings.level}")
        network = replace(found, level=settings.level or found.level)
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        write_weights(settings.out, network)
        print(
            f"{network.gsd_m} m network of {network.blocks} blocks of {network.filters} filters, "
            f"level {network.level or 'unknown'} -> {settings.out}"
        )

    on_root(comm, act)
    return ExitStatus.DONE
