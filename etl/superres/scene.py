"""Images to measure on: the native bands of a region of a product, or of the patches of a patch folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.catalogue.finder import FoundProduct, find_products
from etl.grid import PixelWindow
from etl.product_files import ProductError
from etl.raster import RasterError
from etl.source.archive import ArchivePatches, PlacedFolder
from etl.source.open_product import open_band, read_product
from etl.source.patch import PatchError
from etl.source.product import Product
from etl.source.radiometry import lookup_table
from etl.source.tiles import layers_of
from etl.superres.settings import SuperresSettings

__all__ = ["Scene", "read_scenes"]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A square of ground in all native bands, on the store's scale."""

    name: str
    """Product or patch, and the region."""

    groups: tuple[npt.NDArray[np.uint16], ...]
    """The three groups, finest first, shape (row, col, band), uint16, contiguous; sides are whole 60 m pixels."""


def read_scenes(settings: SuperresSettings) -> Iterator[Scene]:
    """Yield the pixels of a product's region, or of each patch of a patch folder in order of name.

    Raises:
        ValueError: the source holds neither, several products, or a region or patch that cannot be read.
    """
    found = find_products(settings.source, settings.allow_links)
    if len(found.products) > 1:
        raise ValueError(
            f"--source must hold exactly one product, got {len(found.products)}; name one of them, such as "
            f"{found.products[0].path}"
        )
    if found.products:
        yield _region(found.products[0], settings)
        return
    if found.folder_of is None:
        raise ValueError(f"--source must hold a Level-2A product or patch folders, got {settings.source}{found.hint}")
    chosen = [found.folder_of(patch) for patch in found.patches[: settings.patches]]
    placed = [PlacedFolder((folder,), None) for folder in chosen]
    patches = ArchivePatches(range(len(chosen)), placed, (0, 0, 0), links=found.links).patches()
    for (_, patch), folder in zip(patches, chosen, strict=True):
        if isinstance(patch, PatchError):
            raise ValueError(str(patch))
        # copied, because the next patch is read into the same windows
        yield Scene(folder.name, tuple(window.transpose(1, 2, 0).copy() for window in patch.native))


def _region(found: FoundProduct, settings: SuperresSettings) -> Scene:
    try:
        product = read_product(found.path, links=found.links)
        layers_of(product, [0] * len(GROUPS))  # compares every file with the metadata
        size = product.grid.size_px
        side = min(settings.side_px, size) // 6 * 6
        corner = [(size - side) // 12 * 6 if at is None else at for at in (settings.row_px, settings.column_px)]
        if max(corner) + side > size:
            raise ValueError(
                f"--row-px, --column-px and --side-px must describe a region inside the tile of {size} px, "
                f"got row {corner[0]}, column {corner[1]}, side {side}"
            )
        groups = tuple(_read(product, number, (*corner, side)) for number in range(len(GROUPS)))
    except (ProductError, RasterError) as error:
        raise ValueError(str(error)) from None
    return Scene(f"{product.name}, row {corner[0]}, column {corner[1]}, {side} px", groups)


def _read(product: Product, number: int, region: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """One group of a region (row, column, side in px of 10 m)."""
    group = GROUPS[number]
    row, column, side = (px // group.factor for px in region)
    out = np.empty((side, side, len(group.bands)), np.uint16)
    for k, band in enumerate(group.bands):
        open_band(product, band).read(PixelWindow(row, column, side, side), out[..., k])
        values = lookup_table(product.offsets[band], product.quantification)
        if values is not None:
            out[..., k] = values[out[..., k]]
    return out
