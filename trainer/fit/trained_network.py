"""Describe a run's network as plain data, and rebuild it from a checkpoint to use it on any store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np

from etl.bands import NODATA
from etl.pixel_groups import IMAGES, SENTINEL1
from etl.store.location import Location
from trainer.config import band_selections
from trainer.data.selection import PixelArray, RowSelection, SelectedRows, select_rows
from trainer.fit.checkpoint import BEST, LAST, Checkpoint
from trainer.model.network import NetworkDesign, build_network

__all__ = [
    "best_checkpoint", "describe_network", "load_trained_network", "network_design", "pixel_arrays", "restore_network",
]  # fmt: skip


def describe_network(rows: SelectedRows) -> dict[str, Any]:
    """Bands, shape (row, col, band) and normalisation of each input, and classes; for checkpoints and run.json."""
    inputs = [
        {"name": p.name, "shape": list(p.row_shape), "bands": list(p.bands), "mean": p.mean.tolist()}
        | {"deviation": p.std.tolist()}
        | ({"dtype": p.dtype, "nodata": p.nodata} if p.name in (IMAGES, SENTINEL1) else {})
        for p in rows.pixels
    ]
    single = {"single_label": True} if rows.single_label else {}
    return {"inputs": inputs, "classes": list(rows.classes), "upsample": rows.upsample, **single}


def best_checkpoint(run: Path) -> tuple[Path, Checkpoint]:
    """Path and content of the checkpoint of a run's best network, or of its last one if it was not validated.

    Raises:
        ValueError: there is no checkpoint.
    """
    path = run / (BEST if (run / BEST).exists() else LAST)
    return path, Checkpoint.load(path)


def network_design(fingerprint: Mapping[str, Any]) -> NetworkDesign:
    """The design of the network of a checkpoint, from its fingerprint; older ones are all ResNet-50."""
    settings = fingerprint["settings"]
    l2, dropout, norm_momentum = (float(settings[name]) for name in ("l2", "dropout", "norm_momentum"))
    return NetworkDesign(
        len(fingerprint["network"]["classes"]), l2, dropout, norm_momentum,
        as_imagenet=settings["weights"] != "None", architecture=settings.get("network", "resnet50"),
    )  # fmt: skip


def pixel_arrays(network: Mapping[str, Any]) -> list[PixelArray]:
    """Inputs of a network as `describe_network` describes it, without a store: what is not described is not needed.

    The bands are the only ones of their arrays, in the order of the network's channels.
    """
    return [
        PixelArray(
            item["name"], (*item["shape"][:2], len(item["bands"])), tuple(range(len(item["bands"]))),
            tuple(item["bands"]), np.array(item["mean"], "f4"), np.array(item["deviation"], "f4"),
            item.get("dtype", "uint16"), item.get("nodata", NODATA),
        )
        for item in network["inputs"]
    ]  # fmt: skip


def restore_network(path: Path, checkpoint: Checkpoint) -> keras.Model:
    """The network of a checkpoint, without a store.

    Its inputs have the shapes of `pixel_arrays`, whatever else the store of the run holds. `path`: the checkpoint's
    file, to be named in errors.

    Raises:
        ValueError: the shapes of the checkpoint's arrays are not those of the network that it describes.
    """
    model = build_network(pixel_arrays(checkpoint.fingerprint["network"]), network_design(checkpoint.fingerprint), 0)
    checkpoint.restore_model(path, model)
    return model


def load_trained_network(
    run: Path, store: Location | None, split: str, labelled_only: bool
) -> tuple[keras.Model, SelectedRows]:
    """The best network of a run, or its last one if it was not validated; and the rows of a split of `store`.

    Without a `store` they are those of the store that the run was trained on. If none of the rows has a label, and
    unlabelled ones are asked for, the classes are those of the network.

    Raises:
        ValueError: there is no checkpoint, or the store has other classes, bands or shapes of pixels than the network.
    """
    path, checkpoint = best_checkpoint(run)
    network, settings = checkpoint.fingerprint["network"], checkpoint.fingerprint["settings"]
    classes, store = len(network["classes"]), store or _store_of(run)
    selection = RowSelection(band_selections(settings["bands"]), split, 19 if classes == 19 else 0, labelled_only)
    rows = select_rows(store, selection)
    if not (labelled_only or rows.labels.any()):  # the classes of rows without any label say nothing
        none = np.zeros((len(rows), classes), np.uint8)
        rows = replace(rows, classes=tuple(network["classes"]), labels=none)
    for found, wanted in zip_longest(rows.classes, network["classes"]):
        if found != wanted:
            raise ValueError(
                f"the classes of {store} differ from those that {path} was trained on; "
                f"first difference: {found} instead of {wanted}"
            )
    arrays = [[item.name for item in rows.pixels], [wanted["name"] for wanted in network["inputs"]]]
    if arrays[0] != arrays[1]:  # --bands all are the native ones of a store without data_super
        stored, trained = (", ".join(names) for names in arrays)
        bands = settings["bands"]
        raise ValueError(f"the network of {path} was trained on {trained}; --bands {bands} of {store} are of {stored}")
    pixels = []
    for item, wanted in zip(rows.pixels, network["inputs"], strict=True):
        stored = _pixels_text(item.name, item.row_shape, item.bands, item.dtype)
        trained = _pixels_text(wanted["name"], wanted["shape"], wanted["bands"], wanted.get("dtype", "uint16"))
        if stored != trained:
            raise ValueError(f"{store}: the network of {path} was trained on {trained}; the store has {stored}")
        # Normalise by the statistics of the training store, not of this one: the weights were trained with them.
        pixels.append(replace(item, mean=np.array(wanted["mean"], "f4"), std=np.array(wanted["deviation"], "f4")))
    # nor is what a probability means decided by this store
    rows = replace(rows, pixels=tuple(pixels), single_label=network.get("single_label", False))
    model = build_network(rows.pixels, network_design(checkpoint.fingerprint), 0)
    checkpoint.restore_model(path, model)
    return model, rows


def _store_of(run: Path) -> Location:
    """The store that a run was trained on.

    Raises:
        ValueError: its record does not say.
    """
    path = run / "run.json"
    try:
        return Location.parse(str(json.loads(path.read_bytes())["settings"]["store"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} must name the store of the run, and does not; name one with --store") from None


def _pixels_text(name: str, shape: Sequence[int], bands: Sequence[str], dtype: str) -> str:
    """A pixel array in words; `shape`: (row, col, band)."""
    kind = f" and type {dtype}" if dtype != "uint16" else ""
    return f"{name} of shape {tuple(shape)}{kind} with bands {', '.join(bands)}"
