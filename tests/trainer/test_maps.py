"""Maps of predictions: read back by GDAL and geopandas, at the right place, with the run's labels; and windows."""

import importlib.util
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from commands import ranks
from disks import file_size_limit
from osgeo import gdal, ogr, osr
from stores import TRAIN, VAL, training_store

import etl
from etl.exit_status import ExitStatus, JobError
from etl.files import replace_atomically
from etl.schema import WRITTEN
from etl.store.location import Location
from etl.store.reader import StoreReader
from trainer.config import PredictRunSettings, band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.map import main as map_main
from trainer.maps.output import prepare_output, require_output
from trainer.maps.places import Places, cell_grids
from trainer.maps.raster import write_image
from trainer.maps.table import require_class_columns
from trainer.maps.vector import write_geopackage, write_geoparquet
from trainer.maps.windows import WindowReader, straddling_windows
from trainer.predict import predict
from trainer.workers.horovod import Workers

ALONE = Workers(None)
TILES = {"29UPU": 32629, "33UUP": 32633, "34VDN": 32634}
OLD_COLUMNS = ["patch", "tile", "epsg", "ulx", "uly"]


@pytest.fixture(scope="module")
def run(reference, tmp_path_factory):
    """A small network after one step on the sample, whose thresholds alternate between 0.4 and 0.6."""
    out = tmp_path_factory.mktemp("run") / "run"
    flags = ("--steps", "1", "--batch", "8", "--bands", "all", "--threads", "1")
    done = ranks(1, "trainer.run", "--network", "small", "--store", str(reference), "--out", str(out), *flags)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "run.json").read_text())
    for k, scores in enumerate(record["scores"]["val"]["tuned"]["classes"]):
        scores["threshold"] = 0.4 + 0.2 * (k % 2)
    (out / "run.json").write_text(json.dumps(record))
    return out


def predicted(run, store, out, **how):
    settings = PredictRunSettings(run=run, store=Location.parse(store), out=out, batch=32, **how)
    assert predict(settings, ALONE) == ExitStatus.DONE
    return out


@pytest.fixture(scope="module")
def expected(run, reference, tmp_path_factory):
    """The plain table's columns of the whole sample, by way of a GeoParquet file."""
    path = predicted(run, reference, tmp_path_factory.mktemp("expected") / "p.parquet")
    with StoreReader(reference) as store:
        written = store.column("state") == WRITTEN
        classes = store.text("class")
        identity = {name: store.column(name)[written] for name in OLD_COLUMNS}
    table = pq.read_table(path)
    probabilities = np.stack([table[name].to_numpy() for name in classes], 1)
    return SimpleNamespace(path=path, table=table, classes=classes, identity=identity, probabilities=probabilities)


def labels_of(probabilities, classes):
    limits = np.array([0.4, 0.6] * len(classes), np.float32)[: len(classes)]
    return [[classes[k] for k in np.flatnonzero(row)] for row in probabilities >= limits]


def test_geoparquet_has_the_old_columns_then_labels_and_squares_in_degrees(expected):
    names = expected.table.column_names
    assert names == [*OLD_COLUMNS, *expected.classes, "labels", "geometry", "bbox"]
    for name in OLD_COLUMNS:
        stored = expected.identity[name]
        assert np.array_equal(expected.table[name].to_numpy().astype(stored.dtype), stored)
    assert expected.probabilities.dtype == np.float32
    assert expected.probabilities.std() > 0
    labels = expected.table["labels"].to_pylist()
    assert labels == labels_of(expected.probabilities, expected.classes)
    assert 0 < sum(map(len, labels)) < expected.probabilities.size
    frame = geopandas.read_parquet(expected.path)
    assert frame.crs.to_epsg() == 4326
    degrees = osr.SpatialReference()
    degrees.ImportFromEPSG(4326)
    degrees.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    for row in (0, 150, len(frame) - 1):
        metres = osr.SpatialReference()
        metres.ImportFromEPSG(int(frame["epsg"][row]))
        ulx, uly = frame["ulx"][row], frame["uly"][row]
        corners = [(ulx + right, uly - down) for right in (0, 1200) for down in (0, 1200)]
        wanted = [point[:2] for point in osr.CoordinateTransformation(metres, degrees).TransformPoints(corners)]
        found = sorted(frame.geometry[row].exterior.coords[:4])
        assert np.allclose(found, sorted(wanted), rtol=0, atol=1e-9)  # a tenth of a millimetre


