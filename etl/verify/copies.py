"""Choose among copies of one product, such as a folder and a zip file, those that extraction takes rows from."""

from collections.abc import Sequence
from pathlib import Path

from etl.catalogue.finder import FoundProduct, newest_first
from etl.mpi import comm_self
from etl.source.inspection import compare_files, inspect_product, without_damage

__all__ = ["usable_copies"]


def usable_copies(products: Sequence[FoundProduct], stem: str, assume_offset: int | None) -> tuple[Path, ...]:
    """Folders and zip files of the product of this name that are not damaged, in the order in which extraction tries.

    All of them if each is damaged, so that the damage is reported; () if there is none.
    """
    copies = newest_first(product for product in products if product.stem == stem)
    paths = tuple(product.path for product in copies)
    if len(paths) < 2:  # which files are damaged is checked for all products at once
        return paths
    return tuple(copy.path for copy in copies if _is_intact(copy, assume_offset)) or paths


def _is_intact(copy: FoundProduct, assume_offset: int | None) -> bool:
    """Whether extraction takes pixels from a product: it can be opened, and no file of a band is damaged."""
    inspection = inspect_product(copy.path, copy.path.name, (0, 0, 0), assume_offset, copy.links)
    [check] = compare_files([inspection.product], comm_self())
    return not without_damage(inspection, check).problem
