"""Find products and patches in a folder: what every command that has a source uses.

A product is known by its name or, if a folder or zip file is named otherwise, by its contents: its metadata file and
the product's name therein. Patches are known by the names of their folders, which are never opened.
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etl.bucket_files import is_remote, walk_bucket
from etl.catalogue.names import ProductName, is_product, parse_product, product_stem
from etl.catalogue.search import FolderSearch, is_product_folder, is_zip
from etl.heartbeat import doing, now_doing
from etl.input_files import NO_LINKS, Links, walk_folders
from etl.plural import counted
from etl.product_files import ProductError, ProductFiles, product_errors
from etl.product_metadata import read_product_uri
from etl.tar_archive import PackedLocator, compressed_tar_advice, is_tar, locate_patches

__all__ = [
    "TIME_TOLERANCE",
    "FoundInputs",
    "FoundProduct",
    "PatchLocator",
    "ProductIndex",
    "collect_inputs",
    "find_products",
    "index_products",
    "matching_products",
    "name_of_product",
    "newest_first",
    "same_acquisition",
]

_log = logging.getLogger(__name__)

TIME_TOLERANCE = timedelta(minutes=2)
"""Most difference of the sensing times of one acquisition.

BigEarthNet's label files give times that are off by some seconds (see `etl.catalogue.names`), while the same relative
orbit passes a tile again only after days: two minutes cannot confuse two acquisitions.
"""


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """A Level-2A product of one tile on disk."""

    path: Path
    """Its folder, or zip file."""

    name: ProductName
    """Parts of its name."""

    stem: str
    """Its name without .SAFE: its folder's or zip file's or, if that is no product's name, the one in its metadata."""

    links: Links = NO_LINKS
    """Where links in it may lead, other than to places within it."""


ProductIndex = Mapping[tuple[str, int | None, str], list[FoundProduct]]
"""Products on disk by mission, relative orbit and tile."""


@dataclass(frozen=True, slots=True)
class PatchLocator:
    """Function from a patch's name to its folder in a patch archive; can be sent to other ranks."""

    top: Path
    """The folder that was searched."""

    holders: Mapping[str, tuple[Path, ...]]
    """Folders that hold patches: by name if that is their patches' name without the cell, as in BigEarthNet v2; all
    others, as in v1, by the empty name."""

    repeated: int = 0
    """Number of patches that lie in several of them."""

    def __call__(self, patch: str) -> Path:
        """Folder of the patch with this name, which need not exist; of several the first of `copies`."""
        return self.copies(patch)[0]

    def holds(self, patch: str) -> bool:
        """Whether there is a folder of the patch."""
        return self(patch).is_dir()

    def copies(self, patch: str) -> tuple[Path, ...]:
        """All folders of the patch with this name, the one with the most bytes first; where there is none, one absent.

        Those with fewer bytes can be copies that were interrupted.
        """
        stem = patch.rsplit("_", 2)[0]
        paths = [holder / patch for key in (stem, "") for holder in self.holders.get(key, ())]
        if len(paths) == 1:  # as nearly always: no look at the disk for each of half a million patches
            return (paths[0],)
        present = (path for path in paths if path.is_dir())
        if not self.repeated:
            return (next(present, self.top / patch),)
        return tuple(sorted(present, key=_bytes_in, reverse=True)) or (self.top / patch,)


def _bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """Products, or else patches, of a folder; and what looks like one of them but cannot be used."""

    folder: Path
    """The folder that was searched, or the product itself."""

    products: tuple[FoundProduct, ...]
    """Level-2A products, in order of path."""

    patches: tuple[str, ...]
    """Names of all patches, sorted; empty if there are products."""

    folder_of: PatchLocator | PackedLocator | None
    """Folder of each of `patches`, or its place in a tar file; None if there are none."""

    passed_over: tuple[tuple[Path, str], ...]
    """(path, reason) of folders and files that are not used, in order of path."""

    links: Links
    """Where links in the folder may lead."""

    def log(self) -> None:
        """Log in one line what was found and how much was passed over, and at level DEBUG all of that."""
        if not (self.products or self.patches or self.passed_over):
            return
        count, noun = (len(self.patches), "patch") if self.patches else (len(self.products), "product")
        over = f"; {len(self.passed_over)} passed over, listed with -v" if self.passed_over else ""
        _log.info("%s: found %s%s", self.folder, counted(count, noun), over)
        if self.folder_of is not None and self.folder_of.repeated:
            text = "%d of them in several folders; of each the folder with the most bytes is used"
            _log.warning(text, self.folder_of.repeated)
        for path, reason in self.passed_over:
            _log.debug("passed over: %s %s", path, reason)
        groups = defaultdict[tuple[object, ...], list[FoundProduct]](list)
        for product in self.products:
            groups[product.name.acquisition].append(product)
        if any(len(group) > 1 and any(one.name.is_own_processing for one in group) for group in groups.values()):
            _log.info("baseline N9999 is a user's own processing: processing time orders products of its acquisition")

    @property
    def hint(self) -> str:
        """End of a message that nothing was found: what was passed over first, and why; may be empty."""
        if not self.passed_over:
            return ""
        path, reason = self.passed_over[0]
        return f"; {len(self.passed_over)} passed over (-v lists them), the first: {path} {reason}"


