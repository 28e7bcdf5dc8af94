"""Settings of `etl.preview`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting

__all__ = ["CARD_COLUMNS", "PreviewSettings"]

CARD_COLUMNS = 3
"""Patches side by side."""


@dataclass(frozen=True, slots=True)
class PreviewSettings:
    """Draw a contact sheet of a store: patches in true and false colour with their labels, and a map of each tile."""

    store: Path = setting(Path("data/store.h5"), "store to draw (.h5 or .zarr)")
    out: Path = setting(Path("data/preview.png"), "picture to write (PNG); an older one is replaced")
    catalogue: Path | None = setting(
        None, "the store's catalogue, to show patches left out; by default the one that the store was made from"
    )
    patches: int = setting(12, "patches to show, chosen at random from equal parts of the store", "patches")
    tile: str = setting("", "show only this MGRS tile, e.g. 33UUP; by default up to four tiles")
    seed: int = setting(0, "seed of the random choice of patches")
    width: int = setting(1600, "width of the picture; the height follows from the content", "px")

    def __post_init__(self) -> None:
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out must end in .png, got {self.out}")
        if not 1 <= self.patches <= 60:
            raise ValueError(f"--patches must lie in [1, 60], got {self.patches}")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative, got {self.seed}")
        if not 600 <= self.width <= 8000:
            raise ValueError(f"--width must lie in [600, 8000] px, got {self.width}")
