"""Compose the metadata files of a Level-2A SAFE product, in the vocabulary of its time.

Elements are named as in the specification in force since 2018; `_serialise` renames them to those of Sen2Cor 2.4 and
2.5, which BigEarthNet's products have. Angles, spectral responses and processing parameters are left out as unused.
Source: ESA, S2-PDGS-TAS-DI-PSD, issues 14.2 and later; two products' metadata as published by stactools (sentinel2),
and the product of 2017 in GDAL's test data (`autotest/gdrivers/data/sentinel2/fake_l2a_MSIL2Ap`).
"""

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import BANDS
from etl.grid import TileGrid
from etl.sample.footprint import footprint
from etl.sample.product import ProductSpec, iso
from etl.tables import read_table

__all__ = ["datastrip_metadata", "product_manifest", "product_metadata", "tile_metadata"]

_SCL = [(row["name"], row["share"]) for row in read_table(__file__, "scene_classes.csv")]
"""Name of each scene class by index, and of its share of the tile."""

_OLD_TAGS = {row["tag"]: row["old_tag"] for row in read_table(__file__, "old_tags.csv")}
_OLD_TEXTS = {row["text"]: row["old_text"] for row in read_table(__file__, "old_texts.csv")}
"""Names that Sen2Cor 2.4 and 2.5 gave to elements, and texts in them."""


def node(tag: str, *inside: ET.Element | str | float, at: dict[str, str] | None = None) -> ET.Element:
    """An element with a text or with children."""
    out = ET.Element(tag, at or {})
    for item in inside:
        if isinstance(item, ET.Element):
            out.append(item)
        else:
            out.text = str(item)
    return out


def product_metadata(spec: ProductSpec, images: Iterable[str], grid: TileGrid, scl: npt.NDArray[np.uint8]) -> bytes:
    """`MTD_MSIL2A.xml`; `images` are paths of image files without suffix, `scl` scene classes, shape (row, col)."""
    general = node("n1:General_Info", _product_info(spec, list(images)), _image_characteristics(spec))
    corners = " ".join(f"{angle:.9f}" for angle in footprint(grid))
    place = node("Global_Footprint", node("EXT_POS_LIST", corners))
    geometric = node(
        "n1:Geometric_Info",
        node("Product_Footprint", node("Product_Footprint", place), node("RASTER_CS_TYPE", "POINT")),
        node("Coordinate_Reference_System", node("GEO_TABLES", "EPSG", at={"version": "1"})),
    )
    cloudy = float(np.isin(scl, (8, 9, 10)).sum()) / max(1, int((scl != 0).sum()))
    quality = node("n1:Quality_Indicators_Info", node("Cloud_Coverage_Assessment", f"{100 * cloudy:.6f}"))
    root = _root("Level-2A_User_Product", "User_Product_Level-2A", 14)
    root.extend([general, geometric, node("n1:Auxiliary_Data_Info"), quality])
    return _serialise(root, spec)


def _product_info(spec: ProductSpec, images: list[str]) -> ET.Element:
    datatake = node(
        "Datatake",
        node("SPACECRAFT_NAME", f"Sentinel-{spec.mission[1:]}"),
        node("DATATAKE_TYPE", "INS-NOBS"),
        node("DATATAKE_SENSING_START", iso(spec.sensed)),
        node("SENSING_ORBIT_NUMBER", spec.relative_orbit),
        node("SENSING_ORBIT_DIRECTION", "DESCENDING"),
        at={"datatakeIdentifier": spec.datatake},
    )
    uris = [node("PRODUCT_URI", spec.name)]
    if spec.old_form:
        uris.insert(0, node("PRODUCT_URI_1C", spec.product_name("MSIL1C", spec.baseline, spec.datastrip)))
    return node(
        "Product_Info",
        node("PRODUCT_START_TIME", iso(spec.sensed)),
        node("PRODUCT_STOP_TIME", iso(spec.sensed)),
        *uris,
        node("PROCESSING_LEVEL", "Level-2A"),
        node("PRODUCT_TYPE", "S2MSI2A"),
        node("PROCESSING_BASELINE", spec.baseline),
        node("GENERATION_TIME", iso(spec.generated)),
        node("PREVIEW_IMAGE_URL", "Not applicable"),
        node("PREVIEW_GEO_INFO", "Not applicable"),
        datatake,
        node("Query_Options", node("PRODUCT_FORMAT", "SAFE_COMPACT"), at={"completeSingleTile": "true"}),
        node("Product_Organisation", *_granules(spec, images)),
    )


