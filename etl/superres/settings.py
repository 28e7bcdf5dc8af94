"""Settings of `etl.superres`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_at_least, require_within, setting
from etl.upsample.method import PRECISIONS

__all__ = ["ConvertWeightsSettings", "FetchWeightsSettings", "SuperresSettings"]


@dataclass(frozen=True, slots=True)
class FetchWeightsSettings:
    """Download the published DSen2 weights, check their hashes, and put them into l1c/ and l2a/ below --out."""

    out: Path = setting(Path("data/weights"), "folder for the weights")


@dataclass(frozen=True, slots=True)
class ConvertWeightsSettings:
    """Rewrite a weights file as plain HDF5: arrays and parameters, without the pickled code of old Keras files."""

    file: Path = setting(Path("data/weights/l2a/l2a_dsen2_20m_s2_038_lr_1e-04.hdf5"), "weights file to convert")
    level: str = setting(
        "",
        "processing level that the network was trained on, if the file's name does not tell it",
        choices=("", "L1C", "L2A"),
    )
    out: Path = setting(Path("data/weights/dsen2_20m.h5"), "weights file to write")

    def __post_init__(self) -> None:
        if self.out.suffix != ".h5":
            raise ValueError(f"--out must end in .h5, got {self.out}")


@dataclass(frozen=True, slots=True)
class SuperresSettings:
    """Measure DSen2, bilinear and bicubic upsampling: error by Wald's protocol, consistency with the native pixels."""

    source: Path = setting(
        Path("data/tiles"),
        "one Level-2A product (.SAFE, .zarr or .zip), a folder with exactly one, or a folder of BigEarthNet patches",
    )
    weights: Path = setting(Path("data/weights/l2a"), "folder of the weights for 20 m and 60 m bands")
    out: Path = setting(Path("data/superres"), "folder to write scores.json, scores.md and picture.png to")
    row_px: int | None = setting(None, "first row of the region; centred if not given", "px of 10 m")
    column_px: int | None = setting(None, "first column of the region; centred if not given", "px of 10 m")
    side_px: int = setting(600, "side of the region to measure; at most the whole product", "px of 10 m")
    border_px: int = setting(
        4, "width of the region's margin that is not scored, as pixels beyond it are missing", "px of the band"
    )
    patches: int = setting(20, "with a folder of patches: number of patches to measure, at most", "patches")
    precision: str = setting("float32", "number type of the networks' arithmetic", choices=PRECISIONS)
    network_threads: int = setting(0, "on a CPU: windows computed at once, one thread each; 0 = one per core")
    allow_links: tuple[Path, ...] = setting(
        (), "folder into which links in --source may lead, beside --source itself; can be given several times"
    )

    def __post_init__(self) -> None:
        require_at_least(self, side_px=72, border_px=0, patches=1)
        require_within(self, network_threads=(0, 1024))
        for flag, at in (("--row-px", self.row_px), ("--column-px", self.column_px)):
            if at is not None and (at % 6 or at < 0):
                raise ValueError(f"{flag} must be a whole number of 60 m pixels, a multiple of 6, got {at}")
