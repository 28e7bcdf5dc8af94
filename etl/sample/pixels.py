"""A tile's images in memory: the three native groups and the scene classification."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS

__all__ = ["TilePixels"]


@dataclass(frozen=True, slots=True, eq=False)
class TilePixels:
    """A square tile: reflectance x 10,000 on the scale without offset, nodata 0, saturated 65535."""

    data_10m: npt.NDArray[np.uint16]
    """B02 B03 B04 B08, shape (row, col, band)."""

    data_20m: npt.NDArray[np.uint16]
    """B05 B06 B07 B8A B11 B12, shape (row, col, band)."""

    data_60m: npt.NDArray[np.uint16]
    """B01 B09, shape (row, col, band)."""

    scl: npt.NDArray[np.uint8]
    """Scene classification at 20 m, 0 to 11, shape (row, col)."""

    def __post_init__(self) -> None:
        px = self.tile_px
        want = [(px // g.factor, px // g.factor, len(g.bands)) for g in GROUPS]
        got = [group.shape for group in self.groups]
        if px % 6 or got != want or self.scl.shape != (px // 2, px // 2):
            raise ValueError(
                f"groups must have shapes {want} (a square tile of whole 60 m pixels) and scl {(px // 2, px // 2)}, "
                f"got {got} and {self.scl.shape}"
            )
        kinds = {group.dtype.name for group in self.groups}
        if kinds != {"uint16"} or self.scl.dtype != np.uint8:
            raise ValueError(f"groups must be uint16 and scl uint8, got {', '.join(kinds)} and {self.scl.dtype}")

    @property
    def groups(self) -> tuple[npt.NDArray[np.uint16], ...]:
        """The three native groups, shape (row, col, band) each, in the order of `etl.bands.GROUPS`."""
        return self.data_10m, self.data_20m, self.data_60m

    @property
    def tile_px(self) -> int:
        """Side in pixels of the 10 m grid."""
        return int(self.data_10m.shape[0])
