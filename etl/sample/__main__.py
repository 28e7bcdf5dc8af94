"""`python -m etl.sample`: write the sample archive.

It consists of tiles/*.SAFE, labels/, BigEarthNet-v1.0/ and BigEarthNet-S2/ (the first tile's patches), if asked for
BigEarthNet-S1/, metadata.parquet, lists/ and sample.json, which records the recipe and is written last.
"""

import json
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from etl.files import replace_atomically
from etl.output import escape_output
from etl.raster import configure
from etl.sample.archive import (
    S1,
    V1,
    V2,
    write_labels,
    write_lists,
    write_sentinel1,
    write_v1_archive,
    write_v2_archive,
    write_v2_table,
)
from etl.sample.drawing import SampleRecipe, draw_tile
from etl.sample.patches import SamplePatch, patches_of_tile
from etl.sample.safe import write_product, zip_product
from etl.settings import load_settings, require_within, setting

__all__ = ["SampleSettings", "main", "write_sample"]

log = logging.getLogger(__name__)

_MANIFEST = "sample.json"
_PARTS = ("tiles", "labels", V1, V2, S1, "lists", "metadata.parquet", _MANIFEST)

_EDITION = 1
"""Version of the drawing code: to be raised by each change that changes pixels or labels."""


@dataclass(frozen=True, slots=True)
class SampleSettings(SampleRecipe):
    """Write a small synthetic archive, drawn from a seed.

    It holds Sentinel-2 tiles in the format of ESA's products, and patches, labels and lists in those of BigEarthNet.
    """

    out: Path = setting(Path("data"), "folder to write to")
    archives: bool = setting(True, "also write the first tile's patches as BigEarthNet v1 and v2 folders")
    sentinel1: bool = setting(False, f"also write the patches of Sentinel-1 that belong to those of all tiles, in {S1}")
    zipped: bool = setting(False, "keep the products as .SAFE.zip files instead of folders")
    overwrite: bool = setting(False, "replace a sample that was made with other settings")
    workers: int = setting(min(8, len(os.sched_getaffinity(0))), "threads; any number gives the same pixels")

    def __post_init__(self) -> None:
        SampleRecipe.__post_init__(self)
        require_within(self, workers=(1, 1024))

    @property
    def recipe(self) -> dict[str, object]:
        """All settings that the content depends on, tile side in pixels; the number of threads is none of them."""
        names = ("tile_px", "tiles", "seed", "archives", "zipped")
        added = {"sentinel1": True} if self.sentinel1 else {}
        return {"edition": _EDITION} | {name: getattr(self, name) for name in names} | added


def write_sample(settings: SampleSettings) -> list[SamplePatch]:
    """Write the whole sample into an empty folder; returns its patches, with corners in metres."""
    out, patches = settings.out, list[SamplePatch]()
    (out / "tiles").mkdir(parents=True)
    for index in range(settings.tiles):
        start = time.perf_counter()
        tile = draw_tile(settings, index, settings.workers)
        drawn = time.perf_counter()
        product = write_product(out / "tiles", tile.spec, tile, settings.workers)
        if settings.zipped:
            zip_product(product)
            shutil.rmtree(product)
        own = patches_of_tile(settings, index, tile)
        patches += own
        done = time.perf_counter()
        log.info("%s: drawn in %.1f s, written in %.1f s", tile.spec.name, drawn - start, done - drawn)
        if settings.archives and index == 0:
            write_v1_archive(out / V1, own, tile, settings.workers)
            write_v2_archive(out / V2, own, out / V1)
            log.info("%s and %s: %d patches in %.1f s", V1, V2, len(own), time.perf_counter() - done)
        if settings.sentinel1:
            write_sentinel1(out / S1, own, tile, settings.seed)
    write_labels(out / "labels", patches)
    write_lists(out / "lists", patches)
    write_v2_table(out / "metadata.parquet", patches)
    return patches


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    escape_output()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = load_settings(SampleSettings, "etl.sample", argv)
    start = time.perf_counter()
    try:
        if _is_complete(settings):
            print(f"sample: {settings.out} already holds it")
            return 0
        _clear_output(settings)
        configure()
        patches = write_sample(settings)
        _write_manifest(settings, complete=True, patches=len(patches))
    except FileExistsError as error:
        print(f"sample: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:  # the second is GDAL's
        print(f"sample: {settings.out} cannot be written: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    print(f"sample: {settings.tiles} tiles, {len(patches)} patches in {settings.out} ({seconds:.1f} s)")
    return 0


def _is_complete(settings: SampleSettings) -> bool:
    """Whether the folder holds this very sample, complete."""
    manifest = _read_manifest(settings.out)
    return manifest.get("recipe") == settings.recipe and manifest.get("complete") is True


def _clear_output(settings: SampleSettings) -> None:
    """Empty the output folder and mark it as an incomplete sample.

    Raises:
        FileExistsError: the folder holds what must not be removed.
    """
    out, manifest = settings.out, _read_manifest(settings.out)
    found = [name for name in _PARTS if (out / name).exists()]
    if found and not manifest:
        raise FileExistsError(f"{out} holds {', '.join(found)}, which no sample wrote; name another folder with --out")
    same = manifest.get("recipe") == settings.recipe  # an interrupted run of the same recipe is begun anew
    if found and not same and not settings.overwrite:
        raise FileExistsError(f"{out} holds a sample made with {manifest.get('recipe')}; --overwrite replaces it")
    for name in found:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)
    # written before any pixel, so that the next run knows a killed one's files for a sample's
    _write_manifest(settings, complete=False)


def _write_manifest(settings: SampleSettings, **state: object) -> None:
    with replace_atomically(settings.out / _MANIFEST) as part:
        part.write_text(json.dumps({"recipe": settings.recipe, **state}, indent=1) + "\n", encoding="utf-8")


def _read_manifest(out: Path) -> dict[str, object]:
    try:
        manifest = json.loads((out / _MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and "recipe" in manifest else {}


if __name__ == "__main__":
    sys.exit(main())
