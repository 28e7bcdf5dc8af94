"""A STAC API over products in memory, made with stac-fastapi and run by uvicorn in a thread."""

import json
import logging
import operator
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import attr
import uvicorn
from fastapi import Request
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import create_get_request_model, create_post_request_model
from stac_fastapi.extensions.pagination import TokenPaginationExtension
from stac_fastapi.extensions.query import QueryExtension
from stac_fastapi.types import config
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.errors import InvalidQueryParameter, NotFoundError
from stac_fastapi.types.links import CollectionLinks, ItemLinks
from stac_fastapi.types.rfc3339 import str_to_interval
from stac_fastapi.types.search import BaseSearchPostRequest
from stac_fastapi.types.stac import Collection, Collections, Item, ItemCollection

from data_space.products import Bounds, ServedProduct, meets, ring_bounds

__all__ = ["stac_server"]

logging.getLogger(config.__name__).setLevel(logging.ERROR)  # it warns of titles that are not set

_COLLECTION = "sentinel-2-l2a"
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


@contextmanager
def stac_server(products: Iterable[ServedProduct], download_url: str) -> Iterator[str]:
    """URL of a STAC API of the products that are not deleted, whose files are at `download_url`, while in use."""
    extensions = [QueryExtension(), TokenPaginationExtension()]
    settings = ApiSettings(
        stac_fastapi_title="Data space",
        stac_fastapi_description="Sentinel-2 products",
        stac_fastapi_version="1.0",
        stac_fastapi_landing_id="data-space",
    )
    items = [_item(product, download_url) for product in products if not product.deleted]
    api = StacApi(
        settings=settings,
        client=_Catalogue(items=items),
        extensions=extensions,
        search_get_request_model=create_get_request_model(extensions),
        search_post_request_model=create_post_request_model(extensions),
    )
    # no log_config: to set one closes all handlers of `logging`, and absl's then closes what pytest writes to
    server = uvicorn.Server(uvicorn.Config(api.app, log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@attr.s(auto_attribs=True)
class _Catalogue(BaseCoreClient):
    """Items in memory."""

    items: list[Item] = attr.ib(factory=list)

    def post_search(self, search_request: BaseSearchPostRequest, **kwargs: Any) -> ItemCollection:
        return self._search(search_request.model_dump(mode="json", exclude_none=True), kwargs["request"], "POST")

    def get_search(self, *args: Any, **kwargs: Any) -> ItemCollection:
        request = kwargs.pop("request")
        wanted = {name: value for name, value in kwargs.items() if value is not None}
        for name in wanted.keys() & {"query", "intersects"}:
            wanted[name] = json.loads(wanted[name])
        return self._search(wanted, request, "GET")

    def item_collection(self, collection_id: str, *args: Any, **kwargs: Any) -> ItemCollection:
        return self.get_search(collections=[collection_id], **kwargs)

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Item:
        found = self._search({"ids": [item_id], "collections": [collection_id]}, kwargs["request"], "GET")["features"]
        if not found:
            raise NotFoundError(f"{collection_id} has no item {item_id}")
        return found[0]

    def all_collections(self, **kwargs: Any) -> Collections:
        return Collections(collections=[self.get_collection(_COLLECTION, **kwargs)], links=[])

    def get_collection(self, collection_id: str, **kwargs: Any) -> Collection:
        if collection_id != _COLLECTION:
            raise NotFoundError(f"no collection {collection_id}")
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
        }
        return Collection(
            type="Collection",
            stac_version=self.stac_version,
            id=_COLLECTION,
            description="Sentinel-2 Level-2A",
            license="other",
            keywords=[],
            providers=[],
            extent=extent,
            summaries={},
            assets={},
            links=CollectionLinks(collection_id=_COLLECTION, base_url=str(kwargs["request"].base_url)).create_links(),
        )

    def _search(self, wanted: dict[str, Any], request: Request, method: str) -> ItemCollection:
        try:
            items = [item for item in self.items if _fits(item, wanted)]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidQueryParameter(f"search not understood: {wanted}") from error
        start = int(wanted.get("token", "next:0").removeprefix("next:"))
        stop = start + wanted.get("limit", 10)
        base_url = str(request.base_url)
        links = [{"rel": "root", "type": "application/json", "href": base_url}]
        if stop < len(items):
            links.append(_next_link(f"{base_url}search", {**wanted, "token": f"next:{stop}"}, method))
        page = [item.copy() for item in items[start:stop]]
        for item in page:
            item["links"] = ItemLinks(collection_id=_COLLECTION, base_url=base_url, item_id=item["id"]).create_links()
        return ItemCollection(
            type="FeatureCollection", features=page, links=links, numberMatched=len(items), numberReturned=len(page)
        )


def _fits(item: Item, wanted: Mapping[str, Any]) -> bool:
    """Whether an item is what a search wants."""
    properties = item["properties"]
    acquired = datetime.fromisoformat(properties["datetime"])
    interval = str_to_interval(wanted.get("datetime"))
    first, last = interval if isinstance(interval, tuple) else (interval, interval)
    return (
        item["id"] in wanted.get("ids", [item["id"]])
        and _COLLECTION in wanted.get("collections", [_COLLECTION])
        and all(meets(area, other) for area in _areas(item) for other in _areas(wanted))
        and (first is None or first <= acquired)
        and (last is None or acquired <= last)
        and all(
            # pystac-client sends the number in "eo:cloud_cover<20" as text
            _COMPARE[word](properties[name], type(properties[name])(value))
            for name, comparisons in wanted.get("query", {}).items()
            for word, value in comparisons.items()
        )
    )


def _areas(wanted: Mapping[str, Any]) -> Iterator[Bounds]:
    """Bounding boxes of the areas that a search or an item names."""
    if "bbox" in wanted:
        west, south, *rest = wanted["bbox"]
        east, north = rest if len(rest) == 2 else rest[1:3]  # with heights between
        yield west, south, east, north
    if "intersects" in wanted:
        yield ring_bounds(tuple(_points(wanted["intersects"]["coordinates"])))


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    if isinstance(coordinates[0], list):
        for part in coordinates:
            yield from _points(part)
    else:
        yield coordinates[0], coordinates[1]


def _next_link(url: str, wanted: dict[str, Any], method: str) -> dict[str, Any]:
    link = {"rel": "next", "type": "application/geo+json", "method": method, "href": url}
    if method == "POST":
        return {**link, "body": wanted, "merge": False}
    words = {
        name: json.dumps(value) if isinstance(value, dict) else ",".join(map(str, value))
        for name, value in wanted.items()
        if isinstance(value, dict | list | tuple)
    }
    return {**link, "href": f"{url}?{urlencode({**wanted, **words})}"}


def _item(product: ServedProduct, download_url: str) -> Item:
    def asset(file: str) -> dict[str, Any]:
        folder = f"{download_url}/Products({product.uuid})/Nodes({quote(product.folder)})"
        return {
            "href": f"s3:/{product.s3_path}/{file}",
            "roles": ["metadata"],
            "alternate": {"https": {"href": f"{folder}/Nodes({quote(file)})/$value"}},
        }

    extensions = ("alternate-assets/v1.2.0", "eo/v1.1.0", "grid/v1.1.0", "processing/v1.2.0", "product/v0.1.0")
    return Item(
        type="Feature",
        stac_version="1.1.0",
        stac_extensions=[f"https://stac-extensions.github.io/{name}/schema.json" for name in extensions],
        id=product.name,
        collection=_COLLECTION,
        geometry={"type": "Polygon", "coordinates": [[list(point) for point in product.footprint]]},
        bbox=ring_bounds(product.footprint),
        properties={
            "datetime": f"{product.acquired:%Y-%m-%dT%H:%M:%S.%fZ}",
            "eo:cloud_cover": product.cloud_cover,
            "grid:code": f"MGRS-{product.tile}",
            "processing:version": product.baseline,
            "product:type": product.product_type,
        },
        links=[],
        assets={
            "safe_manifest": asset("manifest.safe"),
            "product_metadata": asset(f"MTD_{product.name.split('_')[1]}.xml"),
        },
    )
