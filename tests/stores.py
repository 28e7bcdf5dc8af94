"""Small stores, made without extraction, for the tests of what reads them."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpi4py import MPI

from etl.bands import GROUPS
from etl.catalogue.table import make_catalogue_table, read_catalogue, write_catalogue
from etl.grid import nominal_origin
from etl.labels import CLASSES_43
from etl.schema import REJECTED, SCHEMA_VERSION, SPLITS, UNWRITTEN, WRITTEN, Schema, schema_of
from etl.store.backend import backend_of
from etl.store.byte_ranges import OffsetReader
from etl.store.checksum import checksum
from etl.store.digests import mark_complete
from etl.store.hdf5.create import create_hdf5, overwrite_hdf5
from etl.store.journal import Journal, journal_location
from etl.store.layout import Layout
from etl.store.location import Location
from etl.store.statistics import Sums, row_sums, statistics_arrays
from trainer.data.selection import PixelArray, SelectedRows

TILE = nominal_origin("33UUP")
PRODUCT = "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608"
COLS = 3


GOOD = [1, 1, 2, 1, 1, 1]
"""States of a complete store's rows."""

TRAIN, VAL = SPLITS.index("train"), SPLITS.index("val")


def set_scalar(path: Path, name: str, value: int) -> None:
    """Set a data set of one value, as damage or an interrupted run would leave it."""
    with h5py.File(path, "r+") as file:
        file[name][()] = value


def make_catalogue(path: Path, rows: int, nomenclature: int = 43, **columns: Any) -> None:
    """A catalogue of the first `rows` cells of a tile, three in a row; other columns as given."""
    j, i = np.divmod(np.arange(rows), COLS)
    said = {
        "patch": [f"S2A_MSIL2A_20170613T101031_{c}_{r}" for r, c in zip(j, i, strict=True)],
        "tile": ["33UUP"] * rows,
        "product": [PRODUCT.replace("L2A", "L1C") + ".SAFE"] * rows,
        "acquired": [datetime(2017, 6, 13, 10, 10, 31, tzinfo=UTC)] * rows,
        "epsg": np.full(rows, TILE.epsg, np.int32),
        "ulx": TILE.ulx + 1200.0 * i,
        "uly": TILE.uly - 1200.0 * j,
        "labels": [[CLASSES_43[k % 43], CLASSES_43[(3 * k + 1) % 43]] for k in range(rows)],
        "split": [("train", "val", "test", None)[k % 4] for k in range(rows)],
    }
    write_catalogue(path, make_catalogue_table(**{**said, **columns}), nomenclature)


