"""Small trainings, made without a command, for the tests of the loop."""

from typing import Any

import keras
import numpy as np

from trainer.data.sampler import Deal
from trainer.data.selection import SelectedRows
from trainer.data.stream import Stream
from trainer.fit.loop import Course
from trainer.fit.optimisation import Schedule
from trainer.model.network import Design, _regulated
from trainer.workers.horovod import Workers

ALONE = Workers(None)

RATE = 0.01
"""What `course_of` sets for every step."""


def small_network(rows: SelectedRows, average: Any = None) -> keras.Model:
    """Two convolutions with L2 and batch normalisation: traced in no time and, unlike an untrained ResNet-50, whose
    losses after two steps depend on how a sum was rounded, not chaotic."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input(rows.pixels[0].row_shape, dtype="uint16")
    x = keras.layers.Rescaling(1 / 5000, -1.0)(x)
    for filters in (4, 8):
        x = keras.layers.Conv2D(filters, 3, strides=2)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    logits = keras.layers.Dense(rows.labels.shape[1])(keras.layers.GlobalAveragePooling2D()(x))
    return _regulated(keras.Model(inputs, logits), Design(0, l2=1e-3, norm_momentum=0.9), average)


def first_blocks(rows: SelectedRows, average: Any = None) -> keras.Model:
    """The stem and the first four of ResNet-50's sixteen blocks: its kinds of layers, joined as it joins them."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(rows.pixels[0].row_shape, dtype="uint16")
    whole = keras.applications.ResNet50(weights=None, include_top=False, input_shape=rows.pixels[0].row_shape)
    begin = keras.Model(whole.input, whole.get_layer("conv3_block1_out").output)
    features = _regulated(begin, Design(0, l2=1e-4), average)(keras.layers.Rescaling(1 / 5000, -1.0)(inputs))
    logits = keras.layers.Dense(rows.labels.shape[1], dtype="float32")(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, logits)


def course_of(rows: SelectedRows, model: keras.Model, steps: int, workers: Workers = ALONE, **others: Any) -> Course:
    """A course at a constant rate; 8 rows a step, over all workers."""
    batch = 8 // workers.size
    deal = Deal(len(rows), batch, workers.size, seed=1)
    optimiser = keras.optimizers.SGD(1.0, momentum=0.9, nesterov=True)
    optimiser.build(model.trainable_variables)
    stream = Stream(rows, batch, lambda step: deal.share(step, workers.rank))
    schedule = Schedule(RATE * 256 / 8, batch, workers.size, 0, "none", 1)
    positive = np.ones(rows.labels.shape[1], np.float32)
    return Course(model, optimiser, schedule, deal, steps, stream, rows.numbers, positive, **others)
