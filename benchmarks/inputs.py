"""Input data of scenarios: tiles made by `etl.sample`, a folder of patches, network weights; kept in the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.findings import Skipped
from benchmarks.launch import prepare
from benchmarks.setup import Setup
from etl.bands import GROUPS, PATCH_M
from etl.catalogue.finder import find_products
from etl.catalogue.names import parse_product
from etl.catalogue.table import make_catalogue_table, write_catalogue
from etl.files import replace_atomically
from etl.grid import PixelWindow, TileGrid
from etl.plan.layers import Layer, blocks_of
from etl.raster import Georeference, RasterFile, write_geotiff
from etl.source.open_product import read_product
from etl.source.product import Product
from etl.source.tiles import layers_of
from etl.upsample.network import ConvWeights, NetworkWeights
from etl.upsample.weights import write_weights

__all__ = [
    "REAL_DATA",
    "PatchFolder",
    "TileInput",
    "block_job",
    "make_labelled_tiles",
    "make_network_weights",
    "make_patch_folder",
    "make_tile",
]

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Folder of real patches and lists, beside the project."""

_CONTEXT_PX = (0, 1, 1)
"""Halo of a patch in pixels that bilinear upsampling needs, by group."""


@dataclass(frozen=True, slots=True)
class TileInput:
    """One Level-2A product and a catalogue of every patch of its grid."""

    source: Path
    """Folder that holds the product."""

    catalogue: Path
    """`patches.parquet` of all its cells, unlabelled."""

    product: Product
    """Metadata of the product."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers that are decoded for bilinear upsampling."""
        return layers_of(self.product, _CONTEXT_PX).layers

    @property
    def cells(self) -> int:
        """Number of patches along one side."""
        return self.product.grid.size_px * 10 // PATCH_M

    @property
    def files(self) -> list[Path]:
        """Its image files."""
        return [Path(path) for path in self.product.files.values()]


@dataclass(frozen=True, slots=True)
class LabelledInput:
    """Level-2A products and the catalogue of their patches, with labels and splits."""

    source: Path
    """Folder that holds the products."""

    catalogue: Path
    """`patches.parquet`."""


@dataclass(frozen=True, slots=True)
class PatchFolder:
    """Patches of BigEarthNet v1, twelve GeoTIFFs each."""

    source: Path
    """The folder."""

    catalogue: Path
    """`patches.parquet` of the patches."""

    folders: tuple[Path, ...]
    """Folder of each patch, in store order."""

    real: bool
    """Whether the pixels are real ones of BigEarthNet."""


def _side_px(setup: Setup) -> int:
    return 1200 if setup.size == "tiny" else 10980


def make_tile(setup: Setup) -> TileInput:
    """The first tile of the sample, of full size except for `tiny`; made if it is not in the cache."""
    side = _side_px(setup)
    home = setup.cache / f"tile-{side}"
    _make_sample(home, side, archives=setup.size == "tiny")
    product = read_product(find_products(home / "tiles").products[0].path)
    catalogue = home / "grid.parquet"
    if not catalogue.exists():
        cells = product.grid.size_px * 10 // PATCH_M
        j, i = np.divmod(np.arange(cells**2), cells)
        _write_catalogue(catalogue, product.name, product.grid, (j, i))
    return TileInput(home / "tiles", catalogue, product)


def make_labelled_tiles(setup: Setup, tiles: int, side: int) -> LabelledInput:
    """The first `tiles` tiles of the sample, of `side` pixels, with labels; made if they are not in the cache."""
    home = setup.cache / f"labelled-{tiles}-{side}"
    _make_sample(home, side, archives=False, tiles=tiles)
    catalogue = home / "patches.parquet"
    if not catalogue.exists():
        flags = ("--source", str(home / "labels"), "--lists", str(home / "lists"), "--out", str(catalogue))
        problem = prepare("etl.catalogue", flags, home.parent)
        if problem:
            raise Skipped(problem)
    return LabelledInput(home / "tiles", catalogue)


def _make_sample(home: Path, side_px: int, archives: bool, tiles: int = 1) -> None:
    """Make tiles by `etl.sample`; the folder appears when it is complete."""
    if home.exists():
        return
    with replace_atomically(home, sync=False, concurrent=True) as temporary:
        flags = ("--out", str(temporary), "--tile-px", str(side_px), "--tiles", str(tiles))
        problem = prepare("etl.sample", (*flags, "--archives" if archives else "--no-archives"), home.parent)
        if problem:
            raise Skipped(problem)