def find_products(folder: Path, allow_links: Sequence[Path] = ()) -> FoundInputs:
    """All products of `folder` at any depth or, if there are none, its patches; logs what was found.

    `folder` may itself be a product's folder or zip file, a tar file of patches, or a prefix of a bucket, where only
    products count. Links are
    followed if they lead below `folder` or one of `allow_links`, and each folder is searched once. Products, patches,
    hidden folders, and folders among patches are not searched.
    """
    links, refused = Links.into(folder, *allow_links), dict[Path, str]()
    if is_tar(folder) and folder.is_file():
        with doing(f"listing {folder}"):
            names, locator = locate_patches(folder)
        return FoundInputs(folder, (), names, locator, (), links)
    if folder.is_file() and (advice := compressed_tar_advice(folder)):
        raise ValueError(f"{folder} must be a tar file without compression; make one with: {advice}")
    walk = walk_bucket(folder) if is_remote(folder) else walk_folders(folder, links, refused)
    with doing(f"searching {folder}"):
        found = collect_inputs(folder, walk, links, refused)
    found.log()
    return found


def collect_inputs(
    folder: Path, walk: Iterable[tuple[Path, list[str], list[str]]], links: Links, refused: Mapping[Path, str]
) -> FoundInputs:
    """What `find_products` returns, from a walk through `folder`: (folder, names of its folders, of its files).

    Takes out of each list of folders, before it asks for the next, those that need not be searched. `refused` holds
    what the walk leaves out, once it has ended.
    """
    search = FolderSearch()
    if folder.is_file() or is_product_folder(folder.name):
        search.products.append(folder)
    else:
        for here, folders, files in walk:
            now_doing(f"searching {here}")
            search.visit(here, folders, files)
    search.passed_over |= refused
    search.pass_over_strays()
    if is_remote(folder):
        search.pass_over_unread()
    if search.patches:  # a zip file beside patches can be their archive, with millions of entries: it is not opened
        search.passed_over |= dict.fromkeys(search.unnamed_zips, "lies beside patches, and is not named like a product")
    else:
        search.products += search.unnamed_zips
    products = _identify_all(search, links)
    if products:
        over = "holds patches; as there are products, too, those are used"
        search.passed_over |= dict.fromkeys(search.patches, over)
        search.patches.clear()
    search.pass_over_suspects(product.path for product in products)
    names = list(search.patches.values())  # of each folder in order: one of half a million is not sorted twice
    patches = tuple(names[0] if len(names) == 1 else sorted(set().union(*names)))
    locator = _locator_of(folder, search.patches, len(patches)) if patches else None
    return FoundInputs(folder, products, patches, locator, tuple(sorted(search.passed_over.items())), links)


def _locator_of(top: Path, patches: Mapping[Path, list[str]], known: int) -> PatchLocator:
    """The locator of `patches`, names by folder, of which `known` are different."""
    holders = defaultdict[str, tuple[Path, ...]](tuple)
    for holder, names in sorted(patches.items()):
        stem = names[0].rsplit("_", 2)[0]
        holders[stem if holder.name == stem else ""] += (holder,)
    several = sum(map(len, patches.values())) > known
    times = Counter(name for names in patches.values() for name in names) if several else {}
    return PatchLocator(top, dict(holders), sum(number > 1 for number in times.values()))


def _identify_all(search: FolderSearch, links: Links) -> tuple[FoundProduct, ...]:
    """The products that the search met, in order of path; others are added to what it passes over."""
    products, seen = [], dict[Path, Path]()
    for path in sorted(search.products):
        # resolve() raises where links go in circles
        first = seen.setdefault(path if is_remote(path) else Path(os.path.realpath(path)), path)
        if first != path:
            search.passed_over[path] = f"is the same as {first}, by a link"
            continue
        now_doing(f"looking into {path}")
        try:
            products.append(_identify(path, links))
        except (ProductError, ValueError) as error:
            search.passed_over[path] = str(error).removeprefix(str(path)).lstrip(": ")
    return tuple(products)


