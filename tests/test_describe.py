"""Descriptions of a store: read by the libraries of their standards, and equal to what the store holds."""

import datetime
import json
import re
import warnings
from pathlib import Path

import geopandas
import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
from commands import ranks
from stac_pydantic import Collection, Item
from stores import GOOD, make_store, set_scalar

from etl.describe.run import describe
from etl.describe.settings import DescribeSettings
from etl.schema import SPLITS
from etl.store.location import Location
from etl.store.reader import StoreReader


@pytest.fixture(scope="module")
def described(reference, tmp_path_factory) -> tuple[Path, Path]:
    """A store of the sample, and the folder that describes it."""
    out = tmp_path_factory.mktemp("description") / "about"
    done = ranks(1, "etl.describe", str(reference), "--out", str(out), *FLAGS)
    assert done.returncode == 0, done.stderr
    assert f"-> {out}/README.md" in done.stdout
    return reference, out


FLAGS = (
    "--title",
    "Sample of patches",
    "--licence",
    "CC-BY-4.0",
    "--creator",
    "A group",
    "--citation",
    "A group, 2026",
)


def require_declared(value: dict[str, object]) -> None:
    """Each prefix of a field is that of an extension that is declared."""
    text = json.dumps({key: part for key, part in value.items() if key not in ("links", "stac_extensions")})
    used = set(re.findall(r'"([a-z]+):[a-z_]+": ', text))
    names = {"proj": "projection", "sci": "scientific"}
    declared = " ".join(value["stac_extensions"])
    assert all(f"/{names.get(prefix, prefix)}/" in declared for prefix in used), (used, declared)


def test_the_collection_and_its_items_are_valid_stac_with_the_fields_of_its_extensions(described):
    store, out = described
    collection = json.loads((out / "collection.json").read_text())
    Collection(**collection)
    require_declared(collection)
    assert (collection["id"], collection["license"], collection["sci:citation"]) == (
        "sample-of-patches",
        "CC-BY-4.0",
        "A group, 2026",
    )
    with StoreReader(store) as reader:
        written = reader.written
        tiles = reader.column("tile")[written].astype(str)
        seconds, corners = (
            reader.column("acquired")[written],
            {k: reader.column(k)[written] for k in ("ulx", "uly", "epsg")},
        )
    opened = pystac.Collection.from_file(str(out / "collection.json"))
    items = {item.id: item for item in opened.get_items()}
    assert items.keys() == {f"T{tile}" for tile in tiles}
    for item in items.values():
        Item(**item.to_dict())
        require_declared(item.to_dict())
        here = tiles == item.id[1:]
        assert item.properties["patches"] == here.sum()
        assert item.properties["proj:code"] == f"EPSG:{corners['epsg'][here][0]}"
        west, south, east, north = item.properties["proj:bbox"]
        assert (west, north) == (corners["ulx"][here].min(), corners["uly"][here].max())
        assert (east, south) == (corners["ulx"][here].max() + 1200, corners["uly"][here].min() - 1200)
        start = datetime.datetime.fromtimestamp(int(seconds[here].min()), datetime.UTC)
        assert item.properties["start_datetime"] == f"{start:%Y-%m-%dT%H:%M:%SZ}"
        assert len(item.properties["products"]) == 1
        asset = item.assets["store"]
        assert asset.media_type == "application/x-hdf5"
        assert Path(asset.get_absolute_href()).resolve() == store.resolve()
        bands = {band["name"]: band for band in asset.to_dict()["bands"]}
        assert len(bands) == 24
        assert bands["data_20m/B8A"]["raster:scale"] == 0.0001
        assert bands["data_20m/B8A"]["raster:spatial_resolution"] == 20
        assert bands["data_super/B8A"]["raster:spatial_resolution"] == 10
        assert bands["data_20m/B8A"]["eo:center_wavelength"] == pytest.approx(0.8647)
    assert Path(opened.assets["store"].get_absolute_href()).resolve() == store.resolve()
    assert Path(opened.assets["patches"].get_absolute_href()).is_file()