def _write_catalogue(path: Path, product: str, grid: TileGrid, cells: Sequence[np.ndarray[Any, Any]]) -> list[str]:
    """Write a catalogue of the patches in rows j and columns i of a tile; returns their names, as in version 1."""
    parsed, (j, i) = parse_product(product), cells
    count = len(j)
    names = [f"{parsed.mission}_MSIL2A_{parsed.acquired:%Y%m%dT%H%M%S}_{b}_{a}" for a, b in zip(j, i, strict=True)]
    table = make_catalogue_table(
        patch=names,
        tile=[parsed.tile] * count,
        product=[product] * count,
        acquired=pa.array([parsed.acquired] * count, pa.timestamp("s", tz="UTC")),
        epsg=pa.array([grid.epsg] * count, pa.int32()),
        ulx=grid.ulx + float(PATCH_M) * i,
        uly=grid.uly - float(PATCH_M) * j,
    )
    write_catalogue(path, table)
    return names


def block_job(source: TileInput) -> dict[str, Any]:
    """Job of `benchmarks.programs.read`: decode each needed block of each band once."""
    j, i = np.divmod(np.arange(source.cells**2), source.cells)
    files = []
    for layer in source.layers:
        bands = ("SCL",) if layer.name == "scl" else next(g.bands for g in GROUPS if g.name == layer.name)
        needed = np.unique(blocks_of(layer, j, i)).tolist()
        windows = [(index, *layer.block_window(index)) for index in needed]
        files += [{"layer": layer.name, "path": source.product.files[band], "windows": windows} for band in bands]
    return {"files": files}


def make_patch_folder(setup: Setup, source: TileInput) -> PatchFolder:
    """A folder of 2,000 patches with pixels of real ones; of the sample for `tiny`, or if real ones are missing.

    Their places are the first cells of `source`.
    """
    real = sorted((REAL_DATA / "patches_v1").glob("S2*"))
    if setup.size == "tiny" or not real:
        home = setup.cache / "tile-1200"
        _make_sample(home, 1200, archives=True)
        real = sorted((home / "BigEarthNet-v1.0").glob("S2*"))
    count = 60 if setup.size == "tiny" else 2000
    home = setup.cache / f"placed-patches-{count}"
    j, i = np.divmod(np.arange(count), source.cells)
    if not home.exists():
        with replace_atomically(home, sync=False, concurrent=True) as temporary:
            temporary.mkdir(parents=True)
            names = _write_catalogue(temporary / "patches.parquet", source.product.name, source.product.grid, (j, i))
            for number, name in enumerate(names):
                target = temporary / "patches" / name
                _copy_patch(real[number % len(real)], target, source.product.grid, int(j[number]), int(i[number]))
    names = [path.name for path in (home / "patches").iterdir()]
    names.sort(key=lambda name: tuple(map(int, name.split("_")[:-3:-1])))
    folders = tuple(home / "patches" / name for name in names)
    return PatchFolder(home / "patches", home / "patches.parquet", folders, real[0].is_relative_to(REAL_DATA))


def _copy_patch(source: Path, target: Path, grid: TileGrid, row: int, column: int) -> None:
    """Write the pixels of a patch again, under another name, at a row and column of a tile's patches."""
    target.mkdir(parents=True)
    for group in GROUPS:
        gsd_m = group.gsd_m
        place = Georeference(grid.epsg, grid.ulx + PATCH_M * column, grid.uly - PATCH_M * row, gsd_m)
        for band in group.bands:
            pixels = np.empty((group.patch_px, group.patch_px), np.uint16)
            RasterFile(str(source / f"{source.name}_{band}.tif")).read(PixelWindow(0, 0, *pixels.shape), pixels)
            write_geotiff(target / f"{target.name}_{band}.tif", pixels, place)


def make_network_weights(setup: Setup) -> dict[str, Path]:
    """Folders with the weights of both networks, by processing level: published ones, or random ones at size tiny."""
    home = setup.cache / ("weights-small" if setup.size == "tiny" else "weights")
    folders = {level: home / level.lower() for level in ("L1C", "L2A")}
    if setup.size == "tiny":
        for level, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            for gsd_m, widths in ((20, (10, 8, 8, 8, 6)), (60, (12, 8, 8, 8, 2))):
                write_weights(folder / f"{gsd_m}.h5", _random(level, widths))
        return folders
    problem = prepare("etl.superres", ("fetch", "--out", str(home)), setup.cache)
    if problem:
        raise Skipped(problem)
    return folders


def _random(level: str, widths: Sequence[int]) -> NetworkWeights:
    rng = np.random.default_rng(0)
    layers = tuple(
        ConvWeights(rng.normal(0, 0.1, (3, 3, into, out)).astype(np.float32), np.zeros(out, np.float32))
        for into, out in pairwise(widths)
    )
    return NetworkWeights("random", "", level, 0.1, tuple(map(str, range(len(layers)))), layers)
