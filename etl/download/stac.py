"""Look for products by STAC, with pystac-client: one request an acquisition.

Source: STAC API specification 1.0; items of the collection sentinel-2-l2a of the Copernicus Data Space.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pystac_client import Client
from pystac_client.stac_api_io import StacApiIO

from etl.catalogue.finder import TIME_TOLERANCE
from etl.download.offer import Acquisition, Offer, parsed
from etl.download.settings import Area
from etl.download.web import TIMEOUTS_S, new_session, shown

__all__ = ["StacCatalogue"]

_COLLECTION = "sentinel-2-l2a"

_ASSETS = ("safe_manifest", "product_metadata")
"""Assets that lie in the product's own folder."""

_WHOLE = "Product"
"""Asset that is the product as one zip file."""


class StacCatalogue:
    """A catalogue that is asked by STAC."""

    def __init__(self, url: str, attempts: int) -> None:
        """Open the catalogue, to try each request up to `attempts` times.

        Raises:
            ConnectionError: it does not answer as it should.
        """
        self._url = url
        io = StacApiIO(timeout=TIMEOUTS_S)
        io.session = new_session(attempts)
        self._client = self._answer(lambda: Client.open(url, stac_io=io))

    def of_acquisitions(self, wanted: Sequence[Acquisition]) -> Iterator[Offer]:
        """All Level-2A products of some acquisitions.

        Raises:
            ConnectionError: the service does not answer as it should.
        """
        for one in wanted:
            period = (one.acquired - TIME_TOLERANCE, one.acquired + TIME_TOLERANCE)
            yield from self._search(datetime=period, query={"grid:code": {"eq": f"MGRS-{one.tile}"}})

    def in_area(self, area: Area, first: datetime, last: datetime, max_cloud: float) -> Iterator[Offer]:
        """All Level-2A products that touch an area, from the first to the last day, with at most some percent of cloud.

        Raises: as `of_acquisitions`.
        """
        period = (first, last + timedelta(days=1) - timedelta(seconds=1))
        return self._search(bbox=area, datetime=period, query={"eo:cloud_cover": {"lte": max_cloud}})

    def _search(self, **conditions: Any) -> Iterator[Offer]:
        items = self._answer(
            lambda: list(self._client.search(collections=[_COLLECTION], limit=100, **conditions).items_as_dicts())
        )
        return filter(None, map(_offer, items))

    def _answer(self, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:  # what a server answers can fail anywhere in pystac
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ConnectionError(f"{shown(self._url)}: the server does not answer as it should ({reason})") from None


def _offer(item: dict[str, Any]) -> Offer | None:
    """The offer in an item; None if it is no Level-2A product of one tile, or does not say where it lies."""
    stem = str(item.get("id", "")).removesuffix(".SAFE")
    name, assets, properties = parsed(stem), item.get("assets") or {}, item.get("properties") or {}
    own = [assets[key] for key in _ASSETS if key in assets]
    if name is None or not own:
        return None
    s3 = re.fullmatch(r"s3://(.+)/[^/]+", str(own[0].get("href", "")))
    alternate = (own[0].get("alternate") or {}).get("https") or {}
    web = re.fullmatch(r"(https?://.+)/Nodes\([^/]+\)/\$value", str(alternate.get("href", "")))
    sizes = {key: asset.get("file:size") for key, asset in assets.items() if isinstance(asset.get("file:size"), int)}
    size = sizes.get(_WHOLE) or sum(sizes.values())
    online = properties.get("order:status", "succeeded") in ("succeeded", None)
    return Offer(name, stem, s3[1] if s3 else "", web[1] if web else "", size, online)
