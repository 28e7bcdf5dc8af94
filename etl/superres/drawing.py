"""The picture of an evaluation: the middle of a scene as it is read, and as each method brings it to 10 m."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from etl.bands import GROUPS, band_indices
from etl.superres.scene import Scene
from etl.superres.scores import COMPARED_METHODS

__all__ = ["crop_middle", "draw_comparison"]

_SIDE_PX = 120
_TRUE_COLOUR = ("B04", "B03", "B02")
# bands shown in red, green and blue, of the 20 m and of the 60 m group
_COMPOSITES = (("B12", "B8A", "B05"), ("B09", "B09", "B01"))

_DPI = 110


def crop_middle(scene: Scene, margin_px: int) -> Scene:
    """Return the part of a scene that the picture shows, with at least `margin_px` pixels of 10 m around it.

    Where the scene is smaller, all of it. Networks need no more than their halo around what is drawn.
    """
    side = scene.groups[0].shape[0]
    # margins of whole 120 m, so that the middle stays on borders of 60 m pixels
    part_px = min(side, _SIDE_PX + 2 * (-(-margin_px // 12) * 12))
    if part_px == side:
        return scene
    first = _first_px(side, part_px)
    cuts = [slice(first // group.factor, (first + part_px) // group.factor) for group in GROUPS]
    return Scene(scene.name, tuple(native[cut, cut] for native, cut in zip(scene.groups, cuts, strict=False)))


def draw_comparison(scene: Scene, images: Sequence[Mapping[str, npt.NDArray[np.float32]]], out: Path) -> None:
    """Write the picture (PNG) of the middle 120 x 120 pixels of 10 m.

    `images`: the 20 m and the 60 m group at 10 m, by method, shape (row, col, band), float32.
    """
    side = scene.groups[0].shape[0]
    shown = min(side, _SIDE_PX) // 6 * 6
    first = _first_px(side, shown)
    figure = Figure(figsize=(14, 6.2), dpi=_DPI)
    axes = figure.subplots(2, 2 + len(COMPARED_METHODS), squeeze=False)
    figure.suptitle(f"{scene.name}: the middle {shown * 10} m", fontsize=11)
    true_colour = _crop(scene.groups[0][..., band_indices(GROUPS[0].bands, _TRUE_COLOUR)], first, shown, 1)
    for row, (group, by_method, names) in enumerate(zip(GROUPS[1:], images, _COMPOSITES, strict=True)):
        bands = band_indices(group.bands, names)
        native = _crop(scene.groups[row + 1][..., bands], first, shown, group.factor)
        fine = {method: _crop(by_method[method][..., bands], first, shown, 1) for method in COMPARED_METHODS}
        as_read = (f"{' '.join(dict.fromkeys(names))} as read, {group.gsd_m} m", native, native)
        panels = [("10 m, true colour", true_colour, true_colour), as_read]
        panels += [(f"{method}, 10 m", pixels, native) for method, pixels in fine.items()]
        # all panels of a group are stretched as its native pixels are, so that brightness can be compared
        for panel, (title, pixels, reference) in zip(axes[row], panels, strict=True):
            dark, bright = np.percentile(reference.reshape(-1, 3), (1, 99), axis=0)
            panel.imshow(np.clip((pixels - dark) / np.maximum(bright - dark, 1), 0, 1), interpolation="nearest")
            panel.set_title(title, fontsize=9)
            panel.set_axis_off()
    figure.tight_layout()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(out, format="png", dpi=_DPI)


def _first_px(side: int, part_px: int) -> int:
    """First of the middle `part_px` of `side` pixels of 10 m, on a border of 60 m pixels."""
    return (side - part_px) // 12 * 6


def _crop(pixels: npt.NDArray[Any], first: int, side: int, factor: int) -> npt.NDArray[np.float64]:
    """A square of the image, its corner and side given in px of 10 m."""
    inside = slice(first // factor, (first + side) // factor)
    return pixels[inside, inside].astype(np.float64)
