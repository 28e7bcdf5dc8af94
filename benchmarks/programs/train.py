"""`python -m benchmarks.programs.train JOB.json RESULT.json`: the trainer's loop and Keras's, step by step alternately.

Both train the same ResNet-50 from the same initial weights on the same rows in the same order, without augmentation.
The trainer reads the rows from a store, Keras has them in memory. The loops run in one process and alternate after each
step, so that other programs on the machine disturb both alike. Each repeat is one epoch. Its first step, which starts
the stream, and its last, which includes the work at the end of an epoch, are left out.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.machine import Moment, others_share
from etl.schema import SCHEMA_VERSION, SPLITS, WRITTEN, Schema
from etl.store.hdf5.create import create_hdf5, overwrite_hdf5
from etl.store.layout import Layout
from etl.store.statistics import Sums, row_sums, statistics_arrays
from trainer.config import RunSettings, band_selections
from trainer.data.sampler import NO_SHUFFLE, DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.data.stream import BatchStream
from trainer.fit.checkpoint import TrainingState
from trainer.fit.loop import TrainingSetup, fit
from trainer.fit.optimisation import LearningRateSchedule
from trainer.fit.optimiser import build_optimiser
from trainer.model.network import NetworkDesign, build_network
from trainer.workers.horovod import Workers

__all__ = ["main"]

_RATE = 0.01

_PATIENCE_S = 600
"""Seconds that are longer than any step, compiling included."""


class Turns:
    """Lets loops on different threads run their steps alternately, and records the time of each step."""

    def __init__(self, loops: list[str]) -> None:
        self.seconds: dict[str, list[float]] = {loop: [] for loop in loops}
        """Wall seconds of each step of a loop."""
        self.cpu_s: dict[str, list[float]] = {loop: [] for loop in loops}
        """CPU seconds of the process during each step of a loop."""
        self.wait_s: list[float] = []
        """Seconds of each step that the trainer's loop waited for its batch."""
        self._after = dict(zip(loops, [*loops[1:], loops[0]], strict=True))
        self._gates = {loop: threading.Semaphore(0) for loop in loops}
        self._gates[loops[0]].release()
        self._begun = (0.0, 0.0)

    def take(self, loop: str) -> None:
        """Wait until it is this loop's turn."""
        if not self._gates[loop].acquire(timeout=_PATIENCE_S):
            raise RuntimeError(f"{loop} must get its turn within {_PATIENCE_S} s; another loop has failed")
        self._begun = (time.perf_counter(), time.process_time())

    def hand_on(self, loop: str) -> None:
        """Record the time of the step, and let the next loop run."""
        self.seconds[loop].append(time.perf_counter() - self._begun[0])
        self.cpu_s[loop].append(time.process_time() - self._begun[1])
        self._gates[self._after[loop]].release()


