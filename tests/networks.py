"""Networks like DSen2's, small enough for tests; files of them as Keras 2 wrote them; how far results may differ."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from etl.upsample.network import ConvWeights, NetworkWeights

__all__ = ["assert_same_counts", "assert_same_image", "publish", "small_folder", "small_network"]

INPUTS, OUTPUTS = {20: (4, 6), 60: (4, 6, 2)}, {20: 6, 60: 2}


def small_network(gsd_m: int, blocks: int = 1, filters: int = 4, seed: int = 0, **others: Any) -> NetworkWeights:
    """Random weights: what comes out differs from interpolation by some hundred counts, everywhere."""
    rng = np.random.default_rng([seed, gsd_m])
    widths = [sum(INPUTS[gsd_m]), *[filters] * (1 + 2 * blocks), OUTPUTS[gsd_m]]
    layers = tuple(
        ConvWeights(
            rng.normal(0, (2 / (9 * into)) ** 0.5, (3, 3, into, out)).astype(np.float32),
            rng.normal(0, 0.05, out).astype(np.float32),
        )
        for into, out in pairwise(widths)
    )
    said = {"file": "random", "sha256": "0" * 64, "level": "L2A", "scale": 0.1, **others}
    names = tuple(f"conv2d_{k}" if k else "conv2d" for k in range(len(layers)))
    return NetworkWeights(names=names, layers=layers, **said)


def publish(path: Path, network: NetworkWeights, whole: bool = True) -> Path:
    """The network as `Model.save` (or else `Model.save_weights`) of Keras 2 left it: names, Lambdas, an optimiser."""
    with h5py.File(path, "w") as file:
        root = file
        if whole:
            function = ["b2xkIGNvZGU=", None, [network.scale]]
            lambdas = [{"class_name": "Lambda", "config": {"name": "lambda", "function": function}}] * network.blocks
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": lambdas}})
            file["optimizer_weights/Nadam/conv2d/bias/m:0"] = np.zeros(4, np.float32)
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in ("input_1", "concatenate", *network.names, "add")]
        for name in ("input_1", "concatenate", "add"):
            root.create_group(name).attrs["weight_names"] = np.array([], "S1")
        for name, (kernel, bias) in zip(network.names, network.layers, strict=True):
            group = root.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            group[f"{name}/kernel:0"], group[f"{name}/bias:0"] = kernel, bias
    return path


def small_folder(folder: Path, level: str = "l2a", **shape: Any) -> Path:
    """A folder with both small networks, named as the published files are."""
    folder.mkdir(parents=True, exist_ok=True)
    for gsd_m in (20, 60):
        publish(folder / f"{level}_dsen2_{gsd_m}m.hdf5", small_network(gsd_m, **shape))
    return folder


def assert_same_image(got: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> None:
    """The same image (row, col, band) from windows of another shape: another order of sums, no more.

    Differs by at most 4 units in the last place of the image's largest value, which the sums' terms are as large as:
    1.5 were seen, over oneDNN's and Eigen's convolutions with AVX2 and AVX-512.
    """
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * np.spacing(np.abs(wanted).max()))


def assert_same_counts(got: npt.NDArray[np.uint16], wanted: npt.NDArray[np.uint16]) -> None:
    """The same values of a store from windows of another shape: at most 1 count apart, on at most 1e-4 of them."""
    apart = np.abs(got.astype(np.int32) - wanted.astype(np.int32))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size
