"""The network: ResNet-50, or another architecture, on patches as stored, with one logit per class.

Source: He et al. 2016, arXiv 1512.03385 (ResNet-50, as in keras.applications); Sedona et al. 2019, section 3 (input of
3 or 12 channels or at the bands' own resolutions, L2 on every convolution, dropout 0.5 before the last dense layer).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from etl.bands import NODATA
from etl.pixel_groups import IMAGES
from trainer.config import RGB_BANDS
from trainer.data.selection import PixelArray
from trainer.model.architectures import ARCHITECTURES
from trainer.model.batch_norm import Averager, FusedNormalisation, SharedNormalisation

__all__ = ["HEAD", "NetworkDesign", "backbone_of", "build_network", "regularise", "reseed_dropout", "to_probabilities"]

HEAD = "logits"
"""Name of the last layer."""

_IMAGENET_MEAN = (103.939, 116.779, 123.68)
"""Of blue, green, red in [0, 255]. Source: keras.applications.resnet, whose weights were trained with it."""

_WHITE = 3000.0
"""Stored counts of uint16 (reflectance 0.3) that become 255 for ImageNet weights. Chosen here, not in the paper."""

_STEM_CHANNELS = {120: 16, 60: 24, 20: 8}
"""Output channels of the branches of the native input by patch side in pixels. Chosen here, not in the paper."""

_EXTREME = 10.0
"""Standard deviations at which pixels are clipped; saturated ones exceed 30. Chosen here, not in the paper."""


@dataclass(frozen=True, slots=True)
class NetworkDesign:
    """Hyperparameters of the network: all that decides it, apart from its input."""

    classes: int
    """Number of logits."""

    l2: float = 0.0
    """Factor of the L2 penalty on every convolution's kernel; 0 for none."""

    dropout: float = 0.0
    """Fraction of features dropped before the last dense layer."""

    norm_momentum: float = 0.99
    """Momentum of the moving statistics of batch normalisation."""

    imagenet: Path | None = None
    """File of initial weights: keras.applications.ResNet50 without top, for red, green and blue."""

    as_imagenet: bool = False
    """Normalise as those weights need it, without reading them: for a network restored from a checkpoint."""

    architecture: str = "resnet50"
    """Key of `architectures.ARCHITECTURES`."""


@keras.saving.register_keras_serializable("trainer")
class Standardise(keras.layers.Layer):  # type: ignore[misc]
    """Convert stored values to standard deviations from the band's mean; nodata and NaN become 0, which is the mean."""

    def __init__(
        self,
        channels: Sequence[int],
        mean: Sequence[float],
        deviation: Sequence[float],  # the name is part of the layer's saved configuration
        extreme: float = _EXTREME,
        nodata: int | None = NODATA,
        **kwargs: Any,
    ) -> None:
        # the policy bfloat16 would round dB before the mean is taken off
        super().__init__(**{"autocast": False, **kwargs})
        self.channels, self.mean, self.std = list(channels), list(mean), list(deviation)
        self.extreme, self.nodata = extreme, nodata

    def call(self, stored: tf.Tensor) -> tf.Tensor:
        """Float32, shape (batch, row, col, channel), from `stored`: shape (batch, row, col, band), any dtype."""
        counts = keras.ops.cast(stored, "float32")
        if self.channels != list(range(stored.shape[-1])):
            counts = keras.ops.take(counts, self.channels, axis=-1)
        mean, std = (np.array(x, np.float32) for x in (self.mean, self.std))
        scaled = keras.ops.clip((counts - mean) / std, -self.extreme, self.extreme)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(stored.dtype)):
            return keras.ops.where(keras.ops.isnan(scaled), 0.0, scaled)
        if self.nodata is None:
            return scaled
        return keras.ops.where(keras.ops.equal(counts, self.nodata), 0.0, scaled)  # nodata is not a dark pixel

    def get_config(self) -> dict[str, Any]:
        """Arguments of `__init__`, for saving and cloning."""
        own = {"channels": self.channels, "mean": self.mean, "deviation": self.std, "extreme": self.extreme}
        own["nodata"] = self.nodata
        return {**super().get_config(), **own}


def build_network(
    pixels: Sequence[PixelArray], design: NetworkDesign, seed: int, average: Averager | None = None
) -> keras.Model:
    """The network with its initial weights, the same for the same seed.

    It takes pixels as stored, one input of shape (batch, row, col, band), in the stored dtype, for each of `pixels`,
    and returns logits, dtype float32, shape (batch, class); the loss applies the sigmoid or softmax. `average`, a
    collective mean over workers, makes batch normalisation use the batches of all workers together.

    Raises:
        ValueError: ImageNet weights with bands other than red, green, blue; or weights that do not fit.
    """
    architecture = ARCHITECTURES[design.architecture]
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input(item.row_shape, dtype=item.dtype, name=item.name) for item in pixels]
    standardised = _joined(_standardised(inputs, pixels, design))
    x = _stem(standardised, design) if len(standardised) > 1 else standardised[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*usually expects 1 or 3 input channels")
        shape = tuple(x.shape[1:])
        backbone = architecture.build(shape)
    if design.imagenet is not None:
        if not architecture.imagenet:
            raise ValueError(f"--weights are ImageNet's of a ResNet; --network must be one, got {design.architecture}")
        try:
            backbone.load_weights(design.imagenet)
        except (ValueError, OSError) as error:
            what = f"weights of {design.architecture} without top for 3 channels"
            raise ValueError(f"{design.imagenet} must hold {what}: {error}") from None
    features = regularise(backbone, design, average)(x)
    if design.dropout:
        features = keras.layers.Dropout(design.dropout, name="dropout", seed=seed)(features)
    logits = keras.layers.Dense(design.classes, name=HEAD, dtype="float32")(features)
    name = f"{design.architecture}_patches"
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], logits, name=name)


