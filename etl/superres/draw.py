"""The picture of an evaluation: the middle of a scene as it is read, and as each way brings it to 10 m."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from etl.bands import GROUPS
from etl.superres.scene import Scene
from etl.superres.scores import WAYS

__all__ = ["draw", "middle"]

_SIDE_PX = 120
_COLOURS = (("B12", "B8A", "B05"), ("B09", "B09", "B01"))
"""Bands shown in red, green and blue, of the 20 m and of the 60 m group."""

_DPI = 110


def middle(scene: Scene, margin_px: int) -> Scene:
    """The part of a scene that the picture shows, with at least `margin_px` pixels of 10 m around it, where there are.

    Networks need no more than their context around what is drawn, not the whole scene.
    """
    side = scene.groups[0].shape[0]
    kept = min(side, _SIDE_PX + 2 * (-(-margin_px // 12) * 12))
    if kept == side:
        return scene
    first = (side - kept) // 12 * 6
    cuts = [slice(first // group.factor, (first + kept) // group.factor) for group in GROUPS]
    return Scene(scene.name, tuple(native[cut, cut] for native, cut in zip(scene.groups, cuts, strict=False)))


def draw(scene: Scene, images: Sequence[Mapping[str, npt.NDArray[np.float32]]], out: Path) -> None:
    """Write the picture (PNG); `images` are the 20 m and the 60 m group at 10 m, by way.

    Of both, the middle `_SIDE_PX` pixels are drawn.
    """
    side = scene.groups[0].shape[0]
    shown = min(side, _SIDE_PX) // 6 * 6
    first = (side - shown) // 12 * 6
    figure = Figure(figsize=(14, 6.2), dpi=_DPI)
    axes = figure.subplots(2, 2 + len(WAYS), squeeze=False)
    figure.suptitle(f"{scene.name}: the middle {shown * 10} m", fontsize=11)
    true_colour = _cut(scene.groups[0][..., [2, 1, 0]], first, shown, 1)
    for row, (group, by_way, colours) in enumerate(zip(GROUPS[1:], images, _COLOURS, strict=True)):
        bands = [group.bands.index(name) for name in colours]
        read = _cut(scene.groups[row + 1][..., bands], first, shown, group.factor)
        low, high = np.percentile(read.reshape(-1, 3), (1, 99), axis=0)
        panels = [("10 m, true colour", true_colour, *np.percentile(true_colour.reshape(-1, 3), (1, 99), axis=0))]
        panels.append((f"{' '.join(dict.fromkeys(colours))} as read, {group.gsd_m} m", read, low, high))
        panels += [(f"{way}, 10 m", _cut(by_way[way][..., bands], first, shown, 1), low, high) for way in WAYS]
        for panel, (title, pixels, dark, bright) in zip(axes[row], panels, strict=True):
            panel.imshow(np.clip((pixels - dark) / np.maximum(bright - dark, 1), 0, 1), interpolation="nearest")
            panel.set_title(title, fontsize=9)
            panel.set_axis_off()
    figure.tight_layout()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(out, format="png", dpi=_DPI)


def _cut(pixels: npt.NDArray[Any], first: int, side: int, factor: int) -> npt.NDArray[np.float64]:
    """A square of the image, its corner and side given in px of 10 m."""
    inside = slice(first // factor, (first + side) // factor)
    return pixels[inside, inside].astype(np.float64)
