"""Weights of DSen2's networks in files: the published ones, of Keras before version 3, and a plain format without code.

Files are read as data: the code that old Keras pickled into its files is never run. The plain format is an HDF5 file
with one group for each convolution (`conv_000`, ...: `kernel`, `bias`) and the other parameters as attributes of its
root.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py

from etl.bands import GROUPS
from etl.files import replace_atomically
from etl.upsample.network import DIVISOR, ConvWeights, NetworkWeights, WeightsError

__all__ = ["read_networks", "read_weights", "write_weights"]

# root attribute `format` of a file of the plain format
_FORMAT = "sentinel-etl dsen2 1"

# factor of the residual blocks if a file does not give one. Source: the paper, 3.2.
_SCALE = 0.1

_MAX_BYTES = 1 << 30


def read_weights(path: Path) -> NetworkWeights:
    """Return the network in a file of either format, its arrays with dtype float32.

    The names of published files tell their level (`l1c_...`, `l2a_...`); the plain format holds it as an attribute.

    Raises:
        WeightsError: the file is larger than 1 GiB or does not hold such a network.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise WeightsError(f"{path} must be a weights file of at most 1 GiB, got {size} bytes")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") == _FORMAT:
                return _read_plain(path.name, digest, file)
            return _read_keras(path.name, digest, file)
    except WeightsError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} must be an HDF5 file of a network's weights, and is none: {error}") from None


def _read_plain(name: str, digest: str, file: h5py.File) -> NetworkWeights:
    inputs = list(map(_text, file.attrs["inputs"]))
    expected = _input_bands(int(file.attrs["gsd_m"]))
    if inputs != expected or float(file.attrs["divisor"]) != DIVISOR:
        raise WeightsError(
            f"{name} must be for the bands {expected} divided by {DIVISOR:g}, got {inputs} and {file.attrs['divisor']}"
        )
    names = tuple(sorted(file))
    layers = tuple(_read_convolution(file[key]) for key in names)
    return NetworkWeights(name, digest, str(file.attrs["level"]), float(file.attrs["scale"]), names, layers)


def _input_bands(gsd_m: int) -> list[str]:
    """Bands that a network sees, in order."""
    return [band for group in GROUPS if group.gsd_m <= gsd_m for band in group.bands]


def _read_keras(name: str, digest: str, file: h5py.File) -> NetworkWeights:
    """A file of `Model.save` or `Model.save_weights` of Keras before version 3; kernels do not know channels first."""
    group = file.get("model_weights", file)
    if "layer_names" not in group.attrs:
        raise WeightsError(f"{name} must hold the attribute layer_names, as files of Keras before version 3 do")
    names, layers = [], []
    for layer in map(_text, group.attrs["layer_names"]):
        keys = {re.sub(r".*/|:\d+$", "", key): key for key in map(_text, group[layer].attrs["weight_names"])}
        if keys and keys.keys() != {"kernel", "bias"}:
            raise WeightsError(f"{name}: {layer} must hold kernel and bias alone, got {', '.join(sorted(keys))}")
        if keys:
            names.append(layer)
            layers.append(_read_convolution({what: group[layer][key] for what, key in keys.items()}))
    level = re.search(r"l1c|l2a", name.lower())
    scale = _lambda_scale(name, file)
    return NetworkWeights(name, digest, level[0].upper() if level else "", scale, tuple(names), tuple(layers))


def _read_convolution(arrays: Mapping[str, h5py.Dataset]) -> ConvWeights:
    """The arrays named kernel and bias, checked before they are read: a small file can hold a huge compressed array."""
    for data in (arrays["kernel"], arrays["bias"]):
        if data.nbytes > _MAX_BYTES:
            raise WeightsError(f"{data.name} must be at most 1 GiB, got {data.nbytes} bytes")
    return ConvWeights(arrays["kernel"][...], arrays["bias"][...])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _lambda_scale(name: str, file: h5py.File) -> float:
    """The factor of the model's Lambda layers, which is stored beside their code; the paper's if there is none."""
    config = json.loads(_text(file.attrs.get("model_config", "{}"))).get("config", {})
    scales = set()
    for layer in config.get("layers", []) if isinstance(config, dict) else []:
        if layer["class_name"] == "Lambda":
            function = layer["config"]["function"]
            # stored as (code, defaults, closure), and the closure is the one number
            closure = function[2] if isinstance(function, list) and len(function) == 3 else None
            scales.add(float(closure[0]) if closure else _SCALE)
    if len(scales) > 1:
        raise WeightsError(f"{name}: all residual blocks must have one scale, got {sorted(scales)}")
    return scales.pop() if scales else _SCALE


def write_weights(path: Path, weights: NetworkWeights) -> None:
    """Write a file of the plain format; the same network gives the same bytes.

    Raises:
        OSError: it cannot be written.
    """
    image = io.BytesIO()  # HDF5 can crash if it cannot write to the disk
    # neither times nor an order of creation in the file: equal networks are equal bytes
    with h5py.File(image, "w", libver=("earliest", "v108"), track_order=False) as file:
        attributes = {"format": _FORMAT, "gsd_m": weights.gsd_m, "level": weights.level, "scale": weights.scale}
        attributes |= {"inputs": _input_bands(weights.gsd_m), "divisor": DIVISOR}
        attributes |= {"made_from": weights.file, "made_from_sha256": weights.sha256}
        file.attrs.update(attributes)
        for number, (kernel, bias) in enumerate(weights.layers):
            group = file.create_group(f"conv_{number:03d}")
            group["kernel"], group["bias"] = kernel, bias
    with replace_atomically(path) as temporary:
        temporary.write_bytes(image.getvalue())


def read_networks(folder: Path, level: str) -> tuple[NetworkWeights, NetworkWeights]:
    """Return the 20 m and the 60 m network in a folder; of several for the same bands, the one trained on `level`.

    Raises:
        WeightsError: one is missing, does not fit, or which one is meant is not clear.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"--weights must be a folder with one file for 20 m and one for 60 m bands, but {folder} is not a folder; "
            "python -m etl.superres fetch downloads the published ones"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in (".hdf5", ".h5"))
    networks = [read_weights(path) for path in files]
    return _only_network(networks, 20, folder, level), _only_network(networks, 60, folder, level)


def _only_network(networks: Sequence[NetworkWeights], gsd_m: int, folder: Path, level: str) -> NetworkWeights:
    fitting = [weights for weights in networks if weights.gsd_m == gsd_m]
    if len(fitting) > 1:
        fitting = [weights for weights in fitting if weights.level == level] or fitting
    if len(fitting) != 1:
        names = ", ".join(weights.file for weights in fitting) or "none"
        raise WeightsError(
            f"{folder} must hold one {gsd_m} m network (.hdf5, .h5), or one of level {level}, got {names}"
        )
    return fitting[0]
