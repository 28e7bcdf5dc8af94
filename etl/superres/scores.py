"""Distance of an image from the true one: RMSE, SRE, UIQ of each band, SAM of all bands together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["COMPARED_METHODS", "GroupScores", "ImageScores", "score_image"]

COMPARED_METHODS = ("bilinear", "bicubic", "dsen2")
"""Methods of upsampling that are measured side by side."""

# side of the windows of UIQ. Source: Wang and Bovik, IEEE Signal Processing Letters 9 (2002) 81-84.
_WINDOW_PX = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ImageScores:
    """One image against the true one, over the pixels that have data in every band of both."""

    rmse: tuple[float, ...]
    """Root mean square error of each band, in pixel values (reflectance x 10,000)."""

    sre_db: tuple[float, ...]
    """Signal to reconstruction error of each band, dB: the mean's square over the mean square error."""

    uiq: tuple[float, ...]
    """Universal image quality index of each band, at most 1: the mean over windows of 8 x 8 px."""

    sam_deg: float
    """Spectral angle: mean angle between the spectra of a pixel in both images, degrees."""

    @property
    def rmse_mean(self) -> float:
        """Mean over bands, in pixel values (reflectance x 10,000)."""
        return float(np.mean(self.rmse))


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Scores of all methods on one group of bands of one scene."""

    scene: str
    """Name of the scene."""

    gsd_m: int
    """Ground sample distance of the group's bands, metres."""

    bands: tuple[str, ...]
    """Names of the bands."""

    reduced: dict[str, ImageScores]
    """By method: at reduced scale, against the original."""

    consistency: dict[str, ImageScores]
    """By method: brought to 10 m and made coarser again, against the original."""


def score_image(
    image: npt.NDArray[np.float32], truth: npt.NDArray[np.uint16], valid: npt.NDArray[np.bool_]
) -> ImageScores:
    """Return scores of `image` against `truth`, both of shape (row, col, band); `valid` has the shape (row, col).

    Raises:
        ValueError: no pixel is valid.
    """
    if not valid.any():
        raise ValueError("at least one pixel must have data in every band, got none")
    image64, truth64 = image.astype(np.float64), truth.astype(np.float64)
    x, y = image64[valid], truth64[valid]
    mse = ((x - y) ** 2).mean(0)
    with np.errstate(divide="ignore"):  # a perfect image has an infinite SRE
        sre_db = 10 * np.log10(y.mean(0) ** 2 / mse)
    uiq = [_uiq(image64[..., band], truth64[..., band], valid) for band in range(truth.shape[-1])]
    return ImageScores(tuple(np.sqrt(mse).tolist()), tuple(sre_db.tolist()), tuple(uiq), _sam_deg(x, y))


def _sam_deg(x: Floats, y: Floats) -> float:
    """Mean angle between rows; source: Kruse et al., Remote Sensing of Environment 44 (1993) 145-163."""
    cosine = (x * y).sum(-1) / np.maximum(np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def _uiq(x: Floats, y: Floats, valid: npt.NDArray[np.bool_]) -> float:
    """Mean of Wang and Bovik's Q over all windows of valid pixels that are not wholly flat; NaN without one."""

    def window_mean(values: Floats) -> Floats:
        half = _WINDOW_PX // 2  # only windows that lie inside
        means: Floats = ndimage.uniform_filter(values, _WINDOW_PX, mode="constant")
        return means[half : values.shape[0] - half + 1, half : values.shape[1] - half + 1]

    if min(x.shape) < _WINDOW_PX:
        return float("nan")
    x, y = x - (shift := x[valid].mean()), y - shift  # so that squares of large values do not swamp their spread
    mean_x, mean_y = window_mean(x), window_mean(y)
    variances = window_mean(x * x) - mean_x**2 + window_mean(y * y) - mean_y**2
    covariance = window_mean(x * y) - mean_x * mean_y
    true_x, true_y = mean_x + shift, mean_y + shift
    divisor = variances * (true_x**2 + true_y**2)
    # sums of floats: a window is wholly valid if its mean is 1 up to rounding
    whole = (window_mean(valid.astype(np.float64)) > 1 - 1e-9) & (variances > 1e-6)
    quality = 4 * covariance[whole] * true_x[whole] * true_y[whole] / divisor[whole]
    return float(quality.mean()) if whole.any() else float("nan")