def backbone_of(model: keras.Model) -> keras.Model:
    """The architecture inside a network of `build_network`, without its last layer."""
    (found,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    return found


def _standardised(
    inputs: Sequence[keras.KerasTensor], pixels: Sequence[PixelArray], design: NetworkDesign
) -> list[keras.KerasTensor]:
    if design.imagenet is None and not design.as_imagenet:
        return [
            Standardise(
                item.channels,
                item.mean.tolist(),
                item.std.tolist(),
                nodata=item.nodata,
                name=f"standardised_{item.name}",
            )(x)
            for x, item in zip(inputs, pixels, strict=True)
        ]
    # --weights needs --bands rgb: the three bands of image files are then red, green and blue
    if [item.bands for item in pixels] != [RGB_BANDS] and [(p.name, len(p.bands)) for p in pixels] != [(IMAGES, 3)]:
        raise ValueError(f"ImageNet weights need --bands rgb, got {[item.bands for item in pixels]}")
    factor = (255.0 if pixels[0].dtype == "uint8" else _WHITE) / 255
    # Those weights expect blue, green, red in [0, 255], with the means subtracted and no further scaling.
    layer = Standardise(
        pixels[0].channels[::-1],
        [m * factor for m in _IMAGENET_MEAN],
        [factor] * 3,
        255.0,
        pixels[0].nodata,
        name="as_imagenet",
    )
    return [layer(x) for x in inputs]


def _joined(inputs: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """The inputs with those of one size as one, along the channels: Sentinel-1 and the 10 m bands of Sentinel-2."""
    by_side: dict[int, list[keras.KerasTensor]] = {}
    for x in inputs:
        by_side.setdefault(x.shape[1], []).append(x)
    return [
        same[0] if len(same) == 1 else keras.layers.Concatenate(name=f"joined_{side_px}px")(same)
        for side_px, same in by_side.items()
    ]


def _stem(inputs: Sequence[keras.KerasTensor], design: NetworkDesign) -> keras.KerasTensor:
    """One convolution per resolution, upsampled to the finest one and concatenated along the channels."""
    finest_px = inputs[0].shape[1]
    branches = []
    for x in inputs:
        side_px = x.shape[1]
        x = keras.layers.Conv2D(
            _STEM_CHANNELS.get(side_px, 16), 3, padding="same", activation="relu", name=f"stem_{side_px}px",
            kernel_regularizer=keras.regularizers.L2(design.l2) if design.l2 else None,
        )(x)  # fmt: skip
        if side_px != finest_px:
            factor, name = finest_px // side_px, f"upsampled_{side_px}px"
            x = keras.layers.UpSampling2D(factor, interpolation="bilinear", name=name)(x)
        branches.append(x)
    return keras.layers.Concatenate(name="stem")(branches)


def regularise(plain: keras.Model, design: NetworkDesign, average: Averager | None) -> keras.Model:
    """A copy of the network with weights of the same values and shapes, L2 and batch normalisation as designed.

    A regulariser that is set on a built layer has no effect in Keras, so each layer is built from its configuration.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer with the regulariser and normalisation of `design`."""
        config, kind = layer.get_config(), type(layer)
        if isinstance(layer, keras.layers.Conv2D) and design.l2:
            config["kernel_regularizer"] = keras.regularizers.L2(design.l2)
        if isinstance(layer, keras.layers.BatchNormalization):
            config["momentum"] = design.norm_momentum
            kind = FusedNormalisation
            if average is not None:  # a class of its own: `from_config` could not pass a function
                kind = type("SharedNormalisation", (SharedNormalisation,), {"average": staticmethod(average)})
        return kind.from_config(config)

    cloned = keras.models.clone_model(plain, clone_function=clone, recursive=True)
    cloned.set_weights(plain.get_weights())
    return cloned


def reseed_dropout(model: keras.Model, rank: int, step: tf.Tensor) -> None:
    """Seed the next step's dropout masks from (seed, rank, step): each worker has its own, and a resumed run the same.

    `step` is a scalar, dtype int64.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            # A large factor: with rank x 1, rank 1 of seed 0 would have the masks of rank 0 of seed 1.
            layer.seed_generator.state.assign(tf.cast(tf.stack([layer.seed + rank * 7919, step]), "uint32"))


def to_probabilities(logits: tf.Tensor, single_label: bool) -> tf.Tensor:
    """Probability of each class from what the network returns, in the same shape and dtype: (batch, class).

    With one label a row, `single_label`, those of a row sum to 1.
    """
    return keras.ops.softmax(logits) if single_label else keras.ops.sigmoid(logits)
