"""Settings of `etl.describe`."""

import re
from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting
from etl.store.location import DEFAULT_STORE, Location

__all__ = ["DescribeSettings"]


@dataclass(frozen=True, slots=True)
class DescribeSettings:
    """Describe a store of Sentinel-2 patches: a STAC collection, GeoParquet, Croissant and a data card.

    --out gets collection.json with an item for each tile, patches.parquet with a footprint for each patch,
    croissant.json, and the data card README.md.
    """

    store: Location = setting(DEFAULT_STORE, "store to describe (.h5, .hdf5, .zarr, or s3://BUCKET/NAME.zarr)")
    out: Path = setting(Path("data/description"), "folder to write; an existing one is replaced")
    title: str = setting("", "name of the data set; if not given, the store's own")
    about: str = setting("", "what the data set is, in a sentence or two")
    licence: str = setting("other", "its licence, as an SPDX identifier such as CC-BY-4.0, or other")
    creator: str = setting("", "organisation that made it")
    citation: str = setting("", "how to cite it")
    address: str = setting("", "where the store is published, a URL; if not given, its path relative to --out")
    version: str = setting("1.0.0", "version of the data set")

    def __post_init__(self) -> None:
        for name in ("title", "creator", "citation", "version"):
            if "\n" in getattr(self, name):
                raise ValueError(f"--{name} must be one line")
        if not re.fullmatch(r"[A-Za-z0-9.+-]+", self.licence):
            raise ValueError(f"--licence must be an SPDX identifier, such as CC-BY-4.0, or other, got {self.licence!r}")
        if self.address and not re.fullmatch(r"[a-z0-9]+://\S+", self.address):
            raise ValueError(f"--address must be a URL, such as https://example.org/store.h5, got {self.address!r}")
