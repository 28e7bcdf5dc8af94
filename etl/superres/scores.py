"""How near an image comes to the true one: RMSE, SRE, UIQ of each band, SAM of all bands together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["WAYS", "Measured", "Scores", "score"]

WAYS = ("bilinear", "bicubic", "dsen2")
"""What is measured side by side."""

_WINDOW_PX = 8
"""Side of the windows of UIQ. Source: Wang and Bovik, IEEE Signal Processing Letters 9 (2002) 81-84."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One image against the true one, over the pixels that have data in every band of both."""

    rmse: tuple[float, ...]
    """Root mean square error of each band, in pixel values (reflectance x 10,000)."""

    sre_db: tuple[float, ...]
    """Signal to reconstruction error of each band, dB: the mean's square over the mean square error."""

    uiq: tuple[float, ...]
    """Universal image quality index of each band, at most 1: the mean over windows of 8 x 8 px."""

    sam_deg: float
    """Mean angle between the spectra of a pixel in both images, degrees."""

    @property
    def rmse_mean(self) -> float:
        """Mean over bands."""
        return float(np.mean(self.rmse))


@dataclass(frozen=True, slots=True)
class Measured:
    """One group of one scene."""

    scene: str
    """Name of the scene."""

    gsd_m: int
    """Ground sample distance of the group's bands."""

    bands: tuple[str, ...]
    """Their names."""

    reduced: dict[str, Scores]
    """By way: at reduced scale, against the original."""

    consistency: dict[str, Scores]
    """By way: brought to 10 m and made coarser again, against the original."""


def score(image: npt.NDArray[np.float32], truth: npt.NDArray[np.uint16], valid: npt.NDArray[np.bool_]) -> Scores:
    """Scores of `image` against `truth`, both of shape (row, col, band); `valid` has the shape (row, col).

    Raises:
        ValueError: no pixel is valid.
    """
    if not valid.any():
        raise ValueError("at least one pixel must have data in every band, got none")
    got, true = image.astype(np.float64), truth.astype(np.float64)
    x, y = got[valid], true[valid]
    mse = ((x - y) ** 2).mean(0)
    with np.errstate(divide="ignore"):
        sre_db = 10 * np.log10(y.mean(0) ** 2 / mse)
    uiq = [_uiq(got[..., band], true[..., band], valid) for band in range(truth.shape[-1])]
    return Scores(tuple(np.sqrt(mse).tolist()), tuple(sre_db.tolist()), tuple(uiq), _sam_deg(x, y))


def _sam_deg(x: Floats, y: Floats) -> float:
    """Mean angle between rows; source: Kruse et al., Remote Sensing of Environment 44 (1993) 145-163."""
    cosine = (x * y).sum(-1) / np.maximum(np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def _uiq(x: Floats, y: Floats, valid: npt.NDArray[np.bool_]) -> float:
    """Mean of Wang and Bovik's Q over all windows of valid pixels that are not wholly flat; NaN without one."""

    def mean(values: Floats) -> Floats:
        half = _WINDOW_PX // 2  # only windows that lie inside
        means: Floats = ndimage.uniform_filter(values, _WINDOW_PX, mode="constant")
        return means[half : values.shape[0] - half + 1, half : values.shape[1] - half + 1]

    if min(x.shape) < _WINDOW_PX:
        return float("nan")
    x, y = x - (shift := x[valid].mean()), y - shift  # so that squares of large values do not swamp their spread
    mean_x, mean_y = mean(x), mean(y)
    spread = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    shared = mean(x * y) - mean_x * mean_y
    true_x, true_y = mean_x + shift, mean_y + shift
    below = spread * (true_x**2 + true_y**2)
    whole = (mean(valid.astype(np.float64)) > 1 - 1e-9) & (spread > 1e-6)
    quality = 4 * shared[whole] * true_x[whole] * true_y[whole] / below[whole]
    return float(quality.mean()) if whole.any() else float("nan")
