"""Scalars of a run as an event file, which TensorBoard reads while the run goes on.

Source of the format: TensorFlow's event.proto and summary.proto; an event file is a TFRecord file of `Event` messages.
"""

import os
import platform
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.fit.checkpoint import TrainingState
from trainer.fit.metrics import LabelScores

__all__ = ["EventLog"]

_FLUSH_S = 2.0
"""Longest time that a scalar waits for the next one before it is on the disk."""


class EventLog:
    """Loss of each step; loss, seconds, rate and all scores of each epoch; each once, whatever earlier files hold."""

    def __init__(self, folder: Path, state: TrainingState) -> None:
        """Begin a file in `folder` with all that is in `state`; files of earlier parts of the run are replaced by it.

        They may hold steps and epochs after the checkpoint from which the run was resumed, and their last record may be
        cut off.
        """
        folder.mkdir(parents=True, exist_ok=True)
        earlier = list(folder.glob("events.out.tfevents.*"))
        second, rest = divmod(time.time_ns(), 10**9)  # TensorBoard reads the files in the order of their names
        path = folder / f"events.out.tfevents.{second}.{platform.node()}.{os.getpid()}.{rest}.v2"
        self._state, self._writer, self._flushed_s = state, tf.io.TFRecordWriter(str(path)), 0.0
        self._writer.write(_event(file_version="brain.Event:2"))
        if earlier:  # a TensorBoard that has read them drops what it has, from this step on
            start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            self._writer.write(_event(step=0, session_log=start))
        # Earlier steps get the time that they would have, had the run not been interrupted.
        now_s, left_s = time.time(), sum(state.step_s)
        for step, (loss, seconds) in enumerate(zip(state.loss, state.step_s, strict=True), start=1):
            left_s -= seconds
            self._write("loss", loss, step, now_s - left_s)
        self._epochs: set[int] = set()
        self.add_epochs()
        for old in earlier:
            old.unlink()

    def add_images(self, tag: str, images: npt.NDArray[np.uint8]) -> None:
        """Add pictures, shape (picture, row, col, 3), beside step 0."""
        encoded = [tf.io.encode_png(image).numpy() for image in images]
        sizes = [str(side).encode() for side in images.shape[2:0:-1]]  # width, height
        summary = tf.compat.v1.Summary()
        entry = summary.value.add(tag=tag, tensor=tf.make_tensor_proto([*sizes, *encoded]))
        entry.metadata.plugin_data.plugin_name, entry.metadata.data_class = "images", 3  # DATA_CLASS_BLOB_SEQUENCE
        self._writer.write(_event(step=0, summary=summary))
        self._writer.flush()

    def add_step(self) -> None:
        """Add the last step of the state."""
        now_s = time.time()
        self._write("loss", self._state.loss[-1], self._state.step, now_s)
        if now_s - self._flushed_s > _FLUSH_S:
            self._writer.flush()
            self._flushed_s = now_s

    def add_epochs(self) -> None:
        """Add the epochs of the state that have been added since the last call, and write all to the disk."""
        for epoch in self._state.by_epoch:
            number = epoch["epoch"]
            if number in self._epochs:
                continue
            self._epochs.add(number)
            values = {f"epoch/{name}": epoch[name] for name in ("loss", "seconds", "rate") if name in epoch}
            if epoch.get("seconds"):
                values["epoch/waiting_share"] = epoch.get("seconds_waiting", 0.0) / epoch["seconds"]
            values |= _scalars_of(epoch["val"]) if epoch.get("val") is not None else {}
            for tag, value in values.items():
                self._write(tag, value, number, time.time())
        self._writer.flush()

    def _write(self, tag: str, value: float, step: int, wall_s: float) -> None:
        summary = tf.compat.v1.Summary()
        entry = summary.value.add(tag=tag)
        entry.metadata.plugin_data.plugin_name, entry.metadata.data_class = "scalars", 1  # DATA_CLASS_SCALAR
        entry.tensor.dtype = tf.float32.as_datatype_enum
        entry.tensor.tensor_shape.SetInParent()
        entry.tensor.float_val.append(value)
        self._writer.write(_event(wall_s, step=step, summary=summary))


def _scalars_of(scores: LabelScores) -> dict[str, float]:
    """All scores that are numbers, by tag: averages as val/micro_f1, of a class as val_f1/Pastures."""
    values: dict[str, float] = {}
    for name, value in scores.items():
        if isinstance(value, dict):
            values |= {f"val/{name}_{rate}": number for rate, number in value.items()}
        elif isinstance(value, int | float) and name != "rows":
            values[f"val/{name}"] = value
    for scored in scores.get("classes", ()):
        values[f"val_f1/{scored['name']}"] = scored["f1"]
        if scored["average_precision"] is not None:
            values[f"val_average_precision/{scored['name']}"] = scored["average_precision"]
    return values


def _event(wall_s: float | None = None, **content: object) -> bytes:
    """A serialised event; `wall_s`: seconds since 1970, None for now."""
    event = tf.compat.v1.Event(wall_time=time.time() if wall_s is None else wall_s, **content)
    return bytes(event.SerializeToString())
