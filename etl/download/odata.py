"""Look for products by OData, in the dialect of the Copernicus Data Space: several acquisitions in one request.

Source: Copernicus Data Space Ecosystem, documentation of the OData API.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import requests

from etl.catalogue.finder import TIME_TOLERANCE
from etl.download.offer import Acquisition, Offer, offers_of, parsed
from etl.download.settings import Area
from etl.download.web import RefusedRequestError, get_json

__all__ = ["ODataCatalogue", "node_url"]

log = logging.getLogger("etl.download")

_AT_ONCE = 15
"""Acquisitions in one request: its address stays below 8,000 characters."""

_PAGE = 1000
"""Products in one answer, the most that the service gives."""

_LEVEL_2A = (
    "Collection/Name eq 'SENTINEL-2' and Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType' "
    "and att/OData.CSC.StringAttribute/Value eq 'S2MSI2A')"
)


class ODataCatalogue:
    """A catalogue that is asked by OData."""

    def __init__(self, session: requests.Session, url: str, download_url: str) -> None:
        """Args: how requests are sent; addresses of the catalogue and of the files, without a slash at the end."""
        self._session, self._url, self._download_url = session, url.rstrip("/"), download_url

    def of_acquisitions(self, wanted: Sequence[Acquisition]) -> Iterator[Offer]:
        """All Level-2A products of some acquisitions; of those of which there is none, what was deleted.

        Raises:
            ConnectionError: the service does not answer.
            RefusedRequestError: it refuses a request.
        """
        for first in range(0, len(wanted), _AT_ONCE):
            group = wanted[first : first + _AT_ONCE]
            found = list(self._products("Products", _any_of(group)))
            yield from found
            if missing := [one for one in group if not offers_of(one, found)]:
                yield from self._deleted(missing)

    def _deleted(self, missing: Sequence[Acquisition]) -> list[Offer]:
        """Products of some acquisitions that the service has deleted; none if it does not say, as nothing needs it."""
        try:
            return list(self._products("DeletedProducts", _any_of(missing)))
        except (ConnectionError, RefusedRequestError) as error:
            log.warning("%s; which products were deleted is not known", error)
            return []

    def in_area(self, area: Area, first: datetime, last: datetime, max_cloud: float) -> Iterator[Offer]:
        """All Level-2A products that touch an area, from the first to the last day, with at most some percent of cloud.

        Raises: as `of_acquisitions`.
        """
        west, south, east, north = area
        corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
        ring = ", ".join(f"{x} {y}" for x, y in corners)
        return self._products(
            "Products",
            f"{_LEVEL_2A} and OData.CSC.Intersects(area=geography'SRID=4326;POLYGON(({ring}))') "
            f"and ContentDate/Start ge {_time(first)} and ContentDate/Start lt {_time(last + timedelta(days=1))} "
            "and Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover' "
            f"and att/OData.CSC.DoubleAttribute/Value le {max_cloud:.2f})",
        )

    def _products(self, kind: str, condition: str) -> Iterator[Offer]:
        parameters = {"$filter": condition, "$orderby": "ContentDate/Start asc", "$top": str(_PAGE), "$count": "true"}
        url, skip = f"{self._url}/{kind}", 0
        while True:
            answer = get_json(self._session, url, {**parameters, "$skip": str(skip)})
            entries = answer.get("value")
            if not isinstance(entries, list):
                raise ConnectionError(f"{url}: the server must answer with a list of products named value")
            yield from filter(None, map(self._offer, entries))
            skip += len(entries)
            if not entries or "@odata.nextLink" not in answer:
                break
        if skip < int(answer.get("@odata.count") or 0):
            count = answer["@odata.count"]
            raise ValueError(f"the catalogue must list all {count} products, but ends at {skip}; ask for fewer")

    def _offer(self, entry: Any) -> Offer | None:
        """The offer in an entry of an answer; None if it is no Level-2A product of one tile."""
        if not isinstance(entry, dict):
            return None
        stem, key = str(entry.get("Name", "")).removesuffix(".SAFE"), str(entry.get("Id", ""))
        name = parsed(stem)
        if name is None:
            return None
        size = entry.get("ContentLength")
        return Offer(
            name,
            stem,
            str(entry.get("S3Path") or "").strip("/"),
            node_url(self._download_url, key, stem),
            size if isinstance(size, int) else 0,
            entry.get("Online") is not False,
            str(entry.get("DeletionCause") or "deleted") if "DeletionDate" in entry else "",
        )


def node_url(download_url: str, key: str, stem: str) -> str:
    """Address of a product's folder over HTTP."""
    return f"{download_url.rstrip('/')}/Products({quote(key, safe='')})/Nodes({quote(stem, safe='')}.SAFE)"


def _any_of(group: Sequence[Acquisition]) -> str:
    """Condition on a product: it shows one of some acquisitions."""
    one_of = " or ".join(
        f"(startswith(Name,'{one.mission}_MSIL2A_') and contains(Name,'_T{one.tile}_') "
        f"and ContentDate/Start ge {_time(one.acquired - TIME_TOLERANCE)} "
        f"and ContentDate/Start le {_time(one.acquired + TIME_TOLERANCE)})"
        for one in group
    )
    return f"Collection/Name eq 'SENTINEL-2' and ({one_of})"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"
