"""Which files GDAL opens for us: images of a few formats, none of which can name another file or address."""

import contextlib
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from hostile import SECRET, make_fifo, vrt_of
from osgeo import gdal

from etl.grid import PixelWindow
from etl.raster import Georeference, RasterError, RasterFile, write_geotiff, write_jp2

WHERE = Georeference(32633, 300_000, 5_800_020, 10)
SIDE = 60


@pytest.fixture
def secret(tmp_path):
    """A readable GeoTIFF with one value."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "secret.tif"
    write_geotiff(path, np.full((SIDE, SIDE), SECRET, np.uint16), WHERE)
    return path


@pytest.fixture
def server():
    """Address of a server, and the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", requests
        made.shutdown()
        thread.join()


def pixels_of(path):
    out = np.zeros((SIDE, SIDE), np.uint16)
    RasterFile(path).read(PixelWindow(0, 0, SIDE, SIDE), out)
    return out


def hostile_texts(secret, url):
    """Texts that GDAL's drivers take for images of other files, by the name of the driver."""
    return {
        "VRT": vrt_of(secret, SIDE),
        "VRT of the network": vrt_of(f"/vsicurl/{url}/a.tif", SIDE),
        "VRT of a raw file": (
            f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="UInt16" band="1" '
            f'subClass="VRTRawRasterBand"><SourceFilename relativetoVRT="0">{secret}</SourceFilename><ImageOffset>0'
            "</ImageOffset><PixelOffset>2</PixelOffset><LineOffset>120</LineOffset></VRTRasterBand></VRTDataset>"
        ),
        "WMS": (
            f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}</ServerUrl></Service><DataWindow><UpperLeftX>0'
            "</UpperLeftX><UpperLeftY>0</UpperLeftY><LowerRightX>60</LowerRightX><LowerRightY>60</LowerRightY><SizeX>60"
            "</SizeX><SizeY>60</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
        ),
        "WCS": f"<WCS_GDAL><ServiceURL>{url}/wcs?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        "STACTA": f'{{"type": "Feature", "stac_extensions": ["tiled-assets"], "tiles": "{url}"}}',
        "OGCAPI": f'{{"links": [{{"href": "{url}/tiles", "rel": "tilesets"}}]}}',
        "GTI": f"<GDALTileIndexDataset><IndexDataset>{secret}</IndexDataset></GDALTileIndexDataset>",
        "DIMAP": f'<Dimap_Document><Data_File><DATA_FILE_PATH href="{secret}"/></Data_File></Dimap_Document>',
        "PDS": f'PDS_VERSION_ID = PDS3\n^IMAGE = "{secret}"\nEND',
        "CALS, and names of files": f"{secret}\n",
    }