class InTurn(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes `model.fit` wait for its turn before each batch, which it fetches after that."""

    def __init__(self, turns: Turns, loop: str) -> None:
        super().__init__()
        self._turns, self._loop = turns, loop

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Wait."""
        self._turns.take(self._loop)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Let the next loop run."""
        self._turns.hand_on(self._loop)


def _rows(job: dict[str, Any]) -> SelectedRows:
    """Random rows of a new store, `batch` times `steps` of them, with the bands of the job."""
    numbers, path, count = np.random.default_rng(0), Path(job["path"]), job["batch"] * job["steps"]
    schema = Schema(count)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"] = np.full(count, SPLITS.index("train"), np.uint8)
    identity["classes"] = numbers.integers(0, 2, (count, schema.nomenclature), np.uint8)
    create_hdf5(path, schema, identity, {"schema_version": SCHEMA_VERSION}, Layout(4096))
    pixels = {item.name: numbers.integers(1, 10_000, item.shape, np.uint16) for item in schema.pixels}
    sums = Sums(schema.pixels)
    for name, array in pixels.items():
        sums.add(SPLITS.index("train"), name, row_sums(array.reshape(-1, *array.shape[2:])))
    whole = {"state": np.full(count, WRITTEN, np.uint8), "complete": np.ones((), np.uint8)}
    overwrite_hdf5(path, {**pixels, **statistics_arrays(sums.totals), **whole})
    rows = select_rows(path, RowSelection(band_selections(job["bands"])))
    (item,), count = rows.pixels, len(rows.pixels[0].channels)
    item = replace(item, mean=np.full(count, 5000, np.float32), std=np.full(count, 2900, np.float32))
    return replace(rows, pixels=(item,))


def _peer(rows: SelectedRows, batch: int, turns: Turns, loop: str) -> Callable[[int], Any]:
    """Function that trains with Keras's own loop for a number of epochs."""
    model = _network(rows)
    jit = loop == "keras_jit"
    model.compile(_optimiser(), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=jit)
    (item,) = rows.pixels
    pixels = np.empty((len(rows), *item.row_shape), np.uint16)
    rows.reader.read_rows(item.name, rows.store_rows, pixels)
    how = {"batch_size": batch, "shuffle": False, "verbose": 0, "callbacks": [InTurn(turns, loop)]}
    return lambda epochs: model.fit(pixels, rows.labels.astype(np.float32), epochs=epochs, **how)


def _ours(rows: SelectedRows, sampler: DistributedSampler, epochs: int, turns: Turns) -> TrainingSetup:
    model, settings = _network(rows), RunSettings(turn=False, mixup=0.0)
    optimiser = build_optimiser(settings, model, [1.0] * len(model.trainable_variables))
    schedule = LearningRateSchedule(_RATE * 256 / sampler.batch, sampler.batch, 1, 0, "none", 1)
    stream = BatchStream(rows, sampler.batch, lambda step: sampler.rank_batch(step, 0))

    def batches(steps: range) -> Iterator[Any]:
        """Batches of `steps`, taken in this program's turns."""
        source = stream(steps)
        for number in steps:
            turns.take("ours")
            asked = time.perf_counter()
            batch = next(source)
            turns.wait_s.append(time.perf_counter() - asked)
            yield batch
            if number + 1 < steps.stop:  # the last step ends in `end_of_epoch`
                turns.hand_on("ours")

    positive = np.ones(rows.labels.shape[1], np.float32)
    return TrainingSetup(
        model,
        optimiser,
        schedule,
        sampler,
        epochs * sampler.steps_per_epoch,
        batches,
        rows.store_rows,
        positive,
        settings,
    )


def _network(rows: SelectedRows) -> keras.Model:
    return build_network(rows.pixels, NetworkDesign(rows.labels.shape[1], 1e-4, 0.5, 0.9), 1)


def _optimiser() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(_RATE, momentum=0.9, nesterov=True)


def _measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """By repeat: seconds and CPU seconds of each loop's steps, waiting for data, CPU share of other programs."""
    rows, steps, epochs = _rows(job), job["steps"], 1 + job["repeats"]
    turns, shares = Turns(["ours", job["peer"]]), list[float]()
    sampler = DistributedSampler(len(rows), job["batch"], 1, shuffle_block=NO_SHUFFLE)
    peer = _peer(rows, sampler.batch, turns, job["peer"])
    setup = _ours(rows, sampler, epochs, turns)
    clock = [(Moment.now(), time.process_time())]

    def end_of_epoch(epoch: int) -> None:
        """Called by the trainer's loop at the point of validation."""
        turns.hand_on("ours")
        clock.append((Moment.now(), time.process_time()))
        (before, cpu_before), (after, cpu_after) = clock[-2:]
        shares.append(others_share(before, after, cpu_after - cpu_before))

    thread = threading.Thread(target=peer, args=(epochs,), daemon=True)
    thread.start()
    fit(setup, TrainingState(), Workers(None), end_of_epoch, lambda names: None)
    thread.join()

    def of(values: list[float], epoch: int) -> list[float]:
        return values[epoch * steps + 1 : (epoch + 1) * steps - 1]

    return [
        {
            "step_s": {loop: of(values, epoch) for loop, values in turns.seconds.items()},
            "cpu_s": {loop: of(values, epoch) for loop, values in turns.cpu_s.items()},
            "wait_s": of(turns.wait_s, epoch),
            "others_share": shares[epoch],
        }
        for epoch in range(1, epochs)  # the first one traces and compiles
    ]


def main() -> None:
    """Train with both loops."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(_measure(job)), encoding="utf-8")


if __name__ == "__main__":
    main()