def _identify(path: Path, links: Links) -> FoundProduct:
    """The product at `path`; opened only if its folder or zip file is not named like a product.

    Raises:
        ProductError: it is none, or lacks its name.
        ValueError: it is not of Level-2A, or of several tiles.
    """
    stem = product_stem(path.name)
    if not is_product(stem):
        files = ProductFiles(path, links)
        if not files.holds_product:
            raise ProductError(f"holds no product: none of MTD_MSIL2A.xml, GRANULE, measurements{files.hint}")
        with product_errors(path):
            stem = product_stem(read_product_uri(files))
    name = parse_product(stem)
    if name.level != "2A":
        raise ValueError(
            f"is a product of Level-{name.level}, whose pixels are not corrected for the atmosphere; make one of "
            "Level-2A from it, for example with Sen2Cor"
        )
    if not name.tile:
        raise ValueError("is a product of several tiles (its name gives none); split it into one product a tile")
    return FoundProduct(path, name, stem, links)


def name_of_product(files: ProductFiles) -> str:
    """Name of an open product, without .SAFE, as in `FoundProduct.stem`; its path's if its metadata give none.

    Raises:
        ProductError: its path has the name of another product.
    """
    stem = product_stem(files.path.name)
    try:
        uri = product_stem(read_product_uri(files))
    except ProductError:
        return stem
    if not is_product(stem):
        return uri
    if is_product(uri) and _is_another(parse_product(stem), parse_product(uri)):
        raise ProductError(
            f"{files.path} is named {stem}, but its metadata are those of {uri}; "
            f"rename it to {uri}, or download {stem} again"
        )
    return stem


def _is_another(name: ProductName, other: ProductName) -> bool:
    """Whether two names are of different products, by the parts that both have.

    Baseline and processing time are compared only between names in the form since December 2016 and of one level:
    elsewhere the times mean different things.
    """
    pairs: list[tuple[object, object]]
    pairs = [(name.mission, other.mission), (name.orbit, other.orbit), (name.tile, other.tile)]
    if name.baseline and other.baseline and name.level == other.level:
        pairs += [(name.baseline, other.baseline), (name.processed, other.processed)]
    return abs(name.acquired - other.acquired) > TIME_TOLERANCE or any(a and b and a != b for a, b in pairs)


def index_products(products: Iterable[FoundProduct]) -> ProductIndex:
    """Products grouped for `matching_products`."""
    index = defaultdict[tuple[str, int | None, str], list[FoundProduct]](list)
    for product in products:
        index[product.name.mission, product.name.orbit, product.name.tile].append(product)
    return index


def same_acquisition(first: ProductName, second: ProductName) -> bool:
    """Whether two products show the same tile at the same time to within 120 seconds, at any level and baseline."""
    same_pass = (first.mission, first.orbit, first.tile) == (second.mission, second.orbit, second.tile)
    return same_pass and abs(first.acquired - second.acquired) <= TIME_TOLERANCE


def matching_products(listed: str, index: ProductIndex) -> tuple[FoundProduct, ...]:
    """All products on disk of the acquisition that a list names, in the order of `newest_first`; () if there is none.

    The listed name may be of any level, baseline and processing time.
    """
    if not is_product(listed):
        return ()
    name = parse_product(listed)
    candidates = index.get((name.mission, name.orbit, name.tile), [])
    return newest_first(product for product in candidates if same_acquisition(product.name, name))


def newest_first(products: Iterable[FoundProduct]) -> tuple[FoundProduct, ...]:
    """Products of one acquisition, the best first: by baseline, newest first, then by processing time, newest first.

    N9999, a user's own processing with Sen2Cor, is no baseline: where one is among them, the processing time alone
    decides. Between equal ones a folder comes before a zip file, then the path decides, so that every run takes the
    same.
    """
    group = tuple(products)
    by_time = any(product.name.is_own_processing for product in group)

    def version(product: FoundProduct) -> tuple[str, datetime, bool, str]:
        baseline = "" if by_time else product.name.baseline
        processed = product.name.processed or datetime.min.replace(tzinfo=UTC)
        return baseline, processed, not is_zip(product.path.name), str(product.path)

    return tuple(sorted(group, key=version, reverse=True))
