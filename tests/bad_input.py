"""Products, catalogues and runs for the tests of bad input, and what a run says."""

import csv
import json
import textwrap
from dataclasses import replace
from datetime import datetime

import h5py
import numpy as np
from commands import ranks

from etl.bands import GROUPS
from etl.catalogue.table import make_catalogue_table, write_catalogue
from etl.grid import nominal_origin
from etl.raster import Georeference, utm_wkt, write_geotiff
from etl.sample.pixels import TilePixels
from etl.sample.product import ProductSpec

__all__ = [
    "ORIGIN", "SMALL_BLOCKS", "SOT", "TILE", "broken_job", "cut", "cut_in_block", "edit", "errors", "geotiff", "image",
    "is_written", "job", "listed", "pixels_of", "poke", "product_of", "put_catalogue", "random_pixels", "reasons",
    "without_data", "write_patch",
]  # fmt: skip

TILE = "33UUP"
ORIGIN = nominal_origin(TILE)

SMALL_BLOCKS = {10: 120, 20: 60, 60: 40}
"""Sides of JPEG 2000 tiles such that each patch has its own at 10 m and 20 m."""

SOT = b"\xff\x90\x00\x0a"
"""Start of a tile-part in a JPEG 2000 code stream; the number of the tile follows, two bytes."""


def product_of(day, tile=TILE, **other):
    """What a product sensed on a day of June 2017 is called."""
    sensed = datetime(2017, 6, day, 10, 10, 31)
    said = {"generated": datetime(2017, 6, day, 12), "baseline": "02.05", **other}
    return ProductSpec("S2A", sensed, sensed, relative_orbit=22, absolute_orbit=10312, tile=tile, **said)


