"""Super-resolution to the 10 m grid by DSen2: two convolutional networks, one for 20 m bands and one for 60 m bands.

A network sees the 10 m bands and the coarser ones interpolated to 10 m, and adds detail to the coarsest. Its
convolutions are not padded: the window starts with the network's reach around it, and each convolution takes one pixel
off each side, so that no output pixel depends on where windows meet. A patch is one window, always of the same shape,
and a network runs on it with one thread, so that one kind of processor adds in the same order on any rank and at any
number of threads. Other shapes and other processors add in another order: the last bits of float32 differ (ADR 8).

Source: Lanaras et al., ISPRS Journal 146 (2018) 305-319, arXiv 1803.04271.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from etl.bands import GROUPS, NODATA, SATURATED
from etl.upsample.bilinear import interpolate
from etl.upsample.gaps import fill, without_data
from etl.upsample.network import DIVISOR, Geometry, Weights

__all__ = ["DSen2", "Device", "Network", "build", "configure_devices", "images", "prepared", "sharpen"]

_WINDOW_PX = 240
"""Side of the windows in which a whole image is made; a multiple of 6."""

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Device:
    """What this process runs its networks on."""

    name: str
    """For records: GPU and its model, or CPU and the number of windows at once."""

    windows: int
    """Windows that networks run on at once, each by one thread; 1 on a GPU."""


def configure_devices(windows: int, gpu: int) -> Device:
    """Set TensorFlow up for `windows` windows at once or, where there are GPUs, for the one numbered `gpu` of them.

    Comes before the first operation: TensorFlow refuses later changes. GPUs beyond the last are counted from the first
    again. One operation uses one thread: how its sums are split over threads would decide their last bits. On a GPU
    float32 is not cut to TensorFloat-32 and kernels are deterministic.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.threading.set_inter_op_parallelism_threads(1 if gpus else windows)
    if not gpus:
        return Device(f"CPU, windows at once: {windows}", windows)
    mine = gpus[gpu % len(gpus)]
    tf.config.set_visible_devices(mine, "GPU")
    tf.config.experimental.set_memory_growth(mine, enable=True)
    model = tf.config.experimental.get_device_details(mine).get("device_name")
    return Device(f"GPU {gpu % len(gpus)} of {len(gpus)}: {model}", 1)


def build(weights: Weights, precision: str) -> keras.Model:
    """The network in Keras, channels last, without padding.

    Inputs: the groups up to its own at 10 m, divided by 2000, each of shape (batch, row, col, band), float32. Output:
    its own group, float32, `reach_px` pixels smaller on each side. In `bfloat16` the residual blocks'
    convolutions alone compute and hand on in that type: pixels, the first and last convolution and all sums stay in
    float32.
    """
    groups = [group for group in GROUPS if group.gsd_m <= weights.gsd_m]
    inputs = [keras.Input((None, None, len(group.bands)), name=f"data_{group.name}") for group in groups]
    policy = "float32" if precision == "float32" else keras.DTypePolicy("mixed_bfloat16")
    filters = [kernel.shape[3] for kernel, _ in weights.layers]

    def convolved(x: Any, number: int, activation: str | None) -> Any:
        kind = policy if 0 < number < weights.reach_px - 1 else "float32"
        how = {"activation": activation, "dtype": kind, "kernel_initializer": "zeros"}
        return keras.layers.Conv2D(filters[number], 3, name=f"conv_{number:03d}", **how)(x)

    x = convolved(keras.layers.Concatenate()(inputs), 0, "relu")
    for block in range(weights.blocks):
        y = convolved(x, 1 + 2 * block, "relu")
        y = keras.layers.Rescaling(weights.scale)(convolved(y, 2 + 2 * block, None))
        x = keras.layers.Add()([keras.layers.Cropping2D(2)(x), y])
    detail = convolved(x, weights.reach_px - 1, None)
    coarse = keras.layers.Cropping2D(weights.reach_px)(inputs[-1])
    model = keras.Model(inputs, keras.layers.Add()([coarse, detail]), name=f"dsen2_{weights.gsd_m}m")
    for number, (kernel, bias) in enumerate(weights.layers):
        model.get_layer(f"conv_{number:03d}").set_weights([kernel, bias])
    return model


