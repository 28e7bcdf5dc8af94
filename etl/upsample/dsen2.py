"""Super-resolution to the 10 m grid by DSen2: two convolutional networks, one for 20 m bands and one for 60 m bands.

A network sees the 10 m bands and the coarser ones interpolated to 10 m, and adds detail to the coarsest. Its
convolutions are not padded: the window includes the network's receptive field, and each convolution takes one pixel off
each side, so that no output pixel depends on where windows meet. A patch is one window, always of the same shape, and a
network runs on it with one thread, so that one kind of processor adds in the same order on any rank and at any number
of threads. Other shapes and other processors add in another order: the last bits of float32 differ (ADR 8).

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
from etl.upsample.bilinear import interpolate_bilinear
from etl.upsample.gaps import fill_gaps, invalid_mask
from etl.upsample.network import DIVISOR, NetworkWeights, WindowGeometry

__all__ = ["DSen2", "Device", "Network", "configure_tensorflow", "network_inputs", "sharpen_image"]

# side of the windows into which a whole image is divided; a multiple of 6
_WINDOW_PX = 240

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Device:
    """Hardware on which this process runs its networks."""

    name: str
    """For records: GPU and its model, or CPU and the number of windows at once."""

    windows: int
    """Windows that networks run on at once, each by one thread; 1 on a GPU."""


def configure_tensorflow(windows: int, gpu: int) -> Device:
    """Set TensorFlow up for `windows` windows at once or, if there are GPUs, for GPU number `gpu`.

    Comes before the first operation: TensorFlow refuses later changes. GPUs beyond the last are counted from the first
    again. On a GPU float32 is not cut to TensorFloat-32 and kernels are deterministic.
    """
    # how the sums of one operation are split over threads would decide their last bits
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.threading.set_inter_op_parallelism_threads(1 if gpus else windows)
    if not gpus:
        return Device(f"CPU, windows at once: {windows}", windows)
    device = gpus[gpu % len(gpus)]
    tf.config.set_visible_devices(device, "GPU")
    tf.config.experimental.set_memory_growth(device, enable=True)
    model = tf.config.experimental.get_device_details(device).get("device_name")
    return Device(f"GPU {gpu % len(gpus)} of {len(gpus)}: {model}", 1)


class Network:
    """One network, ready to run on windows of any shape; several threads may call it at once."""

    def __init__(self, weights: NetworkWeights, precision: str) -> None:
        self.weights = weights
        self._model = _build_model(weights, precision)
        shapes = [tf.TensorSpec((1, *x.shape[1:])) for x in self._model.inputs]
        self._run = tf.function(self._model, input_signature=[shapes])
        self._run.get_concrete_function()  # traced now, not while the first patch waits

    def __call__(self, images: Sequence[FloatImage]) -> FloatImage:
        """Return its group at 10 m from the groups up to its own at 10 m, neither rounded nor clipped.

        All have the shape (row, col, band), float32, and are pixel values; the images are larger than the result by the
        radius of the receptive field, in pixels, on each side.
        """
        fine: FloatImage = self._run([tf.constant(image[None] / np.float32(DIVISOR)) for image in images]).numpy()[0]
        return fine * np.float32(DIVISOR)


class DSen2:
    """Both networks as one method of upsampling."""

    def __init__(self, networks: tuple[NetworkWeights, NetworkWeights], precision: str = "float32") -> None:
        """Build the networks for 20 m and for 60 m; `precision` is float32 or bfloat16."""
        self.geometry = WindowGeometry.of(networks)
        self.halo_px = self.geometry.halo_px
        self._networks = [Network(weights, precision) for weights in networks]

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (12, row, col), uint16, in the order of `data_super`, from windows (band, row, col)."""
        windows = [window.transpose(1, 2, 0) for window in native]
        inner = [_crop(window, halo) for window, halo in zip(windows, self.halo_px, strict=True)]
        sharp = out.transpose(1, 2, 0)
        sharp[..., list(GROUPS[0].super_index)] = inner[0]
        fine_groups = self.fine(network_inputs(windows, self.geometry))
        for group, pixels, fine in zip(GROUPS[1:], inner[1:], fine_groups, strict=True):
            sharp[..., list(group.super_index)] = _to_stored(fine, pixels, group.factor)

    def fine(self, images: Sequence[FloatImage]) -> list[FloatImage]:
        """Run the networks alone on what `network_inputs` returns: both groups in pixels of 10 m, float32."""
        out = []
        for number, network in enumerate(self._networks, 2):
            # the images are large enough for the network with the larger receptive field
            spare = self.geometry.receptive_field_radius_px - network.weights.receptive_field_radius_px
            out.append(network([_crop(image, spare) for image in images[:number]]))
        return out