def random_pixels(seed, px=240):
    rng = np.random.default_rng(seed)
    bands = [rng.integers(1, 12_000, (px // g.factor, px // g.factor, len(g.bands))).astype(np.uint16) for g in GROUPS]
    return TilePixels(*bands, rng.integers(0, 12, (px // 2, px // 2)).astype(np.uint8))


def without_data(pixels, first_px, stop_px):
    """The pixels of a tile with nodata in a span of columns, counted at 10 m."""
    groups = [group.copy() for group in pixels.groups]
    for group, array in zip(GROUPS, groups, strict=True):
        array[:, first_px // group.factor : stop_px // group.factor] = 0
    scl = pixels.scl.copy()
    scl[:, first_px // 2 : stop_px // 2] = 0
    return replace(pixels, data_10m=groups[0], data_20m=groups[1], data_60m=groups[2], scl=scl)


def listed(spec, px=240, labels=("Mixed forest",)):
    """One dictionary a patch of a product, as the catalogue lists it."""
    origin, cells = nominal_origin(spec.tile), range(px // 120)
    return [
        {
            "patch": f"{spec.v1_prefix}_{i}_{j}", "tile": spec.tile, "product": spec.name, "acquired": spec.sensed,
            "epsg": origin.epsg, "ulx": origin.ulx + 1200 * i, "uly": origin.uly - 1200 * j, "labels": list(labels),
        }
        for j in cells for i in cells
    ]  # fmt: skip


def put_catalogue(path, patches):
    write_catalogue(path, make_catalogue_table(**{name: [patch[name] for patch in patches] for name in patches[0]}))


def image(product, band, gsd_m):
    return next(product.glob(f"GRANULE/*/IMG_DATA/R{gsd_m}m/*_{band}_{gsd_m}m.jp2"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(path, size):
    """Truncate a file; `size` may be a share of what it has."""
    path.write_bytes(path.read_bytes()[: size if isinstance(size, int) else int(size * path.stat().st_size)])


def cut_in_block(path, block):
    """Truncate a JPEG 2000 file in the middle of one block: that one is broken, and those behind it are lost."""
    data = path.read_bytes()
    first = data.index(SOT + block.to_bytes(2, "big"))
    follows = data.find(SOT + (block + 1).to_bytes(2, "big"))
    path.write_bytes(data[: (first + (follows if follows > 0 else len(data))) // 2])


def job(size, root, out, *flags, **more):
    """Extract what lies in `root`."""
    paths = ("--catalogue", str(root / "patches.parquet"), "--source", str(root / "tiles"), "--out", str(out))
    return ranks(size, "etl.extract", *paths, *flags, **more)


def reasons(out):
    """Reason by patch in a store's rejected.csv; of a patch that is listed twice the last one."""
    with out.with_name(out.stem + ".rejected.csv").open(newline="", encoding="utf-8") as file:
        return {line["patch"]: line["reason"] for line in csv.DictReader(file)}


def errors(done):
    """Lines of stderr that say what went wrong."""
    return [line for line in done.stderr.splitlines() if "error:" in line]


def pixels_of(patch, tile):
    """The three native groups of a catalogue's patch, cut from the tile's pixels."""
    i, j = (int(abs(patch[axis] - start)) // 1200 for axis, start in (("ulx", ORIGIN.ulx), ("uly", ORIGIN.uly)))
    return [
        array[j * g.patch_px : (j + 1) * g.patch_px, i * g.patch_px : (i + 1) * g.patch_px]
        for g, array in zip(GROUPS, tile.groups, strict=True)
    ]


def is_written(store, patch, tile):
    """Whether a patch stands in the store, in state 1, with the tile's pixels."""
    row = store["patch"].tolist().index(patch["patch"].encode())
    groups = zip(GROUPS, pixels_of(patch, tile), strict=True)
    return store["state"][row] == 1 and all(np.array_equal(store[f"data_{g.name}"][row], p) for g, p in groups)


def poke(store, name, at, data):
    """Overwrite bytes of a data set in place."""
    with h5py.File(store) as file:
        start = file[name].id.get_offset()
    with store.open("r+b") as file:
        file.seek(start + at)
        file.write(data)


def broken_job(size, tile, folder, patches, *flags):
    """Extract with some of the program's own functions replaced: `patches` is Python, which knows its `rank`."""
    program = f"""
        import os, runpy, signal
        from etl.mpi import MPI
        rank = MPI.COMM_WORLD.rank
        {textwrap.indent(textwrap.dedent(patches), " " * 8).strip()}
        runpy.run_module("etl.extract", run_name="__main__", alter_sys=True)
    """
    (folder / "broken.py").write_text(textwrap.dedent(program))
    given = (
        "--catalogue",
        str(tile.root / "patches.parquet"),
        "--source",
        str(tile.root / "tiles"),
        "--out",
        "store.h5",
    )
    return ranks(size, "broken", *given, "--round-mib", "1", *flags, cwd=folder, timeout=90)


def write_patch(archive, i, j, seed):
    """One patch of BigEarthNet v1 with random pixels; its name."""
    name = f"{product_of(1).v1_prefix}_{i}_{j}"
    folder, rng = archive / name, np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ulx, uly = ORIGIN.ulx + 1200 * i, ORIGIN.uly - 1200 * j
    for group in GROUPS:
        for band in group.bands:
            pixels = rng.integers(1, 12_000, (group.patch_px, group.patch_px)).astype(np.uint16)
            write_geotiff(folder / f"{name}_{band}.tif", pixels, Georeference(ORIGIN.epsg, ulx, uly, group.gsd_m))
    said = {
        "labels": ["Mixed forest"],
        "coordinates": {"ulx": ulx, "uly": uly, "lrx": ulx + 1200, "lry": uly - 1200},
        "projection": utm_wkt(ORIGIN.epsg),
        "tile_source": product_of(1).product_name("MSIL1C", "02.05", product_of(1).generated),
        "acquisition_date": "2017-06-01 10:10:31",
    }
    (folder / f"{name}_labels_metadata.json").write_text(json.dumps(said))
    return name


def geotiff(folder, band):
    return folder / f"{folder.name}_{band}.tif"