def _granules(spec: ProductSpec, images: list[str]) -> list[ET.Element]:
    """One list of images; in the old form one a resolution, coarsest first."""
    folders = ("R60m", "R20m", "R10m")
    lists = [[i for i in images if f"/{folder}/" in i] for folder in folders] if spec.old_form else [images]
    at = {
        "datastripIdentifier": spec.item("DS"),
        "granuleIdentifier": spec.item("TL"),
        "imageFormat": "JPEG2000",
    }
    return [node("Granule_List", node("Granule", *(node("IMAGE_FILE", i) for i in part), at=at)) for part in lists]


def _image_characteristics(spec: ProductSpec) -> ET.Element:
    special = [
        node("Special_Values", node("SPECIAL_VALUE_TEXT", text), node("SPECIAL_VALUE_INDEX", value))
        for text, value in (("NODATA", 0), ("SATURATED", 65535))
    ]
    order = [node(f"{colour}_CHANNEL", place) for colour, place in (("RED", 3), ("GREEN", 2), ("BLUE", 1))]
    quantification = node(
        "QUANTIFICATION_VALUES_LIST",
        node("BOA_QUANTIFICATION_VALUE", spec.quantification, at={"unit": "none"}),
        node("AOT_QUANTIFICATION_VALUE", "1000.0", at={"unit": "none"}),
        node("WVP_QUANTIFICATION_VALUE", "1000.0", at={"unit": "cm"}),
    )
    offsets = [node("BOA_ADD_OFFSET", value, at={"band_id": str(k)}) for k, value in enumerate(spec.offsets)]
    classes = [
        node(
            "Scene_Classification_ID",
            node("SCENE_CLASSIFICATION_TEXT", f"SC_{text}"),
            node("SCENE_CLASSIFICATION_INDEX", k),
        )
        for k, (text, _) in enumerate(_SCL)
    ]
    return node(
        "Product_Image_Characteristics",
        *special,
        node("Image_Display_Order", *order),
        quantification,
        *([node("BOA_ADD_OFFSET_VALUES_LIST", *offsets)] if offsets else []),
        node("Spectral_Information_List", *_spectral_information()),
        node("Scene_Classification_List", *classes),
    )


def _spectral_information() -> list[ET.Element]:
    rows = [(b.band_id, b.name.replace("B0", "B"), b.gsd_m, b.centre_nm) for b in BANDS] + [(10, "B10", 60, 1373.5)]
    return [
        node(
            "Spectral_Information",
            node("RESOLUTION", gsd_m),
            node("Wavelength", node("CENTRAL", centre_nm, at={"unit": "nm"})),
            at={"bandId": str(band_id), "physicalBand": name},
        )
        for band_id, name, gsd_m, centre_nm in sorted(rows)
    ]


