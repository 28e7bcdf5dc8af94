"""The network: ResNet-50 on patches as stored, one logit a class.

Source: He et al. 2016, arXiv 1512.03385 (ResNet-50, as in keras.applications); Sedona et al. 2019, section 3.
"""

import warnings

import keras

from trainer.rows import PixelRows

__all__ = ["build"]

REFLECTANCE = 1e-4
"""Surface reflectance of one stored count, the store's `scale_factor`."""


def build(pixels: PixelRows, classes: int, seed: int) -> keras.Model:
    """The network with its first weights, the same for the same seed.

    It takes pixels as stored, uint16, shape (batch, row, col, band), picks its channels and scales them to
    reflectance, float32, and gives logits, float32, shape (batch, class): the sigmoid is the loss's.
    """
    keras.utils.set_random_seed(seed)
    rows, cols, _ = pixels.row_shape
    stored = keras.Input(pixels.row_shape, dtype="uint16", name=pixels.name)
    reflectance = keras.layers.Rescaling(REFLECTANCE, name="reflectance")(stored)
    if pixels.channels != tuple(range(pixels.row_shape[-1])):
        reflectance = keras.ops.take(reflectance, pixels.channels, axis=-1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*usually expects 1 or 3 input channels")
        resnet = keras.applications.ResNet50(
            weights=None, include_top=False, pooling="avg", input_shape=(rows, cols, len(pixels.channels))
        )
    logits = keras.layers.Dense(classes, name="logits", dtype="float32")(resnet(reflectance))
    return keras.Model(stored, logits, name="resnet50_patches")
