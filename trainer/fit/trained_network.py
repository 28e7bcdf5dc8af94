"""Describe a run's network as plain data, and rebuild it from a checkpoint to use it on any store."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np

from etl.pixel_groups import IMAGES, SENTINEL1
from etl.store.location import Location
from trainer.config import band_selections
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.fit.checkpoint import BEST, LAST, Checkpoint
from trainer.model.network import NetworkDesign, build_network

__all__ = ["best_checkpoint", "describe_network", "load_trained_network"]


def describe_network(rows: SelectedRows) -> dict[str, Any]:
    """Bands, shape (row, col, band) and normalisation of each input, and classes; for checkpoints and run.json."""
    inputs = [
        {"name": p.name, "shape": list(p.row_shape), "bands": list(p.bands), "mean": p.mean.tolist()}
        | {"deviation": p.std.tolist()}
        | ({"dtype": p.dtype, "nodata": p.nodata} if p.name in (IMAGES, SENTINEL1) else {})
        for p in rows.pixels
    ]
    return {"inputs": inputs, "classes": list(rows.classes), "upsample": rows.upsample}


def best_checkpoint(run: Path) -> tuple[Path, Checkpoint]:
    """The checkpoint of the best network of a run, or its last one if it was not validated; and its file.

    Raises:
        ValueError: there is none.
    """
    path = run / (BEST if (run / BEST).exists() else LAST)
    return path, Checkpoint.load(path)


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
    pixels = []
    for item, wanted in zip(rows.pixels, network["inputs"], strict=True):
        stored = _pixels_text(item.name, item.row_shape, item.bands, item.dtype)
        trained = _pixels_text(wanted["name"], wanted["shape"], wanted["bands"], wanted.get("dtype", "uint16"))
        if stored != trained:
            raise ValueError(f"{store}: the network of {path} was trained on {trained}; the store has {stored}")
        # Normalise by the statistics of the training store, not of this one: the weights were trained with them.
        pixels.append(replace(item, mean=np.array(wanted["mean"], "f4"), std=np.array(wanted["deviation"], "f4")))
    rows = replace(rows, pixels=tuple(pixels))
    l2, dropout, norm_momentum = (float(settings[name]) for name in ("l2", "dropout", "norm_momentum"))
    design = NetworkDesign(classes, l2, dropout, norm_momentum, as_imagenet=settings["weights"] != "None")
    model = build_network(rows.pixels, design, 0)
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
