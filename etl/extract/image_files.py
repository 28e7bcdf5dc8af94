"""What the image files of a catalogue have in common, before any of their pixels is read."""

import logging
from typing import TYPE_CHECKING

from etl.extract.settings import ExtractSettings
from etl.input_files import Links, refused_name
from etl.pixel_groups import PixelGroup
from etl.source.images import detect_group

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = ["detect_images"]

log = logging.getLogger("etl.extract")


def detect_images(settings: ExtractSettings, catalogue: "Catalogue", links: Links) -> PixelGroup | None:
    """The bands of the catalogue's image files below the source; None if it lists patches of Sentinel-2.

    `links`: where links in the source may lead.

    Raises:
        ValueError: none can be read, or --bands does not name their bands, or is given for patches of Sentinel-2.
    """
    if not catalogue.is_images:
        if settings.bands:
            raise ValueError(
                f"--bands {settings.bands} names the bands of image files, but {settings.catalogue} lists patches of "
                "Sentinel-2, of which all twelve bands are extracted; leave it out"
            )
        return None
    names = [name.strip() for name in settings.bands.split(",")] if settings.bands else []
    try:
        listed = (name.decode() for name in catalogue.patch)
        usable = (settings.source / name for name in listed if not refused_name(name))
        images = detect_group(usable, names, links)
    except ValueError as error:
        raise ValueError(f"--source {settings.source}: {error}") from None
    if settings.upsample != "none":
        log.info("--upsample %s does not apply: all bands of an image file have the same pixel size", settings.upsample)
    return images
