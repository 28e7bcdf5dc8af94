"""Choose among copies of one product, such as a folder and a zip file, those that extraction takes rows from."""

from collections.abc import Sequence
from pathlib import Path

from etl.catalogue.finder import FoundProduct, newest_first
from etl.extract.file_check import compare_files
from etl.mpi import comm_self
from etl.product_files import ProductError
from etl.source.safe import read_product
from etl.source.tiles import layers_of

__all__ = ["usable_copies"]


def usable_copies(products: Sequence[FoundProduct], stem: str, assume_offset: int | None) -> tuple[Path, ...]:
    """Folders and zip files of the product of this name that are not damaged, in the order in which extraction tries.

    All of them if each is damaged, so that the damage is reported; () if there is none.
    """
    paths = tuple(product.path for product in newest_first(product for product in products if product.stem == stem))
    if len(paths) < 2:  # which files are damaged is checked for all products at once
        return paths
    return tuple(path for path in paths if _is_intact(path, assume_offset)) or paths


def _is_intact(path: Path, assume_offset: int | None) -> bool:
    """Whether a product can be opened, and no file that is read differs from its checksum."""
    try:
        product = read_product(path, assume_offset)
        layers_of(product, (0, 0, 0))
    except ProductError:
        return False
    [check] = compare_files([product], comm_self())
    return not check.damaged
