"""One picture, from settings to PNG; rank 0 draws, other ranks have nothing to do."""

from etl.exit_status import ExitStatus
from etl.mpi import Comm, on_root
from etl.preview.draw import draw
from etl.preview.settings import PreviewSettings
from etl.preview.sheet import read_sheet

__all__ = ["preview"]


def preview(settings: PreviewSettings, comm: Comm) -> int:
    """Collective: draw a store's contact sheet and return the exit status."""

    def act() -> None:
        sheet = read_sheet(settings)
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        draw(sheet, settings.width, settings.out)
        print(f"{len(sheet.cards)} patches and {len(sheet.maps)} of {sheet.tiles} tiles -> {settings.out}")

    on_root(comm, act)
    return ExitStatus.DONE
