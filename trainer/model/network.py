"""The network: ResNet-50 on patches as stored, one logit a class.

Source: He et al. 2016, arXiv 1512.03385 (ResNet-50, as in keras.applications); Sedona et al. 2019, section 3 (input of
3 or 12 channels or at the bands' own resolutions, L2 on every convolution, dropout 0.5 before the last dense layer).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.selection import PixelArray
from trainer.model.batch_norm import FusedNormalisation, SharedNormalisation

__all__ = ["IMAGENET_BANDS", "Design", "build", "reseed"]

IMAGENET_BANDS = ("B04", "B03", "B02")
"""Red, green, blue."""

_IMAGENET_MEAN = (103.939, 116.779, 123.68)
"""Of blue, green, red in [0, 255]. Source: keras.applications.resnet, whose weights were trained so."""

_WHITE = 3000.0
"""Stored counts (reflectance 0.3) that stand for 255 where the network begins with ImageNet weights: our choice."""

_STEM = {120: 16, 60: 24, 20: 8}
"""Channels that each of the three branches of the native input gives, by the side of its patches: our choice."""

_EXTREME = 10.0
"""Deviations from the mean beyond which a pixel is cut off: saturated ones would be at 30 and more. Our choice."""


@dataclass(frozen=True, slots=True)
class Design:
    """What decides the network beside its input."""

    classes: int
    """Number of logits."""

    l2: float = 0.0
    """Factor of the sum of squares of every convolution's kernel in the loss."""

    dropout: float = 0.0
    """Share of features dropped before the last dense layer."""

    norm_momentum: float = 0.99
    """Of the moving statistics of batch normalisation."""

    imagenet: Path | None = None
    """Weights of keras.applications.ResNet50 without top, for red, green and blue, to begin with."""

    as_imagenet: bool = False
    """Normalise as those weights want it, without reading them: for a network that is restored."""


@keras.saving.register_keras_serializable("trainer")
class Standardise(keras.layers.Layer):  # type: ignore[misc]
    """Stored counts to deviations from the band's mean, float32; pixels without data become the mean, 0."""

    def __init__(
        self,
        channels: Sequence[int],
        mean: Sequence[float],
        deviation: Sequence[float],
        extreme: float = _EXTREME,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.mean, self.deviation = list(channels), list(mean), list(deviation)
        self.extreme = extreme

    def call(self, stored: Any) -> Any:
        """`stored`: uint16, shape (batch, row, col, band). Returns shape (batch, row, col, channel)."""
        chosen = keras.ops.cast(stored, "float32")
        if self.channels != list(range(stored.shape[-1])):
            chosen = keras.ops.take(chosen, self.channels, axis=-1)
        mean, deviation = (np.array(x, np.float32) for x in (self.mean, self.deviation))
        scaled = keras.ops.clip((chosen - mean) / deviation, -self.extreme, self.extreme)
        return keras.ops.where(chosen == 0, 0.0, scaled)

    def get_config(self) -> dict[str, Any]:
        """For saving and cloning."""
        names = ("channels", "mean", "deviation", "extreme")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def build(
    pixels: Sequence[PixelArray],
    design: Design,
    seed: int,
    average: Callable[[Sequence[Any]], list[Any]] | None = None,
) -> keras.Model:
    """The network with its first weights, the same for the same seed.

    It takes pixels as stored, one uint16 input of shape (batch, row, col, band) for each of `pixels`, and gives logits,
    float32, shape (batch, class): the sigmoid is the loss's. `average`, a collective mean over workers, makes batch
    normalisation one of all workers.

    Raises:
        ValueError: ImageNet weights and other bands than red, green, blue; or weights that do not fit.
    """
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input(item.row_shape, dtype="uint16", name=item.name) for item in pixels]
    x = _standardised(inputs, pixels, design)
    if len(inputs) > 1:
        x = _stem(x, design)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*usually expects 1 or 3 input channels")
        plain = keras.applications.ResNet50(
            weights=None, include_top=False, pooling="avg", input_shape=tuple(x[0].shape[1:])
        )
    if design.imagenet is not None:
        _load(plain, design.imagenet)
    features = _regulated(plain, design, average)(x[0])
    if design.dropout:
        features = keras.layers.Dropout(design.dropout, name="dropout", seed=seed)(features)
    logits = keras.layers.Dense(design.classes, name="logits", dtype="float32")(features)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], logits, name="resnet50_patches")


def _standardised(inputs: Sequence[Any], pixels: Sequence[PixelArray], design: Design) -> list[Any]:
    if design.imagenet is None and not design.as_imagenet:
        return [
            Standardise(item.channels, item.mean.tolist(), item.std.tolist(), name=f"standardised_{item.name}")(x)
            for x, item in zip(inputs, pixels, strict=True)
        ]
    if [item.bands for item in pixels] != [IMAGENET_BANDS]:
        raise ValueError(f"ImageNet weights need --bands rgb, got {[item.bands for item in pixels]}")
    factor = _WHITE / 255
    layer = Standardise(
        pixels[0].channels[::-1], [m * factor for m in _IMAGENET_MEAN], [factor] * 3, 255.0, name="as_imagenet"
    )
    return [layer(x) for x in inputs]


def _stem(groups: Sequence[Any], design: Design) -> list[Any]:
    """Three branches, each a convolution at its own resolution, brought to the finest and joined."""
    side = groups[0].shape[1]
    branches = []
    for x in groups:
        own = x.shape[1]
        x = keras.layers.Conv2D(
            _STEM.get(own, 16), 3, padding="same", activation="relu", name=f"stem_{own}px",
            kernel_regularizer=keras.regularizers.L2(design.l2) if design.l2 else None,
        )(x)  # fmt: skip
        if own != side:
            x = keras.layers.UpSampling2D(side // own, interpolation="bilinear", name=f"upsampled_{own}px")(x)
        branches.append(x)
    return [keras.layers.Concatenate(name="stem")(branches)]


def _load(plain: keras.Model, path: Path) -> None:
    try:
        plain.load_weights(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must hold weights of ResNet50 without top for 3 channels: {error}") from None


def _regulated(plain: keras.Model, design: Design, average: Callable[[Sequence[Any]], list[Any]] | None) -> keras.Model:
    """The same network with L2 on its convolutions and its normalisation as designed.

    Setting a regulariser on a layer that is built does nothing: every layer is made anew from its configuration.
    """

    def anew(layer: keras.layers.Layer) -> keras.layers.Layer:
        config, kind = layer.get_config(), type(layer)
        if isinstance(layer, keras.layers.Conv2D) and design.l2:
            config["kernel_regularizer"] = keras.regularizers.L2(design.l2)
        if isinstance(layer, keras.layers.BatchNormalization):
            config["momentum"] = design.norm_momentum
            kind = FusedNormalisation
            if average is not None:
                kind = type("SharedNormalisation", (SharedNormalisation,), {"average": staticmethod(average)})
        return kind.from_config(config)

    made = keras.models.clone_model(plain, clone_function=anew)
    made.set_weights(plain.get_weights())
    return made


def reseed(model: keras.Model, rank: int, step: tf.Tensor) -> None:
    """Make what the next step drops a function of (seed, rank, step): ranks share no masks, nothing is to be saved."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            layer.seed_generator.state.assign(tf.cast(tf.stack([layer.seed + rank * 7919, step]), "uint32"))
