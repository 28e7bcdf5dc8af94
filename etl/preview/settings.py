"""Settings of `etl.preview`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import require_at_least, require_within, setting
from etl.store.location import DEFAULT_STORE, Location

__all__ = ["CARD_COLUMNS", "PreviewSettings"]

CARD_COLUMNS = 3
"""Patches side by side."""


@dataclass(frozen=True, slots=True)
class PreviewSettings:
    """Draw a contact sheet of a store: patches in true and false colour with their labels, and a map of each tile."""

    store: Location = setting(DEFAULT_STORE, "store to draw (.h5, .hdf5, .zarr, or s3://BUCKET/NAME.zarr)")
    out: Path = setting(Path("data/preview.png"), "PNG file to write; an existing one is replaced")
    catalogue: Path | None = setting(
        None, "catalogue that lists patches left out; if not given, the one that the store was made from"
    )
    patches: int = setting(12, "patches to show, chosen at random, evenly over the rows of the store", "patches")
    tile: str = setting("", "show only this MGRS tile, such as 33UUP; empty = the first tiles, at most four")
    seed: int = setting(0, "seed of the random choice of patches")
    width: int = setting(1600, "width of the picture; its height depends on the content", "px")

    def __post_init__(self) -> None:
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out must end in .png, got {self.out}")
        require_within(self, patches=(1, 60), width=(600, 8000))
        require_at_least(self, seed=0)
