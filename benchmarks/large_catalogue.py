"""A synthetic catalogue of any size, and the inputs of an extraction of it, without any pixels or product files."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.table import Catalogue, make_catalogue_table
from etl.extract.inputs import CatalogueSelection, ExtractionInputs, listed_products
from etl.extract.settings import ExtractSettings
from etl.grid import nominal_origin
from etl.input_files import Links
from etl.labels import classes_of
from etl.plan.layers import Layer
from etl.schema import Schema
from etl.source.inspection import ProductInspection
from etl.store.backend import backend_of
from etl.store.layout import Layout
from etl.store.location import Location
from etl.upsample.method import UpsampleMethod

__all__ = ["large_inputs", "make_large_table"]

_CELLS = 91
"""Patches along one side of a tile."""

_MOST_LABELS = 5

_LAYERS = (
    Layer("10m", 10, 4, (10980, 10980), (1024, 1024), 0),
    Layer("20m", 20, 6, (5490, 5490), (640, 640), 1),
    Layer("60m", 60, 2, (1830, 1830), (192, 192), 1),
    Layer("scl", 20, 1, (5490, 5490), (640, 640), 0),
)
"""Layers of a full product, as its JPEG 2000 files divide them into blocks."""

_ACQUISITIONS = 160
"""Acquisitions of one tile at most."""


def make_large_table(rows: int, products: int) -> pa.Table:
    """A catalogue's table of `rows` labelled patches, spread evenly over `products` products, in store order."""
    numbers, tiles = np.random.default_rng(0), _tiles(-(-products // _ACQUISITIONS))
    sizes = np.diff(np.linspace(0, rows, products + 1).astype(int))
    parts = [
        _product_table(tiles[k // _ACQUISITIONS], k % _ACQUISITIONS, int(size), numbers) for k, size in enumerate(sizes)
    ]
    return pa.concat_tables(parts).combine_chunks()


def _tiles(count: int) -> list[str]:
    """Names of the first `count` tiles, ascending, of the UTM zones 30 to 39."""
    names = []
    for zone in range(30, 40):
        for column in ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3]:
            names += [f"{zone}U{column}{row}" for row in "ABCDEFGHJKLMNPQRSTUV"]
    return names[:count]


def _product_table(tile: str, number: int, rows: int, numbers: np.random.Generator) -> pa.Table:
    """The table of `rows` different cells of the tile's `number`-th product."""
    day = np.datetime64("2017-06-01T10:10:31") + np.timedelta64(number * 5, "D")
    time = str(day).replace("-", "").replace(":", "")
    product = f"S2A_MSIL2A_{time}_N0205_R022_T{tile}_{time}"
    cells = np.sort(numbers.choice(_CELLS**2, rows, replace=False))
    grid, (row, col) = nominal_origin(tile), np.divmod(cells, _CELLS)
    names = [
        f"S2A_MSIL2A_{time}_N9999_R022_T{tile}_{x:02}_{y:02}" for y, x in zip(row.tolist(), col.tolist(), strict=True)
    ]
    return make_catalogue_table(
        patch=names,
        tile=[tile] * rows,
        product=[product] * rows,
        acquired=pa.array(np.full(rows, day), pa.timestamp("s", tz="UTC")),
        epsg=np.full(rows, grid.epsg, np.int32),
        ulx=grid.ulx + col * float(PATCH_M),
        uly=grid.uly - row * float(PATCH_M),
        labels=_labels(rows, numbers),
        split=np.array(["train", "train", "val", "test"])[numbers.integers(0, 4, rows)],
        country=["Austria"] * rows,
    )


def _labels(rows: int, numbers: np.random.Generator) -> pa.ListArray:
    """Lists of one to five different labels."""
    names, counts = classes_of(43), numbers.integers(1, _MOST_LABELS + 1, rows)
    first = np.repeat(numbers.integers(0, len(names), rows), counts)
    ends = np.cumsum(counts)
    label = (first + np.arange(ends[-1]) - np.repeat(ends - counts, counts)) % len(names)
    return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), pa.array(names).take(pa.array(label)))


def large_inputs(path: Path, out: Path, catalogue: Catalogue) -> tuple[ExtractionInputs, CatalogueSelection]:
    """Inputs of the extraction of `catalogue`, read from `path`, to a compressed store at `out`.

    Each listed product is served by one whose layers are those of a full tile; nothing opens it.
    """
    listed, product_index = listed_products(catalogue.product)
    own = tuple((k,) for k in range(len(listed)))
    inspections = [ProductInspection(None, name, layers=_LAYERS) for name in listed]
    settings = ExtractSettings(catalogue=path, out=Location.parse(out))
    schema = Schema(len(catalogue), catalogue.class_names, True, catalogue.patch.dtype.itemsize, 80)
    links, store = Links(), backend_of(out, Layout(hdf5_codec="zstd"))
    inputs = ExtractionInputs(settings, UpsampleMethod("bilinear"), inspections, own, schema, False, links, store)
    return inputs, CatalogueSelection(catalogue, product_index, listed, (), own, None, links)
