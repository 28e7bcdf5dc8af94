"""`python -m etl.sample`: writes the sample archive.

tiles/*.SAFE, labels/, BigEarthNet-v1.0/ and BigEarthNet-S2/ (the first tile's patches), metadata.parquet, lists/ and
sample.json, which says what it was made from and is written last.
"""

import json
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from etl.raster import configure
from etl.sample.archive import V1, V2, write_labels, write_lists, write_table, write_v1, write_v2
from etl.sample.drawing import Recipe, draw_tile
from etl.sample.patches import Patch, patches_of
from etl.sample.safe import write_product, zip_product
from etl.settings import load, setting

__all__ = ["Settings", "main", "write_sample"]

log = logging.getLogger(__name__)

_ABOUT = "sample.json"
_PARTS = ("tiles", "labels", V1, V2, "lists", "metadata.parquet", _ABOUT)

_EDITION = 1
"""Raised by whoever changes what a recipe gives."""


@dataclass(frozen=True, slots=True)
class Settings(Recipe):
    """Write a small archive of Sentinel-2 tiles, patches, labels and lists in authentic formats, drawn from a seed."""

    tile_px: int = setting(2400, "side of a tile on the 10 m grid, a multiple of 6; a real one has 10980", "px")
    tiles: int = setting(4, "number of tiles, 1 to 8")
    seed: int = setting(0, "of all random numbers: the same seed gives the same pixels")
    out: Path = setting(Path("data"), "folder to write to")
    archives: bool = setting(True, "also write the first tile's patches as BigEarthNet v1 and v2 folders")
    zipped: bool = setting(False, "keep the products as .SAFE.zip files instead of folders")
    overwrite: bool = setting(False, "replace a sample made with other settings")
    workers: int = setting(min(8, len(os.sched_getaffinity(0))), "threads; the pixels do not depend on them")

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")

    @property
    def recipe(self) -> dict[str, object]:
        """What the content follows from."""
        names = ("tile_px", "tiles", "seed", "archives", "zipped")
        return {"edition": _EDITION} | {name: getattr(self, name) for name in names}


def write_sample(settings: Settings) -> list[Patch]:
    """Write the whole sample into an empty folder; gives back its patches."""
    out, patches = settings.out, list[Patch]()
    (out / "tiles").mkdir(parents=True)
    for index in range(settings.tiles):
        start = time.perf_counter()
        tile = draw_tile(settings, index, settings.workers)
        drawn = time.perf_counter()
        product = write_product(out / "tiles", tile.spec, tile, settings.workers)
        if settings.zipped:
            zip_product(product)
            shutil.rmtree(product)
        own = patches_of(settings, index, tile)
        patches += own
        done = time.perf_counter()
        log.info("%s: drawn in %.1f s, written in %.1f s", tile.spec.name, drawn - start, done - drawn)
        if settings.archives and index == 0:
            write_v1(out / V1, own, tile, settings.workers)
            write_v2(out / V2, own, out / V1)
            log.info("%s and %s: %d patches in %.1f s", V1, V2, len(own), time.perf_counter() - done)
    write_labels(out / "labels", patches)
    write_lists(out / "lists", patches)
    write_table(out / "metadata.parquet", patches)
    return patches


def main(argv: list[str] | None = None) -> int:
    """Run the command; gives back its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = load(Settings, "etl.sample", argv)
    start = time.perf_counter()
    try:
        if _is_there(settings):
            print(f"sample: {settings.out} already holds it")
            return 0
        _make_room(settings)
        configure()
        patches = write_sample(settings)
    except FileExistsError as error:
        print(f"sample: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:  # the second is GDAL's
        print(f"sample: {settings.out} cannot be written: {error}", file=sys.stderr)
        return 1
    about = {"recipe": settings.recipe, "complete": True, "patches": len(patches)}
    (settings.out / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    seconds = time.perf_counter() - start
    print(f"sample: {settings.tiles} tiles, {len(patches)} patches in {settings.out} ({seconds:.1f} s)")
    return 0


def _is_there(settings: Settings) -> bool:
    """Whether the folder holds this very sample, whole."""
    about = _about(settings.out)
    return about.get("recipe") == settings.recipe and about.get("complete") is True


def _make_room(settings: Settings) -> None:
    """Leave a folder without a sample, marked as one in the making.

    Raises:
        FileExistsError: something is there that may not be removed.
    """
    out, about = settings.out, _about(settings.out)
    found = [name for name in _PARTS if (out / name).exists()]
    if found and not about:
        raise FileExistsError(f"{out} holds {', '.join(found)}, which no sample wrote; name another folder with --out")
    same = about.get("recipe") == settings.recipe  # its making was interrupted
    if found and not same and not settings.overwrite:
        raise FileExistsError(f"{out} holds a sample made with {about.get('recipe')}; --overwrite replaces it")
    for name in found:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)
    marked = {"recipe": settings.recipe, "complete": False}
    (out / _ABOUT).write_text(json.dumps(marked) + "\n", encoding="utf-8")


def _about(out: Path) -> dict[str, object]:
    try:
        about = json.loads((out / _ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return about if isinstance(about, dict) and "recipe" in about else {}


if __name__ == "__main__":
    sys.exit(main())
