"""Small trainings, made without a command, for the tests of the loop."""

from typing import Any

import keras
import numpy as np

from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import SelectedRows
from trainer.data.stream import BatchStream
from trainer.fit.loop import TrainingSetup
from trainer.fit.optimisation import LearningRateSchedule
from trainer.fit.optimiser import build_optimiser
from trainer.model.network import NetworkDesign, regularise
from trainer.workers.horovod import Workers

ALONE = Workers(None)

RATE = 0.01
"""What `make_setup` sets for every step."""


def small_network(rows: SelectedRows, average: Any = None) -> keras.Model:
    """Two convolutions with L2 and batch normalisation: traced in no time and, unlike an untrained ResNet-50, whose
    losses after two steps depend on how a sum was rounded, not chaotic."""
    return regularise(plain_network(rows), NetworkDesign(0, l2=1e-3, norm_momentum=0.9), average)


def narrow_network(rows: SelectedRows, average: Any = None) -> keras.Model:
    """The same with a third convolution, whose feature map is 1 x 1 for patches of 32 px."""
    return regularise(plain_network(rows, (4, 8, 8), 4), NetworkDesign(0, l2=1e-3, norm_momentum=0.9), average)


def plain_network(rows: SelectedRows, filters: tuple[int, ...] = (4, 8), strides: int = 2) -> keras.Model:
    """A small network with the batch normalisation of Keras and without L2."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input(rows.pixels[0].row_shape, dtype="uint16")
    x = keras.layers.Rescaling(1 / 5000, -1.0)(x)
    for count in filters:
        x = keras.layers.Conv2D(count, 3, strides=strides, padding="valid" if strides == 2 else "same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    logits = keras.layers.Dense(rows.labels.shape[1])(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, logits)


def first_blocks(rows: SelectedRows, average: Any = None) -> keras.Model:
    """The stem and the first four of ResNet-50's sixteen blocks: its kinds of layers, joined as it joins them."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(rows.pixels[0].row_shape, dtype="uint16")
    whole = keras.applications.ResNet50(weights=None, include_top=False, input_shape=rows.pixels[0].row_shape)
    begin = keras.Model(whole.input, whole.get_layer("conv3_block1_out").output)
    features = regularise(begin, NetworkDesign(0, l2=1e-4), average)(keras.layers.Rescaling(1 / 5000, -1.0)(inputs))
    logits = keras.layers.Dense(rows.labels.shape[1], dtype="float32")(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, logits)


def make_setup(
    rows: SelectedRows, model: keras.Model, steps: int, workers: Workers = ALONE, step_rows: int = 8, **others: Any
) -> TrainingSetup:
    """A training at a constant rate; `step_rows` rows a step, over all workers."""
    batch = step_rows // workers.size
    sampler = DistributedSampler(len(rows), batch, workers.size, seed=1)
    settings = RunSettings(turn=False, mixup=0.0, **others)
    optimiser = build_optimiser(settings, model, [1.0] * len(model.trainable_variables))
    stream = BatchStream(rows, batch, lambda step: sampler.rank_batch(step, workers.rank))
    schedule = LearningRateSchedule(RATE * 256 / step_rows, batch, workers.size, 0, "none", 1)
    positive = np.ones(rows.labels.shape[1], np.float32)
    return TrainingSetup(model, optimiser, schedule, sampler, steps, stream, rows.store_rows, positive, settings)
