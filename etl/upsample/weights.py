"""Weights of DSen2's networks in files: the published ones, of Keras before version 3, and a format of our own.

Files are read as data: the code that old Keras pickled into its files is never run. Our own format is an HDF5 file with
one group a convolution (`conv_000`, ...: `kernel`, `bias`) and what else must be known as attributes of its root.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.upsample.network import DIVISOR, Layer, Weights, WeightsError

__all__ = ["FORMAT", "read_networks", "read_weights", "write_weights"]

FORMAT = "sentinel-etl dsen2 1"
"""Root attribute `format` of a file of our own."""

_SCALE = 0.1
"""What a residual block's second convolution is multiplied by, where a file does not say. Source: the paper, 3.2."""

_LARGEST_BYTES = 1 << 30


def read_weights(path: Path) -> Weights:
    """The network in a file of either format.

    The published files' names tell their level (`l1c_...`, `l2a_...`); ours say it inside.

    Raises:
        WeightsError: it does not hold such a network.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise WeightsError(f"{path} must be a weights file of at most 1 GiB, got {size} bytes")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") == FORMAT:
                return _own(path.name, digest, file)
            return _published(path.name, digest, file)
    except WeightsError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} must be an HDF5 file of a network's weights, and is none: {error}") from None


def _own(name: str, digest: str, file: h5py.File) -> Weights:
    inputs = list(map(_text, file.attrs["inputs"]))
    wanted = _inputs(int(file.attrs["gsd_m"]))
    if inputs != wanted or float(file.attrs["divisor"]) != DIVISOR:
        raise WeightsError(
            f"{name} must be for the bands {wanted} divided by {DIVISOR:g}, got {inputs} and {file.attrs['divisor']}"
        )
    names = tuple(sorted(file))
    layers = tuple((_array(file[key]["kernel"]), _array(file[key]["bias"])) for key in names)
    return Weights(name, digest, str(file.attrs["level"]), float(file.attrs["scale"]), names, layers)


def _inputs(gsd_m: int) -> list[str]:
    """Bands that a network sees, in order."""
    return [band for group in GROUPS if group.gsd_m <= gsd_m for band in group.bands]


def _published(name: str, digest: str, file: h5py.File) -> Weights:
    """A file of `Model.save` or `Model.save_weights` of Keras before version 3; kernels do not know channels first."""
    group = file.get("model_weights", file)
    if "layer_names" not in group.attrs:
        raise WeightsError(f"{name} must hold the attribute layer_names, as files of Keras before version 3 do")
    names, layers = [], []
    for layer in map(_text, group.attrs["layer_names"]):
        keys = [_text(key) for key in group[layer].attrs["weight_names"]]
        if keys:
            names.append(layer)
            layers.append(_convolution(name, layer, {key: group[layer][key] for key in keys}))
    level = re.search(r"l1c|l2a", name.lower())
    return Weights(
        name, digest, level[0].upper() if level else "", _lambda_scale(name, file), tuple(names), tuple(layers)
    )


def _convolution(name: str, layer: str, arrays: Mapping[str, h5py.Dataset]) -> Layer:
    by_name = {re.sub(r".*/|:\d+$", "", key): data for key, data in arrays.items()}
    if by_name.keys() != {"kernel", "bias"}:
        raise WeightsError(f"{name}: {layer} must hold kernel and bias alone, got {', '.join(sorted(by_name))}")
    return _array(by_name["kernel"]), _array(by_name["bias"])


def _array(data: h5py.Dataset) -> npt.NDArray[np.float32]:
    if data.nbytes > _LARGEST_BYTES:
        raise WeightsError(f"{data.name} must be at most 1 GiB, got {data.nbytes} bytes")
    array: npt.NDArray[np.float32] = data[...]
    return array


def _text(said: str | bytes) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)


def _lambda_scale(name: str, file: h5py.File) -> float:
    """What the model's Lambda layers multiply by, which stands beside their code; as in the paper where none is there.

    A Lambda's function is kept as (code, defaults, closure), and the closure is the one number.
    """
    config = json.loads(_text(file.attrs.get("model_config", "{}"))).get("config", {})
    found = set()
    for layer in config.get("layers", []) if isinstance(config, dict) else []:
        if layer["class_name"] == "Lambda":
            function = layer["config"]["function"]
            closure = function[2] if isinstance(function, list) and len(function) == 3 else None
            found.add(float(closure[0]) if closure else _SCALE)
    if len(found) > 1:
        raise WeightsError(f"{name}: all residual blocks must have one scale, got {sorted(found)}")
    return found.pop() if found else _SCALE


def write_weights(path: Path, weights: Weights) -> None:
    """Write a file of our own format; the same network gives the same bytes.

    Raises:
        OSError: it cannot be written.
    """
    with h5py.File(path, "w", libver=("earliest", "v108"), track_order=False) as file:
        said = {"format": FORMAT, "gsd_m": weights.gsd_m, "level": weights.level, "scale": weights.scale}
        bands = {"inputs": _inputs(weights.gsd_m), "divisor": DIVISOR}
        for key, value in {**said, **bands, "made_from": weights.file, "made_from_sha256": weights.sha256}.items():
            file.attrs[key] = value
        for number, (kernel, bias) in enumerate(weights.layers):
            group = file.create_group(f"conv_{number:03d}")
            group["kernel"], group["bias"] = kernel, bias


def read_networks(folder: Path, level: str) -> tuple[Weights, Weights]:
    """The 20 m and the 60 m network in a folder; of several for the same bands, the one trained on `level`.

    Raises:
        WeightsError: one is missing, does not fit, or which one is meant is not clear.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"--weights must be a folder with the 20 m and the 60 m network, got {folder}, which is none; "
            "fetch some with python -m etl.superres fetch"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in (".hdf5", ".h5"))
    found = [read_weights(path) for path in files]
    return _only(found, 20, folder, level), _only(found, 60, folder, level)


def _only(found: Sequence[Weights], gsd_m: int, folder: Path, level: str) -> Weights:
    fitting = [weights for weights in found if weights.gsd_m == gsd_m]
    if len(fitting) > 1:
        fitting = [weights for weights in fitting if weights.level == level] or fitting
    if len(fitting) != 1:
        names = ", ".join(weights.file for weights in fitting) or "none"
        raise WeightsError(
            f"{folder} must hold one {gsd_m} m network (.hdf5, .h5), or one of level {level}, got {names}"
        )
    return fitting[0]
