"""A Croissant description of a store, which data loaders and search engines for data sets read.

It describes the table of patches field by field, and names the store.

Source: Croissant Format Specification 1.0, MLCommons.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.describe.settings import DescribeSettings
from etl.describe.summary import Summary

__all__ = ["write_croissant"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_ABOUT = {
    "row": "row of the store",
    "patch": "name of the patch",
    "tile": "MGRS tile",
    "product": "Level-2A product that the pixels are from, or the patch archive's own",
    "baseline": "processing baseline of the product",
    "split": "published split: train, val, test or none",
    "acquired": "sensing time, UTC",
    "epsg": "EPSG code of the UTM projection",
    "ulx": "easting of the upper left corner in m",
    "uly": "northing of the upper left corner in m",
    "nodata_share": "share of pixels without data in at least one band, 0 to 1",
    "cloud_share": "share of cloud and cloud shadow among pixels with data, 0 to 1",
    "snow_share": "share of snow among pixels with data, 0 to 1",
    "labels": "names of the classes",
}
"""Columns of the table that are described; geometry and bounding box follow from the corner."""


def write_croissant(path: Path, patches: Path, summary: Summary, settings: DescribeSettings, address: str) -> None:
    """Write the description; `patches`: the table of footprints, in the same folder; `address`: where the store is."""
    table, period = pq.read_schema(patches), summary.period
    with patches.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    description: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": settings.title,
        "description": settings.about,
        "version": settings.version,
        **({} if settings.licence == "other" else {"license": f"https://spdx.org/licenses/{settings.licence}"}),
        **({"url": address} if "://" in address else {}),
        "datePublished": f"{datetime.now(UTC):%Y-%m-%d}",
        **({"temporalCoverage": "/".join(f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in period)} if period else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": patches.name,
                "name": patches.name,
                "contentUrl": patches.name,
                "encodingFormat": "application/x-parquet",
                "sha256": digest,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "patches",
                "name": "patches",
                "description": "one record for each patch, in the order of the store's rows",
                "key": {"@id": "patches/row"},
                "field": [
                    _field(patches.name, table.field(name), about)
                    for name, about in _ABOUT.items()
                    if name in table.names
                ],
            }
        ],
    }
    if settings.creator:
        description["creator"] = {"@type": "sc:Organization", "name": settings.creator}
    if settings.citation:
        description["citeAs"] = settings.citation
    path.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _field(file: str, column: pa.Field, about: str) -> dict[str, Any]:
    """A column of the table."""
    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    if pa.types.is_integer(kind):
        name = "sc:Integer"
    elif pa.types.is_floating(kind):
        name = "sc:Float"
    else:
        name = "sc:DateTime" if pa.types.is_timestamp(kind) else "sc:Text"
    return {
        "@type": "cr:Field",
        "@id": f"patches/{column.name}",
        "name": column.name,
        "description": about,
        "dataType": name,
        **({"repeated": True} if pa.types.is_list(column.type) else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }
