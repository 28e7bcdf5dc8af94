"""A STAC collection of a store, with an item for each tile, written with pystac.

Source: STAC 1.1.0; extensions projection 2.0.0, raster 2.0.0, eo 2.0.0, mgrs 1.0.0, version 1.2.0, scientific 1.0.0.
"""

from pathlib import Path
from typing import Any

import pystac

from etl.bands import BAND_BY_NAME
from etl.describe.settings import DescribeSettings
from etl.describe.summary import Summary, Tile
from etl.pixel_groups import SENTINEL1_GROUP
from etl.schema import Schema

__all__ = ["write_collection"]

_EXTENSIONS = "https://stac-extensions.github.io/{}/schema.json"

_BAND_EXTENSIONS = ("eo/v2.0.0", "raster/v2.0.0")
"""Extensions of the fields of bands."""

_COMMON_NAMES = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}
"""Common names of the bands, as the extension eo has them."""

_MEDIA_TYPES = {".h5": "application/x-hdf5", ".hdf5": "application/x-hdf5", ".zarr": "application/vnd.zarr; version=3"}


def write_collection(folder: Path, summary: Summary, schema: Schema, settings: DescribeSettings, address: str) -> None:
    """Write collection.json, and an item for each tile in a folder of its own; `address`: where the store is."""
    collection = _collection(summary, settings, bool(schema.sentinel1_bytes))
    store = _store_asset(schema, settings, address)
    collection.add_asset("store", store.clone())
    collection.add_asset("patches", _patches_asset("patches.parquet"))
    for tile in summary.tiles:
        item = _item(tile, summary)
        relative = address if "://" in address else f"../{address}"
        item.add_asset("store", _store_asset(schema, settings, relative))
        collection.add_item(item)
    collection.normalize_hrefs(str(folder))
    collection.save(pystac.CatalogType.SELF_CONTAINED, dest_href=str(folder))


def _collection(summary: Summary, settings: DescribeSettings, has_sentinel1: bool) -> pystac.Collection:
    extent = pystac.Extent(
        pystac.SpatialExtent([list(summary.bounds or ())]), pystac.TemporalExtent([list(summary.period or ())])
    )
    extra: dict[str, Any] = {"version": settings.version}
    extensions = [_EXTENSIONS.format(name) for name in ("version/v1.2.0", *_BAND_EXTENSIONS)]
    if any(summary.baselines):
        extensions.append(_EXTENSIONS.format("processing/v1.2.0"))
    if settings.citation:
        extra["sci:citation"] = settings.citation
        extensions.append(_EXTENSIONS.format("scientific/v1.0.0"))
    providers = [
        pystac.Provider(
            "ESA", roles=[pystac.ProviderRole.PRODUCER, pystac.ProviderRole.LICENSOR], url="https://esa.int"
        )
    ]
    if settings.creator:
        providers.append(pystac.Provider(settings.creator, roles=[pystac.ProviderRole.PROCESSOR]))
    radar = ["Sentinel-1"] if has_sentinel1 else []
    summaries = pystac.Summaries(
        {
            "platform": sorted({f"sentinel-{name[1:3].lower()}" for name in summary.columns["product"] if name}),
            "constellation": ["sentinel-2", *(name.lower() for name in radar)],
            "instruments": ["msi", *(["c-sar"] if radar else [])],
            **({"processing:version": known} if (known := sorted(filter(None, summary.baselines))) else {}),
        }
    )
    return pystac.Collection(
        _identifier(settings.title),
        settings.about,
        extent,
        settings.title,
        extensions,
        extra_fields=extra,
        license=settings.licence,
        keywords=["Sentinel-2", *radar, "Level-2A", "land cover", "machine learning"],
        providers=providers,
        summaries=summaries,
    )


def _identifier(title: str) -> str:
    """The title as an identifier: lower-case letters, digits and dashes."""
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in title.lower()).split()) or "patches"


def _item(tile: Tile, summary: Summary) -> pystac.Item:
    west, south, east, north = tile.bounds_m
    longitudes, latitudes = tile.ring.T
    bbox = [longitudes.min(), latitudes.min(), longitudes.max(), latitudes.max()]
    return pystac.Item(
        f"T{tile.name}",
        {"type": "Polygon", "coordinates": [tile.ring.tolist()]},
        [float(side) for side in bbox],
        None,
        {
            "proj:code": f"EPSG:{tile.epsg}",
            "proj:bbox": [west, south, east, north],
            "mgrs:utm_zone": int(tile.name[:2]),
            "mgrs:latitude_band": tile.name[2],
            "mgrs:grid_square": tile.name[3:],
            "patches": len(tile.rows),
            "first_row": int(tile.rows[0]),
            "last_row": int(tile.rows[-1]),
            "products": list(tile.products),
        },
        start_datetime=tile.first,
        end_datetime=tile.last,
        stac_extensions=[_EXTENSIONS.format(name) for name in ("projection/v2.0.0", "mgrs/v1.0.0", *_BAND_EXTENSIONS)],
    )


def _store_asset(schema: Schema, settings: DescribeSettings, address: str) -> pystac.Asset:
    """The store, with its bands in the order of each array."""
    bands = [
        _band(name, group.name, item)
        for group, item in zip(schema.groups, schema.pixels, strict=True)
        for name in group.bands
    ]
    return pystac.Asset(
        address,
        "store of patches",
        "HDF5 file or Zarr group; python -m etl.verify checks it, etl.open_store opens it with xarray",
        _MEDIA_TYPES[settings.store.suffix],
        ["data"],
        {"bands": bands},
    )


def _band(name: str, group: str, item: Any) -> dict[str, Any]:
    """A band of a pixel array."""
    if group == SENTINEL1_GROUP.name:
        return {
            "name": f"data_{group}/{name}",
            "gsd": SENTINEL1_GROUP.gsd_m,
            "data_type": "float32",
            "nodata": "nan",
            "unit": "dB",
            "raster:spatial_resolution": SENTINEL1_GROUP.gsd_m,
        }
    band = BAND_BY_NAME[name]
    gsd_m = 10 if group == "super" else band.gsd_m
    return {
        "name": f"data_{group}/{name}",
        "gsd": band.gsd_m,
        "data_type": "uint16",
        "nodata": item.nodata,
        "eo:common_name": _COMMON_NAMES[name],
        "eo:center_wavelength": round(band.centre_nm / 1000, 4),
        "raster:scale": 0.0001,
        "raster:offset": 0,
        "raster:spatial_resolution": gsd_m,
    }


def _patches_asset(address: str) -> pystac.Asset:
    return pystac.Asset(
        address, "footprints, labels and splits of all patches", None, "application/vnd.apache.parquet", ["metadata"]
    )