def draw_pixels(schema: Schema, state: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Random pixels of every row, 0 in rejected ones; `data_super` is random but for its 10 m bands."""
    rng = np.random.default_rng(seed)
    pixels = {d.name: rng.integers(0, 4000, d.shape, np.uint16) for d in schema.pixels}
    pixels["data_10m"][0, :5, :5] = 65535
    for array in pixels.values():
        array[state == REJECTED] = 0
    if schema.upsampled:
        pixels["data_super"][..., list(GROUPS[0].super_index)] = pixels["data_10m"]
    return pixels


def nodata_shares(pixels: dict[str, np.ndarray]) -> np.ndarray:
    """Share of the 10 m pixels of each row that lack data in a band, coarse pixels repeated, shape (patch,)."""
    empty = [
        (pixels[f"data_{group.name}"] == 0).any(-1).repeat(group.factor, 1).repeat(group.factor, 2) for group in GROUPS
    ]
    return np.any(empty, 0).mean((1, 2)).astype(np.float32)


def erase_some(pixels: dict[str, np.ndarray]) -> None:
    """Change the pixels of a store: all have data but half of row 0, B05 in row 1 and a pixel of B09 in row 3."""
    for array in pixels.values():
        array[array.any((1, 2, 3))] |= 1
    for group in GROUPS:
        pixels[f"data_{group.name}"][0, :, : group.patch_px // 2] = 0
    pixels["data_20m"][1, ..., GROUPS[1].bands.index("B05")] = 0
    pixels["data_60m"][3, -1, -1, GROUPS[2].bands.index("B09")] = 0
    pixels["data_super"][..., list(GROUPS[0].super_index)] = pixels["data_10m"]


def stats_of(schema: Schema, pixels: dict[str, Any], split: np.ndarray, state: np.ndarray) -> dict[str, Any]:
    """Statistics as a store holds them."""
    sums = Sums(schema.pixels)
    for row in np.flatnonzero(state == WRITTEN).tolist():
        for name, array in pixels.items():
            sums.add(int(split[row]), name, row_sums(array[row]))
    return statistics_arrays(sums.totals)


def write_beside(path: Path, names: np.ndarray, state: np.ndarray, complete: bool) -> None:
    """The journal and, for a complete store, `rejected.csv`."""
    journal = Journal.begin(journal_location(Location.parse(path)), {"rows": len(state)})
    rejected = {int(row): "broken" for row in np.flatnonzero(state == REJECTED)}
    journal.add([(int(row), int(row) + 1) for row in np.flatnonzero(state != UNWRITTEN)], rejected)
    if complete:
        with path.with_name(path.stem + ".rejected.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("patch", "tile", "row", "reason"))
            lines.writerows((names[row].decode(), "33UUP", row, reason) for row, reason in rejected.items())


def make_store(
    folder: Path,
    states: list[int],
    complete: bool = True,
    upsampled: bool = True,
    version: str = SCHEMA_VERSION,
    erase: Callable[[dict[str, np.ndarray]], None] = lambda pixels: None,
    **columns: Any,
) -> Path:
    """A store as an extraction leaves it, one row a state, with its catalogue, journal and `rejected.csv`.

    `version`: of its schema; `erase` may set pixels of the arrays that it gets to 0.
    """
    path, made_from, state = folder / "store.h5", folder / "patches.parquet", np.array(states, np.uint8)
    make_catalogue(made_from, len(state), **columns)
    catalogue = read_catalogue(made_from)
    schema = Schema(len(state), catalogue.class_names, upsampled, version=version)
    identity = {n: getattr(catalogue, n) for n in ("patch", "tile", "epsg", "ulx", "uly", "split", "classes")}
    identity["acquired"] = catalogue.acquired.astype("datetime64[s]").astype(np.int64)
    identity["product"], identity["baseline"] = np.full(len(state), PRODUCT.encode()), np.full(len(state), b"02.05")
    identity |= {n: np.full(len(state), np.nan, np.float32) for n in ("nodata_share", "cloud_share", "snow_share")}
    identity |= {"state": state, "checksum": np.zeros(len(state), np.uint64)}
    attributes = {"settings": json.dumps({"catalogue": str(made_from)}), "schema_version": version}
    create_hdf5(path, schema, identity, attributes, Layout(4096))
    pixels = draw_pixels(schema, state, seed=0)
    erase(pixels)
    sums = [checksum([array[k] for array in pixels.values()]) for k in range(len(state))]
    columns = {"state": state, "checksum": np.array(sums, np.uint64), **pixels}
    if version != "1":
        columns["nodata_share"] = nodata_shares(pixels)
    if complete:
        columns |= stats_of(schema, pixels, catalogue.split, state)
    overwrite_hdf5(path, columns)
    if complete:
        mark_complete(backend_of(path))
    write_beside(path, catalogue.patch, state, complete)
    return path


def as_zarr(path: Path, out: Path, shard_rows: int = 4, chunk_rows: int = 1, compress: str = "zstd") -> Path:
    """The HDF5 store at `path` written anew as Zarr, by one rank."""
    store = backend_of(out, Layout(shard_rows=shard_rows, chunk_rows=chunk_rows, compress=compress))
    with h5py.File(path) as file:
        schema = schema_of(file, path)
        names = [item.name for item in (*schema.identity, *schema.results)]
        store.create(schema, {name: file[name][...] for name in names}, dict(file.attrs))
        with store.writer(MPI.COMM_SELF, None) as writer:
            for item in schema.pixels:
                writer.write(item.name, 0, file[item.name][...])
            writer.wait()
            writer.sync()
        stats = [item.name for item in schema.statistics]
        store.overwrite({name: file[name][...] for name in stats})
        complete = bool(file["complete"][()])
    if complete:
        mark_complete(store)
    return out


def small_rows(path: Path, count: int, side: int = 32, classes: int = 5) -> SelectedRows:
    """Random rows of `side` px in a file of pixels alone: a network sees them in no time."""
    rng = np.random.default_rng(11)
    # Fields of eight pixels: patches of mere noise are all alike to a network.
    fields = rng.integers(1, 10_000, (count, side // 8, side // 8, 4), np.uint16)
    fields.repeat(8, axis=1).repeat(8, axis=2).tofile(path)
    labels = rng.integers(0, 2, (count, classes), np.uint8)
    mean, std = np.full(4, 5000, np.float32), np.full(4, 2900, np.float32)
    pixels = PixelArray("data_10m", (side, side, 4), (0, 1, 2, 3), GROUPS[0].bands, mean, std)
    reader = OffsetReader(path, {"data_10m": 0})
    return SelectedRows(reader, (pixels,), np.arange(count), labels, tuple(map(str, range(classes))), 0, "bilinear")


def training_store(
    path: Path, split: list[int], state: list[int] | None = None, upsampled: bool = True
) -> dict[str, object]:
    """A complete store of random rows, as etl.extract leaves one; returns its pixel arrays and `classes` by name."""
    rng = np.random.default_rng(7)
    rows = len(split)
    schema = Schema(rows, upsampled=upsampled)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"] = np.array(split, np.uint8)
    identity["classes"] = rng.integers(0, 2, (rows, schema.nomenclature), np.uint8)
    create_hdf5(path, schema, identity, {"schema_version": SCHEMA_VERSION}, Layout(4096))
    arrays = {item.name: rng.integers(1, 10_000, item.shape, np.uint16) for item in schema.pixels}
    arrays["state"] = np.array(state if state is not None else [WRITTEN] * rows, np.uint8)
    arrays["complete"] = np.ones((), np.uint8)
    pixels = {item.name: arrays[item.name] for item in schema.pixels}
    overwrite_hdf5(path, arrays | stats_of(schema, pixels, identity["split"], arrays["state"]))
    return {**arrays, "classes": identity["classes"]}
