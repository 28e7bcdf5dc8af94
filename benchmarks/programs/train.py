"""`python -m benchmarks.programs.train JOB.json RESULT.json`: our loop and Keras's own, in turn, in one process.

Both train the same ResNet-50 from the same first weights on the same rows in the same order, without augmentation: ours
reads them from a store, Keras has them in memory, whole and in order. They take their steps in turn, so that what else
runs on the machine meets all alike. Each repeat is one epoch; its first step, which starts the stream, and its last,
which ends with what an epoch ends with, are left out.
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
from trainer.config import RunSettings, band_selections
from trainer.data.sampler import NO_SHUFFLE, DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.data.stream import BatchStream
from trainer.fit.checkpoint import TrainingState
from trainer.fit.loop import TrainingSetup, fit
from trainer.fit.optimisation import LearningRateSchedule
from trainer.model.network import NetworkDesign, build_network
from trainer.workers.horovod import Workers

__all__ = ["main"]

_RATE = 0.01

_PATIENCE_S = 600
"""Longer than any step, compiling included."""


class Turns:
    """Loops that take their steps in turn, each on a thread of its own, and what every step took."""

    def __init__(self, ways: list[str]) -> None:
        self.seconds: dict[str, list[float]] = {way: [] for way in ways}
        """From getting a turn to handing it on."""
        self.cpu_s: dict[str, list[float]] = {way: [] for way in ways}
        """Of the process, meanwhile."""
        self.wait_s: list[float] = []
        """What our loop waited for its batch, of that."""
        self._after = dict(zip(ways, [*ways[1:], ways[0]], strict=True))
        self._gates = {way: threading.Semaphore(0) for way in ways}
        self._gates[ways[0]].release()
        self._begun = (0.0, 0.0)

    def take(self, way: str) -> None:
        """Wait for the turn."""
        if not self._gates[way].acquire(timeout=_PATIENCE_S):
            raise RuntimeError(f"{way} must get its turn within {_PATIENCE_S} s; another loop has failed")
        self._begun = (time.perf_counter(), time.process_time())

    def hand_on(self, way: str) -> None:
        """Note what the step took, and let the next one begin."""
        self.seconds[way].append(time.perf_counter() - self._begun[0])
        self.cpu_s[way].append(time.process_time() - self._begun[1])
        self._gates[self._after[way]].release()


class InTurn(keras.callbacks.Callback):  # type: ignore[misc]
    """Has `model.fit` wait for its turn before each batch, which it fetches after that."""

    def __init__(self, turns: Turns, way: str) -> None:
        super().__init__()
        self._turns, self._way = turns, way

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Wait."""
        self._turns.take(self._way)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Go on."""
        self._turns.hand_on(self._way)


def _rows(job: dict[str, Any]) -> SelectedRows:
    """Random rows of a new store, `batch` times `steps` of them, of the bands asked for."""
    numbers, path, count = np.random.default_rng(0), Path(job["path"]), job["batch"] * job["steps"]
    schema = Schema(count)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"] = np.full(count, SPLITS.index("train"), np.uint8)
    identity["classes"] = numbers.integers(0, 2, (count, schema.nomenclature), np.uint8)
    create_hdf5(path, schema, identity, {"schema_version": SCHEMA_VERSION}, Layout(4096))
    pixels = {item.name: numbers.integers(1, 10_000, item.shape, np.uint16) for item in schema.pixels}
    overwrite_hdf5(path, {**pixels, "state": np.full(count, WRITTEN, np.uint8), "complete": np.ones((), np.uint8)})
    rows = select_rows(path, RowSelection(band_selections(job["bands"])))
    (item,), count = rows.pixels, len(rows.pixels[0].channels)
    item = replace(item, mean=np.full(count, 5000, np.float32), std=np.full(count, 2900, np.float32))
    return replace(rows, pixels=(item,))


def _peer(rows: SelectedRows, batch: int, turns: Turns, way: str) -> Callable[[int], Any]:
    """Keras's own loop of so many epochs."""
    model = _network(rows)
    jit = way == "keras_jit"
    model.compile(_optimiser(), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=jit)
    (item,) = rows.pixels
    pixels = np.empty((len(rows), *item.row_shape), np.uint16)
    rows.reader.read_rows(item.name, rows.store_rows, pixels)
    how = {"batch_size": batch, "shuffle": False, "verbose": 0, "callbacks": [InTurn(turns, way)]}
    return lambda epochs: model.fit(pixels, rows.labels.astype(np.float32), epochs=epochs, **how)


def _ours(rows: SelectedRows, sampler: DistributedSampler, epochs: int, turns: Turns) -> TrainingSetup:
    model, optimiser = _network(rows), _optimiser()
    optimiser.build(model.trainable_variables)
    schedule = LearningRateSchedule(_RATE * 256 / sampler.batch, sampler.batch, 1, 0, "none", 1)
    stream = BatchStream(rows, sampler.batch, lambda step: sampler.rank_batch(step, 0))

    def batches(steps: range) -> Iterator[Any]:
        source = stream(steps)
        for number in steps:
            turns.take("ours")
            asked = time.perf_counter()
            batch = next(source)
            turns.wait_s.append(time.perf_counter() - asked)
            yield batch
            if number + 1 < steps.stop:  # the end of an epoch is the loop's last word on it
                turns.hand_on("ours")

    positive = np.ones(rows.labels.shape[1], np.float32)
    settings = RunSettings(turn=False, mixup=0.0)
    return TrainingSetup(
        model, optimiser, schedule, sampler, epochs * sampler.epoch_steps, batches, rows.store_rows, positive, settings
    )


def _network(rows: SelectedRows) -> keras.Model:
    return build_network(rows.pixels, NetworkDesign(rows.labels.shape[1], 1e-4, 0.5, 0.9), 1)


def _optimiser() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(_RATE, momentum=0.9, nesterov=True)


def _measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every repeat: seconds and CPU seconds of each way's steps, our waiting, what others took of the machine."""
    rows, steps, epochs = _rows(job), job["steps"], 1 + job["repeats"]
    turns, shares = Turns(["ours", job["peer"]]), list[float]()
    sampler = DistributedSampler(len(rows), job["batch"], 1, shuffle_block=NO_SHUFFLE)
    peer = _peer(rows, sampler.batch, turns, job["peer"])
    setup = _ours(rows, sampler, epochs, turns)
    clock = [(Moment.now(), time.process_time())]

    def end_of_epoch(epoch: int) -> None:
        """What our loop calls where a run would validate."""
        turns.hand_on("ours")
        clock.append((Moment.now(), time.process_time()))
        (before, cpu_before), (after, cpu_after) = clock[-2:]
        shares.append(others_share(before, after, cpu_after - cpu_before))

    thread = threading.Thread(target=peer, args=(epochs,), daemon=True)
    thread.start()
    fit(setup, TrainingState(), Workers(None), end_of_epoch, lambda *, best: None)
    thread.join()

    def of(values: list[float], epoch: int) -> list[float]:
        return values[epoch * steps + 1 : (epoch + 1) * steps - 1]

    return [
        {
            "step_s": {way: of(values, epoch) for way, values in turns.seconds.items()},
            "cpu_s": {way: of(values, epoch) for way, values in turns.cpu_s.items()},
            "wait_s": of(turns.wait_s, epoch),
            "others_share": shares[epoch],
        }
        for epoch in range(1, epochs)  # the first one traces and compiles
    ]


def main() -> None:
    """Train as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(_measure(job)), encoding="utf-8")


if __name__ == "__main__":
    main()