def test_geopackage_has_a_layer_for_each_projection_with_exact_squares(run, reference, expected, tmp_path):
    path = predicted(run, reference, tmp_path / "map.gpkg")
    assert list(tmp_path.iterdir()) == [path]
    source, seen = ogr.Open(str(path)), 0
    assert [source.GetLayer(k).GetName() for k in range(source.GetLayerCount())] == [
        f"epsg_{c}" for c in TILES.values()
    ]
    for tile, code in TILES.items():
        layer = source.GetLayer(f"epsg_{code}")
        assert layer.GetSpatialRef().GetAuthorityCode(None) == str(code)
        assert layer.TestCapability(ogr.OLCFastSpatialFilter)  # it has a spatial index
        rows = np.flatnonzero(expected.identity["tile"] == tile.encode())
        wanted = labels_of(expected.probabilities[rows], expected.classes)
        assert layer.GetFeatureCount() == len(rows)
        for row, labels, feature in zip(rows, wanted, layer, strict=True):
            ulx, uly = expected.identity["ulx"][row], expected.identity["uly"][row]
            assert feature.GetGeometryRef().GetEnvelope() == (ulx, ulx + 1200, uly - 1200, uly)
            assert feature["patch"].encode() == expected.identity["patch"][row]
            assert feature["labels"] == "; ".join(labels)
            seen += 1
        frame = geopandas.read_file(path, layer=f"epsg_{code}")
        assert np.array_equal(frame[list(expected.classes)].to_numpy(np.float32), expected.probabilities[rows])
    assert seen == len(expected.probabilities)


def opened(path):
    """An image by GDAL: bands, geotransform, descriptions, EPSG code."""
    image = gdal.Open(str(path))
    bands = [image.GetRasterBand(k + 1) for k in range(image.RasterCount)]
    assert all(np.isnan(band.GetNoDataValue()) for band in bands)
    assert {band.DataType for band in bands} == {gdal.GDT_Float32}
    return SimpleNamespace(
        cells=image.ReadAsArray(),
        transform=image.GetGeoTransform(),
        names=tuple(band.GetDescription() for band in bands),
        thresholds=[float(band.GetMetadataItem("threshold")) for band in bands],
        epsg=int(image.GetSpatialRef().GetAuthorityCode(None)),
    )


