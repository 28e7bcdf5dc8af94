"""`python -m benchmarks.programs.train JOB.json RESULT.json`: our loop and Keras's own, in turn, in one process.

Both train the same ResNet-50 from the same first weights on the same rows in the same order, without augmentation: ours
reads them from a store, Keras has them in memory, whole and in order. Each repeat is one epoch of either, and its first
step, which starts the stream, is left out.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.machine import Moment, others_share
from etl.store.hdf5 import create
from etl.store.rows import overwrite
from etl.store.schema import SCHEMA_VERSION, SPLITS, WRITTEN, Schema
from trainer.checkpoint import State
from trainer.config import pixel_sets
from trainer.deal import Deal
from trainer.fit import Course, fit
from trainer.model import Design, build
from trainer.optimise import Schedule
from trainer.parallel import Workers
from trainer.rows import Rows, Wanted, open_rows
from trainer.stream import Stream

__all__ = ["main"]

_RATE = 0.01


class _Times(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds from the end of each batch to the end of the next, waiting for data included."""

    def __init__(self) -> None:
        super().__init__()
        self.step_s: list[float] = []
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note a batch."""
        now = time.perf_counter()
        self.step_s.append(now - self._last)
        self._last = now


@dataclass(frozen=True, slots=True)
class Theirs:
    """A network as Keras trains it, on arrays in memory."""

    model: keras.Model
    pixels: Any
    """uint16, shape (row, row of pixels, col, band), in the order of the steps."""
    labels: Any
    """float32, shape (row, class)."""
    batch: int

    def epoch(self) -> list[float]:
        """Seconds of each step but the first."""
        times = _Times()
        self.model.fit(self.pixels, self.labels, self.batch, shuffle=False, verbose=0, callbacks=[times])
        return times.step_s[1:]


def _rows(job: dict[str, Any]) -> Rows:
    """Random rows of a new store, `batch` times `steps` of them, of the bands asked for."""
    numbers, path, count = np.random.default_rng(0), Path(job["path"]), job["batch"] * job["steps"]
    schema = Schema(count)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"] = np.full(count, SPLITS.index("train"), np.uint8)
    identity["classes"] = numbers.integers(0, 2, (count, schema.nomenclature), np.uint8)
    create(path, schema, identity, {"schema_version": SCHEMA_VERSION}, align_bytes=4096)
    pixels = {item.name: numbers.integers(1, 10_000, item.shape, np.uint16) for item in schema.pixels}
    overwrite(path, {**pixels, "state": np.full(count, WRITTEN, np.uint8), "complete": np.ones((), np.uint8)})
    rows = open_rows(path, Wanted(pixel_sets(job["bands"])))
    (item,), count = rows.pixels, len(rows.pixels[0].channels)
    item = replace(item, mean=np.full(count, 5000, np.float32), deviation=np.full(count, 2900, np.float32))
    return replace(rows, pixels=(item,))


def _optimiser() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(_RATE, momentum=0.9, nesterov=True)


def _theirs(rows: Rows, model: keras.Model, batch: int, jit: bool) -> Theirs:
    model.compile(_optimiser(), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=jit)
    (item,) = rows.pixels
    pixels = np.empty((len(rows), *item.row_shape), np.uint16)
    with rows.path.open("rb") as file:
        item.read(file.fileno(), rows.numbers, pixels)
    return Theirs(model, pixels, rows.labels.astype(np.float32), batch)


def _ours(rows: Rows, model: keras.Model, deal: Deal, steps: int) -> Course:
    optimiser = _optimiser()
    optimiser.build(model.trainable_variables)
    schedule = Schedule(_RATE * 256 / deal.batch, deal.batch, 1, 0, "none", 1)
    stream = Stream(rows, deal.batch, lambda step: deal.share(step, 0))
    positive = np.ones(rows.labels.shape[1], np.float32)
    return Course(model, optimiser, schedule, deal, steps, stream, rows.numbers, positive)


def _measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every repeat: seconds of each step of each way, those that ours waited, what others took of the machine."""
    rows, found = _rows(job), list[dict[str, Any]]()
    deal, design = Deal(len(rows), job["batch"], 1, block=0), Design(rows.labels.shape[1], 1e-4, 0.5, 0.9)
    others = {way: _theirs(rows, build(rows.pixels, design, 1), deal.batch, way == "keras_jit") for way in job["peers"]}
    course = _ours(rows, build(rows.pixels, design, 1), deal, (1 + job["repeats"]) * deal.epoch_steps)
    state, clock = State(), [(Moment.now(), time.process_time())]

    def peers(epoch: int) -> None:
        """What our loop calls as its epoch ends, where a run would validate."""
        first = epoch * deal.epoch_steps + 1
        seconds = {"ours": state.step_s[first:], **{way: theirs.epoch() for way, theirs in others.items()}}
        clock.append((Moment.now(), time.process_time()))
        (before, cpu_before), (after, cpu_after) = clock[-2:]
        share = others_share(before, after, cpu_after - cpu_before)
        found.append({"step_s": seconds, "wait_s": state.wait_s[first:], "others_share": share})

    fit(course, state, Workers(None), peers, lambda best: None)
    return found[1:]  # the first one traces and compiles


def main() -> None:
    """Train as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(_measure(job)), encoding="utf-8")


if __name__ == "__main__":
    main()
