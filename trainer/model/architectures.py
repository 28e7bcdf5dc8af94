"""The networks that can be trained: how each is built, and the stages in which its layers lie.

Source: He et al. 2016, arXiv 1512.03385 (ResNet); Liu et al. 2022, arXiv 2201.03545 (ConvNeXt); both as in
keras.applications.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from trainer.model.small import small

__all__ = ["ARCHITECTURES", "Architecture", "stage_of"]

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network without its last layer."""

    build: Callable[[Shape], keras.Model]
    """Shape (row, col, channel) of the input -> network that returns features, float32, shape (batch, feature)."""

    stages: tuple[tuple[str, ...], ...]
    """How the names of the layers of each stage begin, from the input on; other layers belong to the last stage."""

    imagenet: bool = False
    """Whether its published weights take blue, green, red in [0, 255] without the means, see `network.Standardise`."""


def _of_keras(kind: str, **more: object) -> Callable[[Shape], keras.Model]:
    def build(shape: Shape) -> keras.Model:
        network = getattr(keras.applications, kind)
        return network(weights=None, include_top=False, pooling="avg", input_shape=shape, **more)

    return build


_RESNET_STAGES = (("conv1_",), ("conv2_",), ("conv3_",), ("conv4_",), ("conv5_",))

ARCHITECTURES = {
    "resnet50": Architecture(_of_keras("ResNet50"), _RESNET_STAGES, imagenet=True),
    "resnet101": Architecture(_of_keras("ResNet101"), _RESNET_STAGES, imagenet=True),
    "convnext_tiny": Architecture(
        _of_keras("ConvNeXtTiny", include_preprocessing=False, name="convnext_tiny"),
        (
            ("convnext_tiny_stem", "convnext_tiny_stage_0"),
            *((f"convnext_tiny_downsampling_block_{k - 1}", f"convnext_tiny_stage_{k}") for k in (1, 2, 3)),
        ),
    ),
    "small": Architecture(small, (("first_",), ("stage1_",), ("stage2_",), ("stage3_",))),
}
"""By value of `--network`; a test holds its keys against `config.NETWORKS`."""


def stage_of(architecture: Architecture, layer: str) -> int:
    """Stage of the layer of this name, counted from 0; layers before the network are of stage 0."""
    if layer.startswith("stem_"):
        return 0
    found = [k for k, begin in enumerate(architecture.stages) if layer.startswith(begin)]
    return found[0] if found else len(architecture.stages) - 1