def test_an_image_a_tile_has_a_cell_a_patch_and_no_value_elsewhere(run, reference, expected, tmp_path):
    predicted(run, reference, tmp_path / "map.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"map.{tile}.tif" for tile in TILES]
    for tile, code in TILES.items():
        image = opened(tmp_path / f"map.{tile}.tif")
        assert (image.epsg, image.names, image.thresholds[:3]) == (code, expected.classes, [0.4, 0.6, 0.4])
        west, width, _, north, _, height = image.transform
        assert (width, height) == (1200, -1200)
        wanted = np.full_like(image.cells, np.nan)
        for row in np.flatnonzero(expected.identity["tile"] == tile.encode()):
            down, right = (north - expected.identity["uly"][row]) / 1200, (expected.identity["ulx"][row] - west) / 1200
            wanted[:, int(down), int(right)] = expected.probabilities[row]
        assert 0 < np.isnan(wanted[0]).sum() < wanted[0].size
        assert np.array_equal(image.cells, wanted, equal_nan=True)
    with rasterio.open(tmp_path / "map.33UUP.tif") as file:
        assert file.descriptions == expected.classes


@pytest.mark.parametrize("stride_m", [600, 300])
def test_a_window_has_the_pixels_of_the_mosaic_and_its_cell_lies_in_its_middle(reference, stride_m):
    rows = select_rows(reference, RowSelection(band_selections("native"), "all", labelled_only=False))
    output = prepare_output(rows, reference.with_name("map.tif"), stride_m)
    assert isinstance(output.rows.reader, WindowReader)
    store, rng, steps = etl.open_store(reference), np.random.default_rng(stride_m), 1200 // stride_m
    places = Places(*(store[name].values for name in ("tile", "acquired")), *(store[n].values for n in OLD_COLUMNS[2:]))
    places = replace(places, acquired=places.acquired.astype("datetime64[s]").astype(np.int64))
    windows, grids = straddling_windows(rows, cell_grids(places), stride_m)
    assert len(windows) == len(output.rows) == sum((grid.index >= 0).sum() for grid in grids)
    for grid in grids:
        assert grid.cell_m == stride_m
        chosen = rng.permutation(np.argwhere(grid.index >= 0))[:8]
        for data, gsd_m in (("data_20m", 20), ("data_60m", 60)):
            mosaic = etl.to_tile_mosaic(store, grid.name, data).load()
            side = 1200 // gsd_m
            found = np.empty((len(chosen), side, side, mosaic.sizes["band"]), np.uint16)
            windows.reader.read_rows(data, windows.store_rows[grid.index[tuple(chosen.T)]], found)
            for pixels, (row, col) in zip(found, chosen, strict=True):
                middle_x, middle_y = grid.ulx + (col + 0.5) * stride_m, grid.uly - (row + 0.5) * stride_m
                area = {"x": slice(middle_x - 600, middle_x + 600), "y": slice(middle_y + 600, middle_y - 600)}
                assert np.array_equal(pixels, mosaic.sel(area).transpose("y", "x", "band"))
        # a cell has a window if all patches that its window touches are there
        patches = next(patches for patches in cell_grids(places) if patches.name == grid.name).index >= 0
        for row, col in np.ndindex(grid.index.shape):
            touched = patches[row // steps : -(-row // steps) + 1, col // steps : -(-col // steps) + 1]
            assert (grid.index[row, col] >= 0) == touched.all()


def test_a_map_of_windows_agrees_with_one_of_patches_where_a_window_is_a_patch(run, reference, tmp_path):
    for stride, name in ((1200, "whole.tif"), (600, "half.tif")):
        predicted(run, reference, tmp_path / name, stride=stride)
    whole, half = opened(tmp_path / "whole.33UUP.tif"), opened(tmp_path / "half.33UUP.tif")
    assert half.cells.shape[1:] == tuple(2 * side - 1 for side in whole.cells.shape[1:])
    assert half.transform == (whole.transform[0] + 300, 600, 0, whole.transform[3] - 300, 0, -600)
    np.testing.assert_allclose(half.cells[:, ::2, ::2], whole.cells, atol=1e-6)
    assert np.isfinite(half.cells[:, 1::2, 1::2]).any()


def test_a_store_without_places_gives_the_plain_table_and_no_map(run, tmp_path, capsys, monkeypatch):
    store = tmp_path / "store.h5"
    training_store(store, [TRAIN] * 4 + [VAL] * 2)
    table = pq.read_table(predicted(run, store, tmp_path / "p.parquet"))
    assert table.column_names[:5] == OLD_COLUMNS
    assert table.column_names[-1] == "labels"
    assert b"geo" not in (table.schema.metadata or {})
    assert f"a table without squares, because 6 of 6 rows of {store} have no corner in a UTM" in capsys.readouterr().out
    monkeypatch.setattr("trainer.fit.predictions.predict_rows", fail)
    for name in ("map.gpkg", "map.tif"):
        with pytest.raises(JobError, match=r"a map needs the place of each patch, but .*; predict to a table"):
            predicted(run, store, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.parquet", "store.h5"]


def test_patches_of_image_files_have_no_known_side_and_so_no_map(reference, tmp_path):
    rows = select_rows(reference, RowSelection(band_selections("rgb"), "all", labelled_only=False))
    images = replace(rows, pixels=(replace(rows.pixels[0], name="data_images", row_shape=(64, 64, 3)),))
    with pytest.raises(ValueError, match=r"patches of data_images in .* are not known to be squares of 1200 m"):
        prepare_output(images, tmp_path / "m.tif")
    values = np.full((len(rows), len(rows.classes)), 0.25, np.float32)
    assert "a table without squares" in prepare_output(images, tmp_path / "p.parquet").write(values, values[0] + 0.5)
    assert pq.read_table(tmp_path / "p.parquet").column_names == [*OLD_COLUMNS, *rows.classes, "labels"]


def fail(*_, **__):
    raise AssertionError("work was begun")


def test_without_geopandas_a_table_is_plain_and_a_map_names_the_extra(reference, tmp_path, monkeypatch):
    rows = select_rows(reference, RowSelection(band_selections("rgb"), "all", labelled_only=False))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "trainer.maps.output.find_spec", lambda name: None if name in ("geopandas", "rasterio") else find_spec(name)
    )
    for name, package in (("m.gpkg", "geopandas"), ("m.tif", "rasterio")):
        with pytest.raises(
            ValueError, match=rf"needs {package}, which is not installed: pip install \"sentinel-etl\[gis"
        ):
            require_output(tmp_path / name)
    values = np.full((len(rows), len(rows.classes)), 0.5, np.float32)
    said = prepare_output(rows, tmp_path / "p.parquet").write(values, values[0])
    assert 'a table without squares, because geopandas is not installed: pip install "sentinel-etl[gis]"' in said
    assert pq.read_table(tmp_path / "p.parquet")["labels"][0].as_py() == list(rows.classes)


def places(count=2, **columns):
    """Neighbouring patches."""
    east = 300_000 + 1200.0 * np.arange(count)
    plain = {
        "tile": ["33UUP"] * count,
        "acquired": [0] * count,
        "epsg": [32633] * count,
        "ulx": east,
        "uly": [5.4e6] * count,
    }
    return Places(**{name: np.array(value) for name, value in (plain | columns).items()})


def test_acquisitions_of_one_tile_are_images_of_their_own():
    found = cell_grids(places(3, acquired=[0, 1_497_348_631, 0], ulx=[300_000.0, 300_000.0, 301_200.0]))
    assert [(grid.name, grid.index.tolist()) for grid in found] == [
        ("33UUP.19700101T000000", [[0, 2]]),
        ("33UUP.20170613T101031", [[1]]),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ulx": [300_000.0, 300_000.0]}, "each patch of 33UUP must have a place of its own"),
        ({"ulx": [300_000.0, 300_600.0]}, "must lie on one grid of 1200 m"),
        ({"epsg": [32633, 32634]}, "must lie on one grid of 1200 m in one projection"),
        ({"ulx": [300_000.0, 300_000.0 + 1200e4]}, "must lie within 1000000 m, got corners 12000000 m apart"),
        ({"tile": ["../up", "../up"]}, r"names of letters and digits, such as 33UUP, got '../up'"),
    ],
)
def test_patches_that_make_no_image_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        cell_grids(places(**columns))


@pytest.mark.parametrize("classes", [("forest", "Labels"), ("forest", "Forest"), ("fid",)])
def test_a_class_that_is_named_like_another_column_is_refused(classes):
    with pytest.raises(ValueError, match=rf"must differ from .* got '{classes[-1]}'"):
        require_class_columns(classes)


def test_a_patch_across_the_180th_meridian_is_cut(tmp_path):
    west = places(2, tile=["01NAB"] * 2, epsg=[32601] * 2, ulx=[165_421.0, 300_000.0], uly=[1e5] * 2)
    write_geoparquet(tmp_path / "p.parquet", west, {"patch": np.array(["a", "b"])}, [[], []])
    cut, whole = geopandas.read_parquet(tmp_path / "p.parquet").geometry
    assert (cut.geom_type, whole.geom_type) == ("MultiPolygon", "Polygon")
    assert [part.bounds[0] for part in cut.geoms] == pytest.approx([179.99, -180], abs=0.02)
    assert cut.area == pytest.approx(whole.area, rel=0.01)


def test_a_map_that_does_not_fit_on_the_disk_is_an_error_and_leaves_no_file(tmp_path):
    grid, values = cell_grids(places(100))[0], np.random.default_rng(0).random((100, 9), np.float32)
    names, limits = [f"class {k}" for k in range(9)], np.full(9, 0.5, np.float32)
    image, squares = tmp_path / "m.tif", tmp_path / "m.gpkg"

    def write_tif():
        write_image(image, grid, values, names, limits)

    def write_gpkg():
        with replace_atomically(squares) as part:
            write_geopackage(part, places(100), dict(zip(names, values.T, strict=True)), [[]] * 100)

    for path, write in ((image, write_tif), (squares, write_gpkg)):
        write()
        size = path.stat().st_size
        path.unlink()
        for lacking in (1, 300, 3000, size // 2):  # also what GDAL writes only while it closes the file
            refused = pytest.raises(OSError, match=rf"{path.name}.* cannot be written")
            with file_size_limit(size - lacking), refused:
                write()
            assert list(tmp_path.iterdir()) == []


# ---- trainer.map


@pytest.fixture(scope="module")
def product(sample):
    (found,) = (sample / "tiles").glob("*T33UUP*")
    return found


def test_a_product_becomes_the_map_that_its_store_gives(run, product, expected, tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text("[extract]\nmax_cloud_share = 0.0\n")  # of other extractions
    shutil.copytree(run, "run")
    with caplog.at_level("INFO"):
        assert map_main([str(product), "--run", "run", "--out", "maps/map.gpkg"]) == 0
    assert f"121 patches of 1 product to predict: {product.stem}" in caplog.text
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["map.gpkg"]
    frame = geopandas.read_file("maps/map.gpkg", layer="epsg_32633").set_index(["ulx", "uly"])
    assert len(frame) == 121  # with those that the catalogue of the sample leaves out
    rows = np.flatnonzero(expected.identity["tile"] == b"33UUP")
    found = frame.loc[list(zip(expected.identity["ulx"][rows], expected.identity["uly"][rows], strict=True))]
    np.testing.assert_allclose(found[list(expected.classes)], expected.probabilities[rows], atol=1e-6)


def test_a_map_that_is_interrupted_leaves_neither_folder_nor_process(run, product, tmp_path, caplog):
    def interrupt():
        while not list(tmp_path.glob("*/store.h5*")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = children()
    assert map_main([str(product), "--run", str(run), "--out", str(tmp_path / "map.gpkg")]) == ExitStatus.RESUMABLE
    thread.join()
    assert "stopped by a signal; run it again" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert children() <= before


def children():
    """Process ids of the commands that this process has started and that still run."""
    import psutil

    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_what_cannot_be_mapped_is_refused_in_one_line(run, tmp_path, caplog, capfd):
    assert map_main([str(tmp_path / "none.SAFE"), "--run", str(run), "--out", str(tmp_path / "m.tif")]) == 2
    assert "python -m etl.catalogue ended with status 2; what it said stands above" in caplog.text
    assert "none.SAFE does not exist" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert map_main(["--run", str(tmp_path / "no"), "--out", str(tmp_path / "m.tif")]) == 2
    assert "no/checkpoint.npz is not there; make it with trainer.run" in caplog.text


@pytest.mark.slow
def test_several_workers_map_a_product_together(run, product, expected, tmp_path):
    flags = ("--run", str(run), "--out", str(tmp_path / "map.tif"), "--stride", "600")
    done = ranks(2, "trainer.map", str(product), *flags, environment={"OMPI_MCA_hwloc_base_binding_policy": "none"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"441 windows x 43 classes, cells of 600 m -> {tmp_path / 'map.33UUP.tif'}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["map.33UUP.tif"]
    image = opened(tmp_path / "map.33UUP.tif")
    for row in np.flatnonzero(expected.identity["tile"] == b"33UUP"):
        ulx, uly = expected.identity["ulx"][row], expected.identity["uly"][row]
        down, right = (image.transform[3] + 300 - uly) / 600, (ulx + 300 - image.transform[0]) / 600
        np.testing.assert_allclose(image.cells[:, int(down), int(right)], expected.probabilities[row], atol=1e-6)
