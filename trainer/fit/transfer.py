"""Start from the weights of another run, freeze stages, and give each stage its own learning rate.

Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.2 (discriminative rates).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from trainer.data.selection import PixelArray, SelectedRows
from trainer.fit.trained_network import best_checkpoint, network_design, pixel_arrays
from trainer.model.architectures import ARCHITECTURES, stage_of
from trainer.model.network import HEAD, NetworkDesign, backbone_of, build_network

__all__ = ["freeze_stages", "rate_factors", "transfer_weights"]

log = logging.getLogger(__name__)


def transfer_weights(run: Path, model: keras.Model, rows: SelectedRows, design: NetworkDesign, freeze: int) -> None:
    """Set the weights of a new network to those of a run's best one, as far as both have them.

    The first convolution is taken band by band, and a band that the run did not have gets the mean over those that it
    had. The last layer is taken class by class; other classes keep their new weights. The log says what was taken.
    `model`: made by `build_network` for `rows` by `design`; `freeze`: stages that will not be trained.

    Raises:
        ValueError: the run has no network, or one of another architecture or with ImageNet's normalisation; or stages
            are to be frozen that would not know a band.
    """
    path, checkpoint = best_checkpoint(run)
    described, of_run = checkpoint.fingerprint["network"], network_design(checkpoint.fingerprint)
    if of_run.architecture != design.architecture:
        raise ValueError(
            f"--network must be {of_run.architecture}, as that of {run}, whose weights --start-from takes; "
            f"got {design.architecture}"
        )
    if of_run.as_imagenet:
        raise ValueError(
            f"--start-from needs a run that normalised by its store; {run} began with --weights, so its first layer "
            "expects other values"
        )
    pixels = pixel_arrays(described)
    donor = build_network(pixels, of_run, 0)
    checkpoint.restore_model(path, donor)

    # ---- what takes the bands: the backbone, or a convolution for each resolution before it
    channels, channels_of_run = _channels(model, rows.pixels), _channels(donor, pixels)
    for name in channels.keys() & channels_of_run.keys() - {_BACKBONE}:
        kernel, *others = donor.get_layer(name).get_weights()
        model.get_layer(name).set_weights([_by_name(kernel, channels_of_run[name], channels[name]), *others])
    # ---- the backbone; its layers have other names in a second network of one process
    number = 0
    for old, new in zip(backbone_of(donor).layers, backbone_of(model).layers, strict=True):
        if new.weights:
            values, number = old.get_weights(), number + 1
            if number == 1:
                values[0] = _by_name(values[0], channels_of_run[_BACKBONE], channels[_BACKBONE])
            new.set_weights(values)
    # ---- the last layer
    kernel, bias = model.get_layer(HEAD).get_weights()
    kernel_of_run, bias_of_run = donor.get_layer(HEAD).get_weights()
    places = {name: k for k, name in enumerate(described["classes"])}
    known = [(k, places[name]) for k, name in enumerate(rows.classes) if name in places]
    for k, of_class in known:
        kernel[:, k], bias[k] = kernel_of_run[:, of_class], bias_of_run[of_class]
    model.get_layer(HEAD).set_weights([kernel, bias])

    bands, bands_of_run = ({band for item in items for band in item.bands} for items in (rows.pixels, pixels))
    if freeze and any(not set(names) <= set(channels_of_run.get(layer, ())) for layer, names in channels.items()):
        raise ValueError(
            f"--freeze needs bands that the network of {run} has at the same resolutions, so that it knows them"
        )
    if not bands & bands_of_run:
        log.warning("no band of this run has the name of one of %s: its first layer sees the mean of them", run)
    log.info(
        "weights of %s: all %d layers with weights but the last; %d of %d bands as they are there, the others as the "
        "mean; %d of %d classes, the others new",
        path, number, len(bands & bands_of_run), len(bands), len(known), len(rows.classes),
    )  # fmt: skip


def freeze_stages(model: keras.Model, design: NetworkDesign, count: int) -> None:
    """Keep the weights of the first `count` stages, and what comes before them, as they are in training.

    Their batch normalisation uses its moving statistics.

    Raises:
        ValueError: the network has fewer stages.
    """
    architecture = ARCHITECTURES[design.architecture]
    if count > len(architecture.stages):
        raise ValueError(f"--freeze must be at most {len(architecture.stages)} for {design.architecture}, got {count}")
    for layer in _trunk(model) if count else ():
        layer.trainable = stage_of(architecture, layer.name) >= count


def rate_factors(model: keras.Model, design: NetworkDesign, decay: float) -> list[float]:
    """Learning rate of each trainable variable over the run's: 1 for the last layer, `decay` for the last stage, ..."""
    architecture = ARCHITECTURES[design.architecture]
    last = len(architecture.stages)
    factors = {
        variable.path: decay ** (last - stage_of(architecture, layer.name))
        for layer in _trunk(model)
        for variable in layer.trainable_variables
    }
    return [factors.get(variable.path, 1.0) for variable in model.trainable_variables]


_BACKBONE = "backbone"


def _trunk(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers with weights but the last one; those before the backbone count to its first stage."""
    return [*(layer for layer in model.layers if layer.name.startswith("stem_")), *backbone_of(model).layers]


def _channels(model: keras.Model, pixels: Sequence[PixelArray]) -> dict[str, list[str]]:
    """Names of the input channels of each layer that takes bands: the backbone, or each resolution's convolution.

    After such convolutions those of the backbone are called by them.
    """
    by_side: dict[int, list[str]] = {}
    for item in pixels:
        by_side.setdefault(item.row_shape[0], []).extend(item.bands)
    if len(by_side) == 1:
        return {_BACKBONE: [band for bands in by_side.values() for band in bands]}
    stems = {f"stem_{side_px}px": bands for side_px, bands in by_side.items()}
    return {**stems, _BACKBONE: [f"{name} {k}" for name in stems for k in range(model.get_layer(name).filters)]}


def _by_name(kernel: npt.NDArray[np.float32], names: list[str], wanted: list[str]) -> npt.NDArray[np.float32]:
    """A kernel, shape (row, col, channel, filter), for the channels `wanted`; those not in `names` get the mean."""
    mean = kernel.mean(axis=2)
    return np.stack([kernel[:, :, names.index(name)] if name in names else mean for name in wanted], axis=2)
