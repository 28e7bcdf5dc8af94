"""A small residual network, which a processor trains from random weights within minutes on a thousand patches.

Source: He et al. 2016, arXiv 1512.03385 (residual blocks of two 3 x 3 convolutions); He et al. 2019, arXiv 1812.01187,
section 4 (shortcuts of ResNet-D: means of 2 x 2, then a 1 x 1 convolution); Liu et al. 2022, arXiv 2201.03545, section
2.2 (first convolution of 4 x 4 with stride 4). One block a stage and the widths are chosen here.
"""

import keras

__all__ = ["small"]

_FIRST_PX = 4
"""Side of the squares, in pixels of the input, that the first convolution makes one feature of."""

_WIDTHS = (32, 64, 128)
"""Channels of each stage, half of ResNet-18's; the first convolution has those of the first stage."""


def small(input_shape: tuple[int, int, int]) -> keras.Model:
    """The network without its last layer, with new random weights.

    `input_shape`: (row, col, channel), at least 1 px a side. It takes float tensors of shape (batch, row, col, channel)
    and returns means of the last feature map, shape (batch, 128), in the dtype of Keras's policy. The names of its
    layers begin with "first_", "stage1_", "stage2_" and "stage3_".
    """
    pixels = keras.Input(input_shape)
    x = _convolve(pixels, _WIDTHS[0], _FIRST_PX, _FIRST_PX, "first")
    x = keras.layers.ReLU(name="first_relu")(x)
    for number, width in enumerate(_WIDTHS, 1):
        x = _block(x, width, 1 if number == 1 else 2, f"stage{number}")
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="means")(x), name="small")


def _block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    """Two convolutions beside a shortcut; with a stride of 2 it halves the feature map."""
    shortcut = x
    if stride > 1:
        shortcut = keras.layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_mean")(x)
    if x.shape[-1] != width:
        shortcut = _convolve(shortcut, width, 1, 1, f"{name}_shortcut")
    x = _convolve(x, width, 3, stride, f"{name}_1")
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = _convolve(x, width, 3, 1, f"{name}_2")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_sum")([shortcut, x]))


def _convolve(x: keras.KerasTensor, width: int, side: int, stride: int, name: str) -> keras.KerasTensor:
    """A convolution without bias, which batch normalisation would take off again, and that normalisation."""
    x = keras.layers.Conv2D(width, side, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return keras.layers.BatchNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
