"""Answers of the OData services: queries of products and of deleted products, and the folders of a product."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from data_space.odata_filter import Attribute, Entry, QueryError, Value, parse_filter
from data_space.products import ServedProduct, ring_bounds

__all__ = ["node_list", "query_answer"]

_FIELDS: dict[str, type[Value]] = {
    "Id": str,
    "Name": str,
    "Collection/Name": str,
    "ContentLength": float,
    "ContentDate/Start": datetime,
    "ContentDate/End": datetime,
    "PublicationDate": datetime,
}
_KINDS: dict[str, dict[str, type[Value]]] = {
    "Products": {**_FIELDS, "Online": bool, "S3Path": str},
    "DeletedProducts": {**_FIELDS, "DeletionDate": datetime, "DeletionCause": str},
}
"""Fields that a query may name, by kind of record."""
_ORDERED = {"Id", "ContentDate/Start", "ContentDate/End", "PublicationDate", "DeletionDate"}
"""Fields by which the service orders, as its documentation lists them; Id is what it takes by itself."""
_OPTIONS = {"$filter", "$orderby", "$top", "$skip", "$expand", "$count"}
_DELETED = datetime(2024, 1, 1, tzinfo=UTC)
_DEFAULT_ROWS, _MOST_ROWS, _MOST_SKIPPED = 20, 1000, 10_000  # the service's own


def query_answer(
    kind: str, products: Iterable[ServedProduct], options: Mapping[str, str]
) -> tuple[dict[str, Any], int | None]:
    """The answer to a query of `Products` or `DeletedProducts`, and `$skip` of the next page, if there is one.

    Raises:
        QueryError: the service would refuse the query.
    """
    if options.keys() - _OPTIONS or options.get("$expand", "Attributes") != "Attributes":
        raise QueryError(f"Invalid query options: {dict(options)}")
    top = _number(options, "$top", _DEFAULT_ROWS, _MOST_ROWS)
    skip = _number(options, "$skip", 0, _MOST_SKIPPED)
    fits = parse_filter(options["$filter"], _KINDS[kind]) if "$filter" in options else lambda entry: True
    entries = {
        product.uuid: (product, _entry(product))
        for product in products
        if bool(product.deleted) == (kind == "DeletedProducts")
    }
    rows = [(product, entry) for product, entry in entries.values() if fits(entry)]
    for order in reversed(options.get("$orderby", "Id").split(",")):
        field, _, direction = order.strip().partition(" ")
        if field not in _ORDERED or direction not in ("", "asc", "desc"):
            raise QueryError(f"Invalid orderby: {order}")
        rows.sort(key=lambda row: row[1].fields[field], reverse=direction == "desc")
    expand = "$expand" in options
    answer: dict[str, Any] = {
        "@odata.context": f"$metadata#{kind}{'(Attributes())' if expand else ''}",
        "value": [_record(product, entry, expand) for product, entry in rows[skip : skip + top]],
    }
    if options.get("$count", "").lower() == "true":
        answer["@odata.count"] = len(rows)
    following = skip + top
    return answer, following if top and following < len(rows) and following <= _MOST_SKIPPED else None


def node_list(product: ServedProduct, folder: Sequence[str]) -> list[dict[str, Any]]:
    """Files and folders in a folder of a product, whose own folder is the only one in the folder without a name."""
    sizes = {(product.folder, *path.split("/")): product.size(path) for path in product.files}
    depth = len(folder)
    below: dict[str, set[str]] = {}
    for names in sizes:
        if names[:depth] == tuple(folder) and len(names) > depth:
            below.setdefault(names[depth], set()).update(names[depth + 1 : depth + 2])
    return [
        {"Id": name, "Name": name, "ContentLength": sizes.get((*folder, name), 0), "ChildrenNumber": len(children)}
        for name, children in below.items()
    ]


def _number(options: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) > most:
        raise QueryError(f"{name} must be a number from 0 to {most}, got {text}", 422)
    return int(text)


def _entry(product: ServedProduct) -> Entry:
    fields: dict[str, Value] = {
        "Id": product.uuid,
        "Name": product.folder,
        "Collection/Name": "SENTINEL-2",
        "ContentLength": sum(map(product.size, product.files)),
        "ContentDate/Start": product.acquired,
        "ContentDate/End": product.acquired,
        "PublicationDate": product.processed,
        "Online": product.online,
        "S3Path": product.s3_path,
        "DeletionDate": _DELETED,
        "DeletionCause": product.deleted,
    }
    attributes = (
        Attribute("String", "productType", product.product_type),
        Attribute("String", "tileId", product.tile),
        Attribute("String", "processorVersion", product.baseline),
        Attribute("String", "platformSerialIdentifier", product.name[2]),
        Attribute("Integer", "relativeOrbitNumber", product.orbit),
        Attribute("Double", "cloudCover", product.cloud_cover),
    )
    return Entry(fields, ring_bounds(product.footprint), attributes)


def _record(product: ServedProduct, entry: Entry, expand: bool) -> dict[str, Any]:
    """JSON of a product; its checksum is that of an archive that nobody can fetch here, so any text will do."""
    acquired, published = _time(product.acquired), _time(product.processed)
    ring = ", ".join(f"{longitude} {latitude}" for longitude, latitude in product.footprint)
    checksum = hashlib.md5(product.name.encode()).hexdigest()
    state: dict[str, Any] = {"DeletionDate": _time(_DELETED), "DeletionCause": product.deleted}
    if not product.deleted:
        state = {"Online": product.online, "EvictionDate": "9999-12-31T23:59:59.999999Z", "S3Path": product.s3_path}
    record = {
        "@odata.mediaContentType": "application/octet-stream",
        "Id": product.uuid,
        "Name": product.folder,
        "ContentType": "application/octet-stream",
        "ContentLength": entry.fields["ContentLength"],
        "OriginDate": published,
        "PublicationDate": published,
        "ModificationDate": published,
        **state,
        "Checksum": [{"Value": checksum, "Algorithm": "MD5", "ChecksumDate": published}],
        "ContentDate": {"Start": acquired, "End": acquired},
        "Footprint": f"geography'SRID=4326;POLYGON (({ring}))'",
        "GeoFootprint": {"type": "Polygon", "coordinates": [[list(point) for point in product.footprint]]},
    }
    if expand:
        record["Attributes"] = [
            {"@odata.type": f"#OData.CSC.{kind}Attribute", "Name": name, "Value": value, "ValueType": kind}
            for kind, name, value in entry.attributes
        ]
    return record


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
