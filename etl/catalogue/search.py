"""Sort what a walk through folders meets by names alone: products, patches, and what is to be passed over."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from etl.bucket_files import is_remote
from etl.catalogue.names import is_patch, is_product
from etl.product_files import is_macos_clutter, is_zarr_product, missing_in_product

__all__ = ["FolderSearch", "is_product_folder", "is_zip"]

# in an archive that is no zip file, or with a download that has not ended
_UNUSABLE = re.compile(
    r"(?P<name>.+?)(?:\.SAFE|\.zarr)?(?:\.zip)?"
    r"(?:\.(?:tar|tgz|gz|bz2|xz|zst|7z|rar|part|partial|crdownload|download|incomplete|tmp))+",
    re.IGNORECASE,
)
_STRAY = "lies among patches, but is not named like one"


@dataclass(slots=True)
class FolderSearch:
    """What a walk through folders has met."""

    products: list[Path] = field(default_factory=list)
    """Folders that are products by name or content, and zip files that are by name."""

    unnamed_zips: list[Path] = field(default_factory=list)
    """Zip files with other names, which may be products."""

    patches: dict[Path, list[str]] = field(default_factory=dict)
    """Names of patches, by the folder that holds them."""

    passed_over: dict[Path, str] = field(default_factory=dict)
    """Why what looks like a product or patch cannot be used."""

    _suspects: list[Path] = field(default_factory=list)
    """Folders that are named like a product but are none, so that they are searched."""

    def visit(self, here: Path, folders: list[str], files: list[str]) -> None:
        """Take note of what the folder `here` holds, and leave in `folders` those that are to be searched."""
        if patches := [name for name in folders if is_patch(name)]:  # first, and once: there can be half a million
            self.patches[here] = patches
            others = {*folders}.difference(patches) if len(patches) < len(folders) else ()
            strays = [*others, *(name for name in files if _is_suffixed(name) or is_zip(name))]
            self.passed_over |= {here / name: _STRAY for name in strays}
            folders.clear()
            return
        missing = missing_in_product(folders, files)
        is_named = is_product(here.name) or here.name[-5:].lower() == ".safe"
        if not missing or is_zarr_product(folders, files) or (len(missing) == 1 and is_named):
            self.products.append(here)
            folders.clear()
        else:
            if len(missing) == 1:  # one that was left alone beside products must not hide them
                self.passed_over[here] = f"holds a part of a product, but must hold {missing[0]}, which is missing"
            elif is_named:
                self._suspects.append(here)
            for name in files:
                self._visit_file(here / name)
            folders[:] = [name for name in folders if self._is_to_be_searched(here / name)]

    def _visit_file(self, path: Path) -> None:
        unusable = _UNUSABLE.fullmatch(path.name)
        if is_macos_clutter(path.name):
            if is_zip(path.name) or _is_suffixed(path.name):
                self.passed_over[path] = "is a file that macOS added"
        elif unusable is not None and is_product(unusable["name"]):
            self.passed_over[path] = "must be a folder or a .zip file; unpack it, or finish its download"
        elif (is_zip(path.name) or _is_suffixed(path.name)) and is_product(path.name):
            self.products.append(path)  # a link to nothing as well: opening it says why
        elif is_zip(path.name):
            self.unnamed_zips.append(path)

    def _is_to_be_searched(self, path: Path) -> bool:
        if path.name == "__MACOSX" or path.name.startswith("."):
            self.passed_over[path] = "is a hidden folder, or one that macOS added"
            return False
        if is_product_folder(path.name):
            self.products.append(path)
            return False
        if not is_remote(path) and not os.access(path, os.R_OK | os.X_OK):  # the walk would leave it out without a word
            self.passed_over[path] = "cannot be read: its permissions do not allow it"
            return False
        return True

    def pass_over_strays(self) -> None:
        """Pass over products in the root of an archive of BigEarthNet v2, beside the folders that hold its patches."""
        roots = {holder.parent for holder, names in self.patches.items() if holder.name == names[0].rsplit("_", 2)[0]}
        self.passed_over |= {path: _STRAY for path in self.products if path.parent in roots}
        self.products = [path for path in self.products if path.parent not in roots]

    def pass_over_unread(self) -> None:
        """Pass over what is read from a disk only: zip files and patches."""
        zips = [path for path in (*self.products, *self.unnamed_zips) if is_zip(path.name)]
        self.passed_over |= dict.fromkeys(zips, "is a zip file in a bucket; unpack it there, or copy it to a disk")
        self.passed_over |= dict.fromkeys(self.patches, "holds patches, which are read from a disk only")
        self.products = [path for path in self.products if not is_zip(path.name)]
        self.unnamed_zips.clear()
        self.patches.clear()

    def pass_over_suspects(self, known: Iterable[Path]) -> None:
        """Pass over folders named like a product, unless one of `known`, patches or what is passed over lies inside."""
        inside = [*known, *self.patches, *self.passed_over]
        for path in self._suspects:
            if not any(other.is_relative_to(path) for other in inside):
                self.passed_over[path] = (
                    "is named like a product, but holds none of MTD_MSIL2A.xml, GRANULE, measurements"
                )


def is_product_folder(name: str) -> bool:
    """Whether a folder is a product's by its name alone, which ends in .SAFE or .zarr, in upper or lower case."""
    return _is_suffixed(name) and is_product(name)


def _is_suffixed(name: str) -> bool:
    return name[-5:].lower() in (".safe", ".zarr")


def is_zip(name: str) -> bool:
    """Whether a name ends in .zip, in upper or lower case."""
    return name[-4:].lower() == ".zip"