@pytest.mark.parametrize("suffix", ["jp2", "tif", "png"])
@pytest.mark.parametrize("kind", [False, True], ids=["band", "image file"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_text_that_names_other_files_or_addresses_is_no_image_under_any_name(
    tmp_path, secret, server, suffix, kind, packed
):
    url, requests = server
    for text in hostile_texts(secret, url).values():
        path = tmp_path / f"image.{suffix}"
        path.write_text(text)
        name = str(path)
        if packed:
            with zipfile.ZipFile(tmp_path / f"{len(text)}.zip", "w") as archive:
                archive.write(path, path.name)
            name = f"/vsizip/{{{tmp_path}/{len(text)}.zip}}/{path.name}"
        with pytest.raises(RasterError, match="cannot be opened"):
            RasterFile(name, any_message=kind)
    assert requests == []


def drivers_that_write():
    """Names of all GDAL's drivers that can copy a raster, but those whose files are allowed."""
    drivers = (gdal.GetDriver(k) for k in range(gdal.GetDriverCount()))
    wanted = ("DCAP_CREATECOPY", "DCAP_RASTER")
    able = {item.ShortName for item in drivers if all(item.GetMetadataItem(name) for name in wanted)}
    return sorted(able - {"GTiff", "COG", "MEM", "JP2OpenJPEG", "PNG", "JPEG", "BMP"})


@pytest.mark.parametrize("driver", drivers_that_write())
def test_no_file_of_another_format_is_opened(tmp_path, driver):
    memory = gdal.GetDriverByName("MEM").Create("", SIDE, SIDE, 1, gdal.GDT_Byte)
    memory.SetGeoTransform((300_000, 10, 0, 5_800_020, 0, -10))
    path = tmp_path / "image"
    with contextlib.suppress(RuntimeError):  # some drivers cannot hold such a raster; whatever they left is tried
        gdal.GetDriverByName(driver).CreateCopy(str(path), memory)
    for item in [path, *tmp_path.rglob("*")]:
        for any_message in (False, True):
            if item.suffix in (".tif", ".png", ".jpg", ".jp2", ".bmp") or driver in ("MRF", "KMLSUPEROVERLAY"):
                continue
            with pytest.raises(RasterError, match="cannot be opened"):
                RasterFile(item, any_message)


@pytest.mark.parametrize("suffix", ["tif", "jp2"])
def test_files_beside_an_image_change_neither_its_pixels_nor_its_place_and_are_not_asked_for(
    tmp_path, secret, server, suffix, monkeypatch
):
    url, requests = server
    path = tmp_path / f"image.{suffix}"
    pixels = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    if suffix == "tif":
        write_geotiff(path, pixels, WHERE)
    else:
        write_jp2(path, pixels, WHERE, SIDE)
    for name, value in (("GDAL_PAM_ENABLED", "YES"), ("GDAL_DISABLE_READDIR_ON_OPEN", "NO")):
        monkeypatch.setenv(name, value)
    for overview in (f"/vsicurl/{url}/a.tif", str(secret)):
        path.with_name(f"image.{suffix}.aux.xml").write_text(
            '<PAMDataset><SRS>EPSG:32601</SRS><GeoTransform>1,2,0,3,0,-2</GeoTransform><Metadata domain="OVERVIEWS">'
            f'<MDI key="OVERVIEW_FILE">{overview}</MDI></Metadata></PAMDataset>'
        )
        for name in (f"image.{suffix}.ovr", f"image.{suffix}.msk", "image.ovr", "image.aux"):
            path.with_name(name).write_text(vrt_of(overview, SIDE // 2))
        for name in ("image.tfw", "image.wld", "image.j2w", f"image.{suffix}w"):
            path.with_name(name).write_text("2\n0\n0\n-2\n1\n1\n")
        assert np.array_equal(pixels_of(path), pixels)
        assert RasterFile(path).georeference == WHERE
    assert requests == []


def test_a_code_stream_whose_metadata_names_an_address_asks_nobody(tmp_path, server):
    url, requests = server
    write_jp2(tmp_path / "a.jp2", np.ones((SIDE, SIDE), np.uint16), WHERE, SIDE)
    data = (tmp_path / "a.jp2").read_bytes()
    gml = (
        f'<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml" xsi:schemaLocation="{url} {url}/a.xsd" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><gml:RectifiedGrid dimension="2" srsName="{url}/crs">'
        f'<gml:origin><gml:Point srsName="{url}/crs"><gml:pos>1 2</gml:pos></gml:Point></gml:origin>'
        "<gml:offsetVector>1 0</gml:offsetVector><gml:offsetVector>0 -1</gml:offsetVector></gml:RectifiedGrid>"
        "</gml:FeatureCollection>"
    ).encode()

    def box(kind, content):
        return (len(content) + 8).to_bytes(4, "big") + kind + content

    instance = box(b"asoc", box(b"lbl ", b"gml.root-instance") + box(b"xml ", gml))
    at = data.index(b"jp2c") - 4
    (tmp_path / "b.jp2").write_bytes(data[:at] + box(b"asoc", box(b"lbl ", b"gml.data") + instance) + data[at:])
    assert np.array_equal(pixels_of(tmp_path / "b.jp2"), np.ones((SIDE, SIDE)))
    assert RasterFile(tmp_path / "b.jp2").projection is not None
    assert requests == []


NAMES = ["GTIFF_DIR:1:image.tif", "GTIFF_RAW:image.tif", "JPEG_SUBFILE:0,900,image.tif", "/vsicurl/http://127.0.0.1:9/a.tif",
         "/vsistdin/", "/vsimem/a.tif", "/vsisubfile/0,image.tif", "/vsizip/image.zip/image.tif", "NITF_IM:0:image.tif",
         "<VRTDataset/>", "", ".", "\0"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_alone_chooses_no_driver_and_no_other_file_system(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / "image.tif", np.ones((SIDE, SIDE), np.uint16), WHERE)
    with zipfile.ZipFile(tmp_path / "image.zip", "w") as archive:
        archive.write("image.tif")
    for any_message in (False, True):
        with pytest.raises(RasterError, match="cannot be opened"):
            RasterFile(name, any_message)
    (tmp_path / "GTIFF_DIR:1:image.tif").write_bytes((tmp_path / "image.tif").read_bytes())
    assert RasterFile("GTIFF_DIR:1:image.tif").shape == (SIDE, SIDE)  # a file that is there is opened, by its name


def test_a_file_whose_name_is_not_utf_8_is_opened(tmp_path):
    write_geotiff(tmp_path / "a.tif", np.ones((SIDE, SIDE), np.uint16), WHERE)
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.tif"))
    (tmp_path / "a.tif").rename(odd)
    assert pixels_of(odd).all()


def test_a_fifo_a_device_and_a_folder_are_no_images_and_do_not_wait(tmp_path):
    make_fifo(tmp_path / "fifo.jp2")
    (tmp_path / "folder.jp2").mkdir()
    for path, kind in (
        (tmp_path / "fifo.jp2", "a FIFO"),
        ("/dev/zero", "a device"),
        (tmp_path / "folder.jp2", "a folder"),
    ):
        with pytest.raises(RasterError, match=f"cannot be opened: must be a regular file, got {kind}"):
            RasterFile(path)
