"""Find products and patch folders on disk, and the product that holds a listed acquisition."""

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from etl.catalogue.names import ProductName, is_patch, is_product, parse_product
from etl.files import walk_folders

__all__ = [
    "ProductIndex",
    "find_patch_folders",
    "find_products",
    "index_products",
    "matching_product",
    "patch_locator",
    "same_acquisition",
]

ProductIndex = dict[tuple[str, int | None, str], list[tuple[ProductName, Path]]]
"""Level-2A products on disk by mission, relative orbit and tile."""

# BigEarthNet's label files give sensing times that are off by some seconds (see etl.catalogue.names), while the same
# relative orbit passes a tile again only after days: two minutes cannot confuse two acquisitions.
_TIME_TOLERANCE = timedelta(minutes=2)


def find_products(folder: Path, any_name: bool = False) -> list[Path]:
    """Paths of all products below `folder` (`*.SAFE` folders, `*.zip` files), sorted; `folder` may itself be one.

    Links are followed; products and patch folders are not searched. With `any_name`, folders and zip files that are
    not named like a product are in the list too, so that the caller can report them.
    """

    def is_wanted(name: str) -> bool:
        return name.endswith((".SAFE", ".zip")) and (any_name or is_product(name))

    if is_wanted(folder.name):
        return [folder]
    products = []
    for here, folders, files in walk_folders(folder):
        products += [here / name for name in (*folders, *files) if is_wanted(name)]
        # os.walk continues with the folders left in this list
        folders[:] = [name for name in folders if not name.upper().endswith(".SAFE") and not is_patch(name)]
    return sorted(products)


def index_products(paths: Iterable[Path]) -> ProductIndex:
    """Products of Level-2A among `paths`, grouped for `matching_product`; other paths are left out."""
    index: ProductIndex = {}
    for path in paths:
        if is_product(path.name):
            name = parse_product(path.name)
            if name.level == "2A":
                index.setdefault((name.mission, name.orbit, name.tile), []).append((name, path))
    return index


def same_acquisition(first: ProductName, second: ProductName) -> bool:
    """Whether two products show the same tile at the same time to within 120 seconds, at any level and baseline."""
    same_pass = (first.mission, first.orbit, first.tile) == (second.mission, second.orbit, second.tile)
    return same_pass and abs(first.acquired - second.acquired) <= _TIME_TOLERANCE


def matching_product(listed: str, index: ProductIndex) -> Path | None:
    """The product on disk of the acquisition that a list names, whatever the baseline; None if there is none.

    Of several the newest baseline wins, then the newest processing.
    """
    if not is_product(listed):
        return None
    name = parse_product(listed)
    candidates = index.get((name.mission, name.orbit, name.tile), [])
    near = [(other.version, str(path), path) for other, path in candidates if same_acquisition(other, name)]
    # the path decides between equal versions, so that every run takes the same
    return max(near)[2] if near else None


def patch_locator(archive: Path) -> Callable[[str], Path] | None:
    """A function from a patch's name to its folder in a patch archive; None if it holds no patches.

    BigEarthNet v1 has `<patch>`, v2 `<product>/<patch>`; the first patch found decides.
    """
    for folder in _subfolders(archive) if archive.is_dir() else ():
        if is_patch(folder.name):
            return archive.joinpath
        if any(is_patch(inner.name) for inner in _subfolders(folder)):
            return lambda patch: archive / patch.rsplit("_", 2)[0] / patch
    return None


def find_patch_folders(archive: Path) -> list[Path]:
    """Folders of all patches of an archive of BigEarthNet v1 or v2, sorted."""
    folders = [folder for folder in archive.glob("*/") if is_patch(folder.name)]
    return sorted(folders or (folder for folder in archive.glob("*/*/") if is_patch(folder.name)))


def _subfolders(folder: Path) -> Iterator[Path]:
    """Folders in a folder, one at a time: there may be half a million, and the first one often decides."""
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir())