def network_inputs(windows: Sequence[npt.NDArray[np.uint16]], geometry: WindowGeometry) -> list[FloatImage]:
    """Return each group at 10 m with the receptive field around the patch, gaps filled, float32.

    `windows`: by group, finest first, shape (row, col, band), uint16, each with the halo of `geometry`.
    """
    images = []
    for group, window, radius in zip(GROUPS, windows, geometry.fill_radius_px, strict=False):
        image = _crop(fill_gaps(window, radius), radius)
        if group.factor > 1:
            # interpolation takes one coarse pixel off; whole coarse pixels reach farther than the receptive field
            spare = (radius - 1) * group.factor - geometry.receptive_field_radius_px
            image = _crop(interpolate_bilinear(image, group.factor), spare)
        images.append(np.ascontiguousarray(image))
    return images


def sharpen_image(network: Network, groups: Sequence[npt.NDArray[np.uint16]], at_once: int = 1) -> FloatImage:
    """Return the coarsest of `groups` on the grid of the finest: a whole image, window by window, float32.

    `groups`: finest first, shape (row, col, band), uint16. Beyond its border the image is mirrored. Values are neither
    rounded nor clipped; gaps are filled. The network runs on `at_once` windows at the same time; the result does not
    depend on it.
    """
    geometry = WindowGeometry.of([network.weights])
    padded = [
        np.pad(native, ((halo, halo), (halo, halo), (0, 0)), "symmetric")
        for native, halo in zip(groups, geometry.halo_px, strict=False)
    ]
    out = np.empty((*groups[0].shape[:2], groups[-1].shape[2]), np.float32)

    def fill_window(corner: tuple[int, int]) -> None:
        """Sharpen the window with this upper left corner (row, column), in pixels of 10 m, into `out`."""
        row, column = corner
        part = out[row : row + _WINDOW_PX, column : column + _WINDOW_PX]
        windows = []
        for group, native, halo in zip(GROUPS, padded, geometry.halo_px, strict=False):
            top, left = row // group.factor, column // group.factor
            rows, columns = (px // group.factor + 2 * halo for px in part.shape[:2])
            windows.append(native[top : top + rows, left : left + columns])
        part[...] = network(network_inputs(windows, geometry))

    corners = product(*(range(0, side, _WINDOW_PX) for side in out.shape[:2]))
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(fill_window, corners))  # raises what a window raised
    return out


def _build_model(weights: NetworkWeights, precision: str) -> keras.Model:
    """Return the network as a Keras model, channels last, without padding.

    Inputs: the groups up to its own at 10 m, divided by 2000, each of shape (batch, row, col, band), float32. Output:
    its own group, float32, smaller by the radius of its receptive field on each side. In `bfloat16` only the residual
    blocks' convolutions compute and pass values on in that type: pixels, the first and last convolution and all sums
    stay in float32.
    """
    groups = [group for group in GROUPS if group.gsd_m <= weights.gsd_m]
    inputs = [keras.Input((None, None, len(group.bands)), name=f"data_{group.name}") for group in groups]
    block_dtype = "float32" if precision == "float32" else keras.DTypePolicy("mixed_bfloat16")
    last = len(weights.layers) - 1

    def convolve(x: Any, number: int, activation: str | None) -> Any:
        filters, dtype = weights.layers[number].bias.size, block_dtype if 0 < number < last else "float32"
        options = {"activation": activation, "dtype": dtype, "kernel_initializer": "zeros"}  # all are set below
        return keras.layers.Conv2D(filters, 3, name=f"conv_{number:03d}", **options)(x)

    x = convolve(keras.layers.Concatenate()(inputs), 0, "relu")
    for block in range(weights.blocks):
        y = convolve(x, 1 + 2 * block, "relu")
        y = keras.layers.Rescaling(weights.scale)(convolve(y, 2 + 2 * block, None))
        # the block's two convolutions took two pixels off each side of y
        x = keras.layers.Add()([keras.layers.Cropping2D(2)(x), y])
    detail = convolve(x, last, None)
    coarse = keras.layers.Cropping2D(weights.receptive_field_radius_px)(inputs[-1])
    model = keras.Model(inputs, keras.layers.Add()([coarse, detail]), name=f"dsen2_{weights.gsd_m}m")
    for number, layer in enumerate(weights.layers):
        model.get_layer(f"conv_{number:03d}").set_weights([layer.kernel, layer.bias])
    return model


def _to_stored(fine: FloatImage, pixels: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Round to nearest in [1, 65534]; an output pixel whose source pixel is nodata or saturated keeps that value."""
    values = np.clip(np.floor(fine + np.float32(0.5)), NODATA + 1, SATURATED - 1).astype(np.uint16)
    source = np.repeat(np.repeat(pixels, factor, 0), factor, 1)
    return np.where(invalid_mask(source), source, values)


def _crop(image: npt.NDArray[Any], margin_px: int) -> npt.NDArray[Any]:
    """The image without `margin_px` pixels on each side."""
    return image[margin_px : image.shape[0] - margin_px, margin_px : image.shape[1] - margin_px]