def tile_metadata(spec: ProductSpec, grid: TileGrid, scl: npt.NDArray[np.uint8]) -> bytes:
    """`MTD_TL.xml`: the tile's projection, corner in metres and size in pixels, and shares of the scene classes."""
    general = node(
        "n1:General_Info",
        node("TILE_ID", spec.item("TL"), at={"metadataLevel": "Brief"}),
        node("DATASTRIP_ID", spec.item("DS"), at={"metadataLevel": "Standard"}),
        node("DOWNLINK_PRIORITY", "NOMINAL", at={"metadataLevel": "Standard"}),
        node("SENSING_TIME", iso(spec.datastrip), at={"metadataLevel": "Standard"}),
    )
    zone = f"{grid.epsg % 100:02d}{'N' if grid.epsg < 32700 else 'S'}"
    sizes, places = [], []
    for gsd_m in (10, 20, 60):
        px = grid.size_px * 10 // gsd_m
        at = {"resolution": str(gsd_m)}
        sizes.append(node("Size", node("NROWS", px), node("NCOLS", px), at=at))
        corner = [node("ULX", int(grid.ulx)), node("ULY", int(grid.uly)), node("XDIM", gsd_m), node("YDIM", -gsd_m)]
        places.append(node("Geoposition", *corner, at=at))
    geocoding = node(
        "Tile_Geocoding",
        node("HORIZONTAL_CS_NAME", f"WGS84 / UTM zone {zone}"),
        node("HORIZONTAL_CS_CODE", f"EPSG:{grid.epsg}"),
        *sizes,
        *places,
        at={"metadataLevel": "Brief"},
    )
    seen = max(1, int((scl != 0).sum()))
    counts = np.bincount(scl.ravel(), minlength=len(_SCL))
    shares = [count / (scl.size if k == 0 else seen) for k, count in enumerate(counts[: len(_SCL)])]
    content = [node(f"{text}_PERCENTAGE", f"{100 * s:.6f}") for (_, text), s in zip(_SCL, shares, strict=True)]
    quality = node("n1:Quality_Indicators_Info", node("Image_Content_QI", *content), at={"metadataLevel": "Standard"})
    root = _root("Level-2A_Tile_ID", "S2_PDI_Level-2A_Tile_Metadata", 12 if spec.old_form else 14)
    root.extend([general, node("n1:Geometric_Info", geocoding), quality])
    return _serialise(root, spec)


def datastrip_metadata(spec: ProductSpec) -> bytes:
    """`MTD_DS.xml`, with the data take only."""
    datatake = node(
        "Datatake_Info",
        node("SPACECRAFT_NAME", f"Sentinel-{spec.mission[1:]}"),
        node("DATATAKE_SENSING_START", iso(spec.sensed)),
        node("SENSING_ORBIT_NUMBER", spec.relative_orbit),
        at={"datatakeIdentifier": spec.datatake},
    )
    time = node("Datastrip_Time_Info", node("DATASTRIP_SENSING_START", iso(spec.datastrip)))
    root = _root("Level-2A_DataStrip_ID", "S2_PDI_Level-2A_Datastrip_Metadata", 14)
    root.append(node("n1:General_Info", datatake, time))
    return _serialise(root, spec)


def product_manifest(folder: Path, files: Iterable[str]) -> bytes:
    """`manifest.safe`: every file of the product with its size in bytes and its MD5 checksum."""
    objects = []
    for path in files:
        kind = "text/xml" if path.endswith(".xml") else "application/octet-stream"
        with (folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        stream = node(
            "byteStream",
            node("fileLocation", at={"locatorType": "URL", "href": f"./{path}"}),
            node("checksum", digest, at={"checksumName": "MD5"}),
            at={"mimeType": kind, "size": str((folder / path).stat().st_size)},
        )
        objects.append(node("dataObject", stream, at={"ID": Path(path).stem}))
    at = {
        "xmlns:safe": "http://www.esa.int/safe/sentinel/1.1",
        "xmlns:xfdu": "urn:ccsds:schema:xfdu:1",
        "version": "esa/safe/sentinel/1.1/sentinel-2/msi/archive_l2a_user_product",
    }
    unit = {"unitType": "Product_Level-2A", "textInfo": "SENTINEL-2 MSI Level-2A User Product"}
    package = node("informationPackageMap", node("xfdu:contentUnit", at=unit))
    root = node("xfdu:XFDU", package, node("metadataSection"), node("dataObjectSection", *objects), at=at)
    return _to_bytes(root)


def _root(name: str, schema: str, issue: int) -> ET.Element:
    address = f"https://psd-{issue}.sentinel2.eo.esa.int/PSD/{schema}.xsd"
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    return node(f"n1:{name}", at={"xmlns:n1": address, "xmlns:xsi": instance, "xsi:schemaLocation": address})


def _serialise(root: ET.Element, spec: ProductSpec) -> bytes:
    if spec.old_form:
        for element in root.iter():
            element.tag = _OLD_TAGS.get(element.tag, element.tag)
            element.text = _OLD_TEXTS.get(element.text or "", element.text)
    return _to_bytes(root)


def _to_bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"
