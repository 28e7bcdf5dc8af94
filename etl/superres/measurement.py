"""Measure each method of upsampling at reduced scale against the original, and its consistency with the pixels."""

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.superres.degradation import blur_and_average, degrade, resize_bicubic, resize_bilinear
from etl.superres.scene import Scene
from etl.superres.scores import GroupScores, ImageScores, score_image
from etl.upsample.dsen2 import Network, sharpen_image
from etl.upsample.gaps import invalid_mask

__all__ = ["measure_scene", "upsample_by_all_methods"]

# least side of a group at reduced scale: a smaller one has too few pixels to interpolate between
_MIN_SIDE_PX = 6

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Groups = tuple[npt.NDArray[np.uint16], ...]


def measure_scene(scene: Scene, networks: tuple[Network, Network], border_px: int, windows: int) -> list[GroupScores]:
    """Return scores of the 20 m and the 60 m group; the latter is left out if the scene is too small for it.

    `border_px`: left out along the borders, in pixels of the group. Networks run on `windows` windows at once.
    """
    out = []
    for number, network in enumerate(networks, 1):
        group = GROUPS[number]
        factor, truth = group.factor, scene.groups[number]
        side = truth.shape[0] // factor * factor  # in px of the group, a whole number of coarse pixels
        if side // factor < _MIN_SIDE_PX:
            continue
        sides = [side * factor // finer.factor for finer in GROUPS[: number + 1]]
        part = tuple(native[:px, :px] for native, px in zip(scene.groups, sides, strict=False))
        # reduced scale: all groups made coarser by the same factor, so that the group itself is the truth
        coarse = tuple(degrade(native, factor) for native in part)
        valid = np.logical_not(invalid_mask(part[-1]).any(-1))
        empty = invalid_mask(coarse[-1]).any(-1)
        known: Mask = valid & ~np.repeat(np.repeat(empty, factor, 0), factor, 1)
        reduced = _score_all(upsample_by_all_methods(coarse, network, windows), part[-1], known, border_px)
        fine = upsample_by_all_methods(part, network, windows)
        coarse_again = {method: blur_and_average(image, factor) for method, image in fine.items()}
        consistency = _score_all(coarse_again, part[-1], valid, border_px)
        out.append(GroupScores(scene.name, group.gsd_m, group.bands, reduced, consistency))
    return out


def upsample_by_all_methods(groups: Groups, network: Network, windows: int) -> dict[str, FloatImage]:
    """Return the coarsest of `groups` on the grid of the finest, by method; shape (row, col, band), float32."""
    factor = GROUPS[len(groups) - 1].factor
    coarse, sharp = groups[-1], sharpen_image(network, groups, windows)
    return {"bilinear": resize_bilinear(coarse, factor), "bicubic": resize_bicubic(coarse, factor), "dsen2": sharp}


def _score_all(
    images: dict[str, FloatImage], truth: npt.NDArray[np.uint16], valid: Mask, border_px: int
) -> dict[str, ImageScores]:
    """Scores of each image without its border, by method."""
    inner = slice(border_px, truth.shape[0] - border_px)
    return {
        method: score_image(image[inner, inner], truth[inner, inner], valid[inner, inner])
        for method, image in images.items()
    }
