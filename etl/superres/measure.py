"""The measurement: each way of upsampling on an image made coarser, against the original; and made coarser again."""

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.superres.degrade import bicubic, bilinear, blurred, degrade
from etl.superres.scene import Scene
from etl.superres.scores import WAYS, Measured, Scores, score
from etl.upsample.dsen2 import Network, sharpen
from etl.upsample.gaps import without_data

__all__ = ["fine_images", "measure"]

_LEAST_PX = 6
"""Least side of a group that was made coarser: below, there is nothing to interpolate between."""

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Groups = tuple[npt.NDArray[np.uint16], ...]


def measure(scene: Scene, networks: tuple[Network, Network], border_px: int, windows: int) -> list[Measured]:
    """Both coarser groups of a scene; the 60 m one is left out where the scene is too small for it.

    Networks run on `windows` windows at once.
    """
    out = []
    for number, network in enumerate(networks, 1):
        group = GROUPS[number]
        factor, truth = group.factor, scene.groups[number]
        side = truth.shape[0] // factor * factor
        if side // factor < _LEAST_PX:
            continue
        part = tuple(native[: side * factor // g.factor, : side * factor // g.factor]
                     for g, native in zip(GROUPS[: number + 1], scene.groups, strict=False))  # fmt: skip
        coarse = tuple(degrade(native, factor) for native in part)
        valid = np.logical_not(without_data(part[-1]).any(-1))
        empty = without_data(coarse[-1]).any(-1)
        known: Mask = valid & ~np.repeat(np.repeat(empty, factor, 0), factor, 1)
        reduced = _scores(fine_images(coarse, network, windows), part[-1], known, border_px)
        again = {way: blurred(image, factor) for way, image in fine_images(part, network, windows).items()}
        back = _scores(again, part[-1], valid, border_px)
        out.append(Measured(scene.name, group.gsd_m, group.bands, reduced, back))
    return out


def fine_images(groups: Groups, network: Network, windows: int) -> dict[str, Image]:
    """The coarsest of `groups` at the grid of the finest, by way, float32."""
    factor = GROUPS[len(groups) - 1].factor
    images = (bilinear(groups[-1], factor), bicubic(groups[-1], factor), sharpen(network, groups, windows))
    return dict(zip(WAYS, images, strict=True))


def _scores(images: dict[str, Image], truth: npt.NDArray[np.uint16], valid: Mask, border_px: int) -> dict[str, Scores]:
    """Scores of each image, without a border."""
    inner = slice(border_px, truth.shape[0] - border_px)
    return {way: score(image[inner, inner], truth[inner, inner], valid[inner, inner]) for way, image in images.items()}
