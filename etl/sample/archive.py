"""Write labels, patch folders, lists and the v2 table of the sample in the forms of BigEarthNet."""

import gzip
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etl.bands import GROUPS, PATCH_M
from etl.grid import nominal_origin
from etl.raster import Georeference, utm_wkt, write_geotiff
from etl.sample.patches import SamplePatch
from etl.sample.pixels import TilePixels

__all__ = [
    "S1",
    "V1",
    "V2",
    "write_labels",
    "write_lists",
    "write_sentinel1",
    "write_v1_archive",
    "write_v2_archive",
    "write_v2_table",
]

S1, V1, V2 = "BigEarthNet-S1", "BigEarthNet-v1.0", "BigEarthNet-S2"
"""Names of the patch archives' folders: of Sentinel-1, and of Sentinel-2 in two versions."""

_LOOKS = 4
"""Independent looks that the speckle of the sample's Sentinel-1 is the mean of, as in a product of Sentinel-1."""


def write_labels(folder: Path, patches: Sequence[SamplePatch]) -> None:
    """Write <folder>/<patch>/<patch>_labels_metadata.json of each patch, as in BigEarthNet v1; corners in metres."""
    for patch in patches:
        content = {
            "labels": list(patch.labels),
            "coordinates": {
                "ulx": patch.ulx,
                "uly": patch.uly,
                "lrx": patch.ulx + PATCH_M,
                "lry": patch.uly - PATCH_M,
            },
            "projection": utm_wkt(nominal_origin(patch.product.tile).epsg),
            "tile_source": patch.region.level_1c,
            "acquisition_date": f"{patch.product.sensed:%Y-%m-%d %H:%M:%S}",
        }
        out = folder / patch.name
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{patch.name}_labels_metadata.json").write_text(json.dumps(content), encoding="utf-8")


def write_v1_archive(folder: Path, patches: Sequence[SamplePatch], tile: TilePixels, workers: int = 1) -> None:
    """Write the tile's patches as BigEarthNet v1 has them: a folder of 12 GeoTIFFs (uint16 pixels) and labels each."""
    write_labels(folder, patches)
    # list() waits, and raises what a thread raised
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda patch: _write_bands(folder / patch.name, patch, tile), patches))


def _write_bands(folder: Path, patch: SamplePatch, tile: TilePixels) -> None:
    epsg = nominal_origin(patch.product.tile).epsg
    for group, data in zip(GROUPS, tile.groups, strict=True):
        where = Georeference(epsg, patch.ulx, patch.uly, group.gsd_m)
        row, col, side = patch.row * group.patch_px, patch.col * group.patch_px, group.patch_px
        for k, band in enumerate(group.bands):
            pixels = data[row : row + side, col : col + side, k]
            write_geotiff(folder / f"{patch.name}_{band}.tif", pixels, where)


def write_v2_archive(folder: Path, patches: Sequence[SamplePatch], v1: Path) -> None:
    """Copy the files of the v1 folder to <product>/<patch>, as BigEarthNet v2 has them: other names, the same bytes."""
    for patch in patches:
        out = folder / patch.product.v2_prefix / patch.name_v2
        out.mkdir(parents=True)
        for band in (band for group in GROUPS for band in group.bands):
            shutil.copyfile(v1 / patch.name / f"{patch.name}_{band}.tif", out / f"{patch.name_v2}_{band}.tif")


def write_sentinel1(folder: Path, patches: Sequence[SamplePatch], tile: TilePixels, seed: int) -> None:
    """Write the patches of Sentinel-1 that belong to the tile's: <scene>/<patch>/, two GeoTIFFs each, dB, float32.

    Backscatter rises with near infrared reflectance, as over vegetation, and has speckle.
    """
    near_infrared = tile.groups[0][..., GROUPS[0].bands.index("B08")]
    for number, patch in enumerate(patches):
        epsg, side = nominal_origin(patch.product.tile).epsg, GROUPS[0].patch_px
        row, col, where = patch.row * side, patch.col * side, Georeference(epsg, patch.ulx, patch.uly, 10)
        mean_db = -18 + 10 * (near_infrared[row : row + side, col : col + side] / 5000).clip(0, 1)
        speckle = np.random.default_rng([seed, patch.tile, number]).gamma(_LOOKS, 1 / _LOOKS, (2, side, side))
        out = folder / patch.sentinel1_scene / patch.sentinel1_name
        out.mkdir(parents=True)
        for band, looks, below_db in zip(("VV", "VH"), speckle, (0, 7), strict=True):
            pixels = (mean_db - below_db + 10 * np.log10(looks)).astype(np.float32)
            write_geotiff(out / f"{patch.sentinel1_name}_{band}.tif", pixels, where)


def write_lists(folder: Path, patches: Sequence[SamplePatch]) -> None:
    """Write the split lists, the two exclusion lists and the list of Level-1C products, in the published forms."""
    folder.mkdir(parents=True)
    names = {f"{split}.csv": [p.name for p in patches if p.listed and p.split == split] for split in _SPLIT_NAMES}
    names["patches_with_seasonal_snow.csv"] = [p.name for p in patches if p.snow]
    names["patches_with_cloud_and_shadow.csv"] = [p.name for p in patches if p.cloud]
    for file, lines in names.items():
        # the published lists have Windows line ends and no heading
        (folder / file).write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    products = "".join(f"{patch.name},{patch.region.level_1c}\n" for patch in patches)
    # mtime=0: a time in the header would change the bytes from run to run
    content = gzip.compress(b"patch,l1c_product\n" + products.encode(), mtime=0)
    (folder / "patch_to_l1c_product.csv.gz").write_bytes(content)


_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
"""Names of the splits in the v2 table."""


def write_v2_table(path: Path, patches: Sequence[SamplePatch]) -> None:
    """Write the patches that have a label of the 19 as BigEarthNet v2's table, one row a patch.

    Patches with snow or cloud are in this table, too, marked; the published archive has a second one for them.
    """
    labelled = [patch for patch in patches if patch.labels_19]
    table = {
        "patch_id": [p.name_v2 for p in labelled],
        "labels": pa.array([sorted(p.labels_19) for p in labelled], pa.list_(pa.string())),
        "split": [_SPLIT_NAMES[p.split] for p in labelled],
        "country": [p.region.country for p in labelled],
        "s1_name": [p.sentinel1_name for p in labelled],
        "s2v1_name": [p.name for p in labelled],
        "contains_seasonal_snow": [p.snow for p in labelled],
        "contains_cloud_or_shadow": [p.cloud for p in labelled],
    }
    pq.write_table(pa.table(table), path)