class Network:
    """One network, ready to run on windows of any shape; several threads may call it at once."""

    def __init__(self, weights: Weights, precision: str) -> None:
        self.weights = weights
        self._model = build(weights, precision)
        shapes = [tf.TensorSpec((1, *x.shape[1:])) for x in self._model.inputs]
        self._run = tf.function(self._model, input_signature=[shapes])
        self._run.get_concrete_function()  # traced now, not while the first patch waits

    def __call__(self, images: Sequence[Image]) -> Image:
        """Its group at 10 m, float32, from the groups up to its own at 10 m, `reach_px` larger on each side.

        All have the shape (row, col, band) and are pixel values; values that come back are neither rounded nor clipped.
        """
        fine: Image = self._run([tf.constant(image[None] / np.float32(DIVISOR)) for image in images]).numpy()[0]
        return fine * np.float32(DIVISOR)


class DSen2:
    """Both networks as one way of upsampling."""

    def __init__(self, networks: tuple[Weights, Weights], precision: str = "float32") -> None:
        """`networks`: for 20 m and for 60 m; `precision`: float32 or bfloat16."""
        self.geometry = Geometry.of(networks)
        self.context_px = self.geometry.context_px
        self._networks = [Network(weights, precision) for weights in networks]

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (12, row, col), uint16, in the order of `data_super`, from windows (band, row, col)."""
        windows = images(native)
        own = [_inner(window, context) for window, context in zip(windows, self.context_px, strict=True)]
        sharp = out.transpose(1, 2, 0)
        sharp[..., list(GROUPS[0].super_index)] = own[0]
        for group, pixels, fine in zip(GROUPS[1:], own[1:], self.fine(prepared(windows, self.geometry)), strict=True):
            sharp[..., list(group.super_index)] = rounded(fine, pixels, group.factor)

    def fine(self, images: Sequence[Image]) -> list[Image]:
        """The 20 m and the 60 m group at 10 m, float32, from what `prepared` gives: the networks alone."""
        out = []
        for number, network in enumerate(self._networks, 2):
            spare = self.geometry.reach_px - network.weights.reach_px
            out.append(network([_inner(image, spare) for image in images[:number]]))
        return out


def images(native: Sequence[npt.NDArray[np.uint16]]) -> list[npt.NDArray[np.uint16]]:
    """Views of a patch's windows, shape (band, row, col), as networks take them: (row, col, band)."""
    return [window.transpose(1, 2, 0) for window in native]


def prepared(windows: Sequence[npt.NDArray[np.uint16]], geometry: Geometry) -> list[Image]:
    """What networks see of windows with context: the groups at 10 m, reach around them, gaps filled, float32."""
    seen = []
    for group, window, rings in zip(GROUPS, windows, geometry.rings_px, strict=False):
        filled = _inner(fill(window, rings), rings)
        if group.factor > 1:
            filled = _inner(interpolate(filled, group.factor), (rings - 1) * group.factor - geometry.reach_px)
        seen.append(np.ascontiguousarray(filled))
    return seen


def sharpen(network: Network, groups: Sequence[npt.NDArray[np.uint16]], at_once: int = 1) -> Image:
    """The coarsest of `groups`, finest first, at the grid of the finest: a whole image, window by window, float32.

    Beyond its border the image is mirrored. Values are neither rounded nor clipped; gaps are filled. The network runs
    on `at_once` windows at the same time; the result does not depend on it.
    """
    geometry = Geometry.of([network.weights])
    padded = [
        np.pad(native, ((context, context), (context, context), (0, 0)), "symmetric")
        for native, context in zip(groups, geometry.context_px, strict=False)
    ]
    out = np.empty((*groups[0].shape[:2], groups[-1].shape[2]), np.float32)

    def fill_window(corner: tuple[int, int]) -> None:
        """Sharpen the window with this upper left corner (row, column), in px of 10 m, into `out`."""
        row, column = corner
        part = out[row : row + _WINDOW_PX, column : column + _WINDOW_PX]
        windows = []
        for group, native, context in zip(GROUPS, padded, geometry.context_px, strict=False):
            top, left = row // group.factor, column // group.factor
            rows, columns = (px // group.factor + 2 * context for px in part.shape[:2])
            windows.append(native[top : top + rows, left : left + columns])
        part[...] = network(prepared(windows, geometry))

    corners = product(*(range(0, side, _WINDOW_PX) for side in out.shape[:2]))
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(fill_window, corners):
            pass
    return out


def rounded(fine: Image, own: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Values of a store: rounded to nearest, in [1, 65534]; nodata and saturated where the own source pixel is so."""
    values = np.clip(np.floor(fine + np.float32(0.5)), NODATA + 1, SATURATED - 1).astype(np.uint16)
    source = np.repeat(np.repeat(own, factor, 0), factor, 1)
    return np.where(without_data(source), source, values)


def _inner(image: npt.NDArray[Any], context: int) -> npt.NDArray[Any]:
    """The image without `context` pixels on each side."""
    return image[context : image.shape[0] - context, context : image.shape[1] - context]
