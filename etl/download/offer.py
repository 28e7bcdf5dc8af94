"""Products that a service offers, and which of them serve an acquisition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from etl.catalogue.finder import TIME_TOLERANCE, FoundProduct, newest_first
from etl.catalogue.names import ProductName, is_product, parse_product

__all__ = ["Acquisition", "Offer", "acquisition_of", "best_offers", "offers_of", "parsed"]


class Acquisition(NamedTuple):
    """One pass of a satellite over one tile."""

    mission: str
    """S2A, S2B, S2C or S2D."""

    acquired: datetime
    """Sensing time of the data take, UTC."""

    tile: str
    """MGRS tile, e.g. 33UUP."""

    def __str__(self) -> str:
        return f"{self.mission} {self.acquired:%Y-%m-%dT%H:%M:%S} T{self.tile}"


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as a service lists it."""

    name: ProductName
    """Parts of its name."""

    stem: str
    """Its name, without .SAFE."""

    s3_path: str
    """Bucket and key of its folder, without a slash at either end; empty if the service does not say."""

    node_url: str
    """Address of its folder over HTTP, to which the paths of files are added as `/Nodes(...)`."""

    size_bytes: int = 0
    """Bytes of the whole product; 0 if the service does not say."""

    is_online: bool = True
    """Whether it can be fetched now."""

    deleted: str = ""
    """Why the service has deleted it; empty if it has not."""


def acquisition_of(name: ProductName) -> Acquisition:
    """The acquisition that a product shows."""
    return Acquisition(name.mission, name.acquired, name.tile)


def offers_of(wanted: Acquisition, offers: Iterable[Offer]) -> list[Offer]:
    """Offers of an acquisition, in the order in which extraction takes products: newest baseline first."""
    group = {
        offer.stem: offer
        for offer in offers
        if (offer.name.mission, offer.name.tile) == (wanted.mission, wanted.tile)
        and abs(offer.name.acquired - wanted.acquired) <= TIME_TOLERANCE
    }
    ordered = newest_first(FoundProduct(Path(f"{stem}.SAFE"), offer.name, stem) for stem, offer in group.items())
    return [group[product.stem] for product in ordered]


def best_offers(offers: Sequence[Offer]) -> list[Offer]:
    """Of the offers of an acquisition, in order, all with the newest baseline of which any is online.

    An acquisition can be split into products that each hold a part of the tile; some of them can be offline.
    """
    newest = next((offer.name.baseline for offer in offers if offer.is_online and not offer.deleted), None)
    return [offer for offer in offers if offer.name.baseline == newest and not offer.deleted]


def parsed(stem: str) -> ProductName | None:
    """Parts of the name of a Level-2A product of one tile; None if it is not the name of one."""
    if not is_product(stem):
        return None
    name = parse_product(stem)
    return name if name.level == "2A" and name.tile else None