def test_footprints_are_where_the_patches_are(described):
    store, out = described
    table = geopandas.read_parquet(out / "patches.parquet")
    assert table.crs.to_string() == "OGC:CRS84"
    with StoreReader(store) as reader:
        rows, names = reader.written, reader.schema.class_names
        columns = {
            name: reader.column(name)[rows] for name in ("patch", "tile", "split", "epsg", "ulx", "uly", "classes")
        }
    assert table["row"].tolist() == rows.tolist()
    for name in ("patch", "tile"):
        assert table[name].tolist() == columns[name].astype(str).tolist()
    assert table["split"].tolist() == [SPLITS[number] for number in columns["split"]]
    assert [set(labels) for labels in table["labels"]] == [
        {names[k] for k in np.flatnonzero(row)} for row in columns["classes"]
    ]
    assert table.geometry.is_valid.all()
    assert table.geometry.exterior.is_ccw.all()
    for epsg in np.unique(columns["epsg"]).tolist():
        here = columns["epsg"] == epsg
        bounds = table[here].to_crs(epsg).bounds
        expected = np.stack((columns["ulx"], columns["uly"] - 1200, columns["ulx"] + 1200, columns["uly"]), -1)[here]
        assert np.abs(bounds.to_numpy() - expected).max() < 0.01
    boxes = np.array([list(box.values()) for box in pq.read_table(out / "patches.parquet")["bbox"].to_pylist()])
    assert np.array_equal(boxes, table.bounds.to_numpy())


def test_croissant_validates_and_its_records_are_the_patches(described):
    store, out = described
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(out / "croissant.json")
        assert dataset.metadata.issues.errors == set()
        first = next(iter(dataset.records("patches")))
    with StoreReader(store) as reader:
        assert first["patches/patch"] == reader.column("patch")[reader.written[0]]
    assert dataset.metadata.name == "Sample of patches"


def test_the_card_tells_numbers_of_the_store(described):
    store, out = described
    text = (out / "README.md").read_text()
    with StoreReader(store) as reader:
        rows = reader.written
        counts = reader.column("classes")[rows].sum(axis=0)
        names = reader.schema.class_names
    assert text.startswith("# Sample of patches\n")
    assert f"| patches | {len(rows)} |" in text
    most = int(counts.argmax())
    assert f"| {names[most]} | {counts[most]} |" in text
    assert "Upsampling to 10 m: bilinear." in text
    assert "\n\n\n" not in text


def test_a_description_is_replaced_but_nothing_else_is(described, tmp_path, capsys):
    store, out = described
    before = {path.name for path in out.iterdir()}
    describe(DescribeSettings(Location.parse(store), out, title="Another name"))
    assert {path.name for path in out.iterdir()} == before
    assert (out / "README.md").read_text().startswith("# Another name\n")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "collection.json").write_text("mine")
    with pytest.raises(ValueError, match=r"a description to replace, but .*mine\.txt is no part of one"):
        describe(DescribeSettings(Location.parse(store), tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "collection.json"}
    with pytest.raises(ValueError, match="which holds the store"):
        describe(DescribeSettings(Location.parse(store), store.parent))
    with pytest.raises(ValueError, match="must be a folder, got the file"):
        describe(DescribeSettings(Location.parse(store), tmp_path / "mine.txt"))


@pytest.mark.parametrize("store_format", ["h5", "zarr"])
def test_rejected_rows_are_left_out_and_an_address_is_named(tmp_path, store_format):
    store = make_store(tmp_path, GOOD)
    if store_format == "zarr":
        done = ranks(1, "etl.convert", str(store), "--out", str(tmp_path / "store.zarr"))
        assert done.returncode == 0, done.stderr
        store = tmp_path / "store.zarr"
    address = f"https://example.org/data/{store.name}"
    describe(DescribeSettings(Location.parse(store), tmp_path / "about", address=address, licence="CC-BY-4.0"))
    text = (tmp_path / "about" / "README.md").read_text()
    rejected = store_format == "h5"  # etl.convert leaves them out
    assert f"| patches | 5{', and 1 that were rejected' if rejected else ''} |" in text
    assert f'etl.open_store("{store.name}")' in text
    assert "Contains modified Copernicus Sentinel data 2017." in text
    assert geopandas.read_parquet(tmp_path / "about" / "patches.parquet")["row"].tolist() == (
        [0, 1, 3, 4, 5] if rejected else [0, 1, 2, 3, 4]
    )
    (item,) = pystac.Collection.from_file(str(tmp_path / "about" / "collection.json")).get_items()
    assert item.assets["store"].href == address
    croissant = json.loads((tmp_path / "about" / "croissant.json").read_text())
    assert (croissant["url"], croissant["license"]) == (address, "https://spdx.org/licenses/CC-BY-4.0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "CC BY 4.0"}, "--licence must be an SPDX identifier"),
        ({"address": "/data/store.h5"}, "--address must be a URL"),
        ({"creator": "two\nlines"}, "--creator must be one line"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DescribeSettings(**changes)


def test_a_store_that_is_not_complete_is_refused(tmp_path):
    store = make_store(tmp_path, GOOD)
    set_scalar(store, "complete", 0)
    with pytest.raises(ValueError, match="must be complete"):
        describe(DescribeSettings(Location.parse(store), tmp_path / "about"))
    assert not (tmp_path / "about").exists()
