"""Writes what surrounds the tiles, in BigEarthNet's forms: labels, patch folders, lists and the v2 table."""

import gzip
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from etl.bands import GROUPS, PATCH_M
from etl.grid import nominal_origin
from etl.raster import Georeference, write_geotiff
from etl.sample.patches import Patch
from etl.sample.pixels import Pixels

__all__ = ["V1", "V2", "write_labels", "write_lists", "write_table", "write_v1", "write_v2"]

V1, V2 = "BigEarthNet-v1.0", "BigEarthNet-S2"
"""Names of the two patch archives' folders."""


def write_labels(folder: Path, patches: Sequence[Patch]) -> None:
    """Write <folder>/<patch>/<patch>_labels_metadata.json of each patch, as in BigEarthNet v1."""
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


def write_v1(folder: Path, patches: Sequence[Patch], tile: Pixels, workers: int = 1) -> None:
    """Write the tile's patches as BigEarthNet v1 has them: a folder each with 12 GeoTIFFs and the labels."""
    write_labels(folder, patches)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda patch: _write_bands(folder / patch.name, patch, tile), patches))


def _write_bands(folder: Path, patch: Patch, tile: Pixels) -> None:
    epsg = nominal_origin(patch.product.tile).epsg
    for group, data in zip(GROUPS, tile.groups, strict=True):
        where = Georeference(epsg, patch.ulx, patch.uly, group.gsd_m)
        row, col, side = patch.row * group.patch_px, patch.col * group.patch_px, group.patch_px
        for place, band in enumerate(group.bands):
            pixels = data[row : row + side, col : col + side, place]
            write_geotiff(folder / f"{patch.name}_{band}.tif", pixels, where)


def write_v2(folder: Path, patches: Sequence[Patch], v1: Path) -> None:
    """Write the patches as BigEarthNet v2 has them, below their product's folder, from the files of the v1 folder."""
    for patch in patches:
        out = folder / patch.product.v2_prefix / patch.name_v2
        out.mkdir(parents=True)
        for band in (band for group in GROUPS for band in group.bands):
            shutil.copyfile(v1 / patch.name / f"{patch.name}_{band}.tif", out / f"{patch.name_v2}_{band}.tif")


def write_lists(folder: Path, patches: Sequence[Patch]) -> None:
    """Write the split lists, the two exclusion lists and the list of Level-1C products, in the published forms."""
    folder.mkdir(parents=True)
    names = {f"{split}.csv": [p.name for p in patches if p.listed and p.split == split] for split in _SPLIT_NAMES}
    names["patches_with_seasonal_snow.csv"] = [p.name for p in patches if p.snow]
    names["patches_with_cloud_and_shadow.csv"] = [p.name for p in patches if p.cloud]
    for file, lines in names.items():
        (folder / file).write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    products = "".join(f"{patch.name},{patch.region.level_1c}\n" for patch in patches)
    content = gzip.compress(b"patch,l1c_product\n" + products.encode(), mtime=0)
    (folder / "patch_to_l1c_product.csv.gz").write_bytes(content)


_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
"""Names of the splits in the v2 table."""


def write_table(path: Path, patches: Sequence[Patch]) -> None:
    """Write the patches that have a label of the 19 as BigEarthNet v2's table.

    Patches with snow or cloud, which the published archive keeps in a second table, are in this one, marked.
    """
    kept = [patch for patch in patches if patch.labels_19]
    table = {
        "patch_id": [p.name_v2 for p in kept],
        "labels": pa.array([sorted(p.labels_19) for p in kept], pa.list_(pa.string())),
        "split": [_SPLIT_NAMES[p.split] for p in kept],
        "country": [p.region.country for p in kept],
        "s1_name": [f"{p.region.sentinel_1}_{p.product.tile}_{p.col}_{p.row}" for p in kept],
        "s2v1_name": [p.name for p in kept],
        "contains_seasonal_snow": [p.snow for p in kept],
        "contains_cloud_or_shadow": [p.cloud for p in kept],
    }
    pq.write_table(pa.table(table), path)


def utm_wkt(epsg: int) -> str:
    """Well-known text of a UTM zone of WGS 84 (EPSG 326zz or 327zz), as GDAL 2 wrote it into BigEarthNet's labels."""
    zone, north = epsg % 100, epsg < 32700
    datum = (
        'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
        'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,'
        'AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]'
    )
    values = {
        "latitude_of_origin": 0,
        "central_meridian": zone * 6 - 183,
        "scale_factor": 0.9996,
        "false_easting": 500000,
        "false_northing": 0 if north else 10000000,
    }
    parameters = ",".join(f'PARAMETER["{name}",{value}]' for name, value in values.items())
    return (
        f'PROJCS["WGS 84 / UTM zone {zone}{"N" if north else "S"}",{datum},PROJECTION["Transverse_Mercator"],'
        f'{parameters},UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH],'
        f'AUTHORITY["EPSG","{epsg}"]]'
    )
