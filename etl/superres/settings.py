"""Settings of `etl.superres`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting
from etl.upsample.method import PRECISIONS

__all__ = ["ConvertWeightsSettings", "FetchWeightsSettings", "SuperresSettings"]


@dataclass(frozen=True, slots=True)
class FetchWeightsSettings:
    """Fetch published weights of DSen2, checked by their hashes, into l1c/ and l2a/ below a folder."""

    out: Path = setting(Path("data/weights"), "folder to write to")


@dataclass(frozen=True, slots=True)
class ConvertWeightsSettings:
    """Write a network's weights in a plain format: arrays and parameters, no code."""

    file: Path = setting(Path("data/weights/l2a/l2a_dsen2_20m_s2_038_lr_1e-04.hdf5"), "weights file of either format")
    level: str = setting("", "level it was trained on, where its name does not say", choices=("", "L1C", "L2A"))
    out: Path = setting(Path("data/weights/dsen2_20m.h5"), "file to write")

    def __post_init__(self) -> None:
        if self.out.suffix != ".h5":
            raise ValueError(f"--out must end in .h5, got {self.out}")


@dataclass(frozen=True, slots=True)
class SuperresSettings:
    """Measure super-resolution by Wald's protocol, beside bilinear and bicubic, and its consistency with the pixels."""

    source: Path = setting(
        Path("data/tiles"), "one Level-2A product (.SAFE or .zip), a folder with one, or a BigEarthNet patch folder"
    )
    weights: Path = setting(Path("data/weights/l2a"), "folder of the 20 m and 60 m network")
    out: Path = setting(Path("data/superres"), "folder for scores.json, scores.md and picture.png")
    row_px: int | None = setting(None, "upper border of the region; centred where not given", "px of 10 m")
    column_px: int | None = setting(None, "left border of the region; centred where not given", "px of 10 m")
    side_px: int = setting(600, "side of the region, cut at the product's side", "px of 10 m")
    border_px: int = setting(
        4, "margin left out of the scores along a region's borders, where no method has pixels beyond", "px of the band"
    )
    patches: int = setting(20, "largest number of patches to measure, of a patch folder", "patches")
    precision: str = setting("float32", "number type in which the networks compute", choices=PRECISIONS)
    network_threads: int = setting(0, "on a CPU: windows computed at once, one thread each; 0 for one on each core")

    def __post_init__(self) -> None:
        for name, least in (("side_px", 72), ("border_px", 0), ("patches", 1), ("network_threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        for name in ("row_px", "column_px"):
            if (getattr(self, name) or 0) % 6 or (getattr(self, name) or 0) < 0:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be a whole number of 60 m pixels, a multiple of 6, "
                    f"got {getattr(self, name)}"
                )
