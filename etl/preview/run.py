"""One picture, from settings to PNG; rank 0 draws, other ranks have nothing to do."""

from etl.exit_status import ExitStatus
from etl.mpi import Comm, on_root
from etl.preview.contact_sheet import read_contact_sheet
from etl.preview.drawing import draw_contact_sheet
from etl.preview.settings import PreviewSettings

__all__ = ["preview"]


def preview(settings: PreviewSettings, comm: Comm) -> int:
    """Collective: draw a store's contact sheet and return the exit status."""
    on_root(comm, lambda: _preview(settings))
    return ExitStatus.DONE


def _preview(settings: PreviewSettings) -> None:
    sheet = read_contact_sheet(settings)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(sheet, settings.width, settings.out)
    maps = f" and {len(sheet.maps)} of {sheet.tiles} tiles" if sheet.maps else ""
    shown = f"{len(sheet.cards)} patches{maps}"
    if sheet.nothing_written:
        shown = f"{sheet.nothing_written}; the picture is a map without patches"
    if sheet.incompleteness:
        print(sheet.incompleteness)
    print(f"{shown} -> {settings.out}")
