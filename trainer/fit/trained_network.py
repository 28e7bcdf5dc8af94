"""A run's network as plain data, so that it can be built again from its checkpoint for any store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainer.config import RunSettings, pixel_sets
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.fit import checkpoint
from trainer.model.network import Design, build

__all__ = ["Trained", "described", "design_of", "rebuild"]


def described(rows: SelectedRows) -> dict[str, Any]:
    """Inputs, their normalisation, and classes; ready for JSON."""
    inputs = [
        {"name": p.name, "shape": list(p.row_shape), "bands": list(p.bands), "mean": p.mean.tolist()}
        | {"deviation": p.std.tolist()}
        for p in rows.pixels
    ]
    return {"inputs": inputs, "classes": list(rows.classes), "upsample": rows.upsample}


def design_of(settings: RunSettings, classes: int) -> Design:
    """What decides the network beside its input."""
    return Design(classes, settings.l2, settings.dropout, settings.norm_momentum, settings.weights)


class Trained:
    """A run's network, with the rows of a store that it is to see."""

    def __init__(self, model: keras.Model, rows: SelectedRows, begun_with: dict[str, Any]) -> None:
        self.model, self.rows, self.begun_with = model, rows, begun_with


def rebuild(run: Path, store: Path, split: str, labelled: bool) -> Trained:
    """The best network of a run, else its last, and the rows of a split of `store`.

    Raises:
        ValueError: there is no checkpoint, or the store does not fit it.
    """
    path = run / (checkpoint.BEST if (run / checkpoint.BEST).exists() else checkpoint.LAST)
    found = checkpoint.load(path)
    network, said = found.begun_with["network"], found.begun_with["settings"]
    classes = len(network["classes"])
    rows = select_rows(store, RowSelection(pixel_sets(said["bands"]), split, 19 if classes == 19 else 0, labelled))
    if list(rows.classes) != network["classes"]:
        raise ValueError(f"{store} has {len(rows.classes)} classes, {path} was trained on {classes} others")
    pixels = []
    for item, wanted in zip(rows.pixels, network["inputs"], strict=True):
        if (item.name, list(item.row_shape), list(item.bands)) != (wanted["name"], wanted["shape"], wanted["bands"]):
            raise ValueError(f"{store}: {item.name} is {item.row_shape}, {path} was trained on {wanted['shape']}")
        pixels.append(replace(item, mean=np.array(wanted["mean"], "f4"), std=np.array(wanted["deviation"], "f4")))
    rows = replace(rows, pixels=tuple(pixels))
    imagenet = None if said["weights"] == "None" else Path(said["weights"])
    design = Design(classes, float(said["l2"]), float(said["dropout"]), float(said["norm_momentum"]))
    model = build(rows.pixels, replace(design, as_imagenet=imagenet is not None), 0)
    checkpoint.restore(path, found.arrays[: len(model.variables)], model.variables)
    return Trained(model, rows, found.begun_with)
