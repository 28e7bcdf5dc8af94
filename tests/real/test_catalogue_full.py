"""The published archive: 590,326 patches of version 1, the tables of version 2, real patches, real tile metadata."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.bigearthnet_v2 import V2_COLUMNS, read_v2
from etl.catalogue.cells import list_grid_cells
from etl.catalogue.coverage import SHARED_SCENES, measure_coverage
from etl.catalogue.finder import find_products
from etl.catalogue.lists import list_patches, read_lists
from etl.catalogue.names import parse_product
from etl.catalogue.table import make_catalogue_table, read_catalogue, read_catalogue_table
from etl.labels import CLASSES_19
from etl.schema import SPLITS

SUMMARY = (
    "590326 patches of 125 products: 519339 kept, 61707 snow, 9280 cloud, "
    "train 269695 val 123723 test 125866, 0 rejected -> "
)


@pytest.fixture(scope="module")
def made(shared_data, tmp_path_factory):
    """The full catalogue as the command makes it, what it said, its CPU seconds and its peak memory in MiB."""
    out = tmp_path_factory.mktemp("full") / "patches.parquet"
    took = tmp_path_factory.mktemp("took")
    # What the command writes down of itself: a child's getrusage would count this process's own memory as its peak.
    watched = ["benchmarks.programs.watch", str(took), "etl.catalogue"]
    line = [sys.executable, "-m", *watched, "--source", str(shared_data / "lists"), "--out", str(out)]
    started = time.monotonic()
    done = subprocess.run(["taskset", "-c", "0", *line], stdout=subprocess.PIPE, text=True, check=True)
    print(f"\n{time.monotonic() - started:.1f} s")
    used = json.loads(next(took.iterdir()).read_text())
    return out, done.stdout, used["cpu_s"], used["peak_resident_mib"]


@pytest.fixture(scope="module")
def full(made):
    return read_catalogue(made[0])


def test_the_full_catalogue_has_the_published_counts(made, full):
    assert made[1] == f"{SUMMARY}{made[0]}\n"
    kept = ~full.snow & ~full.cloud
    counts = {name: int(((full.split == k) & kept).sum()) for k, name in enumerate(SPLITS)}
    assert counts == {"none": 55, "train": 269695, "val": 123723, "test": 125866}
    assert (len(full), int(kept.sum()), len(np.unique(full.product))) == (590326, 519339, 125)


def test_the_full_catalogue_is_made_within_a_minute_and_2_gib_on_one_core(made):
    _, _, seconds, mib = made
    print(f"{seconds:.1f} CPU seconds, {mib:.0f} MiB")
    assert seconds < 60
    assert mib < 2048


def test_no_patch_of_the_full_catalogue_has_a_problem(full):
    assert set(full.problem.tolist()) == {""}


def test_the_full_catalogue_is_in_store_order(full):
    keys = np.lexsort((full.ulx, -full.uly, full.product, full.acquired, full.tile))
    assert (keys == np.arange(len(full))).all()


def test_no_tile_has_more_than_91_by_91_patches_and_15_products_have_them_all(full):
    counts = np.unique(full.product, return_counts=True)[1]
    assert (int(counts.min()), int(counts.max()), int((counts == 91 * 91).sum())) == (76, 8281, 15)


def test_reading_the_full_catalogue_takes_less_than_1_gib(made):
    code = (
        "import re, sys; from pathlib import Path; from etl.catalogue.table import read_catalogue;"
        "read_catalogue(Path(sys.argv[1]));"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made[0])], capture_output=True, text=True, check=True)
    print(f"{done.stdout.strip()} MiB", end=" ")
    assert int(done.stdout) < 1024


def test_the_55_kept_patches_without_split_are_not_in_version_2_which_wants_a_label(shared_data, full):
    lost = full.patch[(full.split == 0) & ~full.snow & ~full.cloud]
    names = pq.read_table(shared_data / "lists" / "metadata_v2.parquet", columns=["s2v1_name"])["s2v1_name"]
    assert len(lost) == 55
    assert not pc.any(pc.is_in(names, value_set=pa.array([name.decode() for name in lost]))).as_py()


def test_the_seven_real_patches_lie_where_their_names_and_the_list_say(shared_data):
    folder = shared_data / "patches_v1"
    rows, rejected = read_v1(sorted(path.name for path in folder.iterdir()), lambda name: [folder / name])
    assert (len(rows), rejected) == (7, [])
    listed, _ = list_patches(read_lists(shared_data / "lists"))
    placed = listed.filter(pc.is_in(listed["patch"], value_set=rows["patch"].combine_chunks())).sort_by("patch")
    for name in ("patch", "tile", "epsg", "ulx", "uly"):
        assert placed[name].to_pylist() == rows.sort_by("patch")[name].to_pylist(), name


def test_the_time_in_a_version_1_name_is_within_ten_seconds_of_its_products(full):
    stems = sorted({(name.rsplit(b"_", 2)[0], product) for name, product in zip(full.patch, full.product, strict=True)})
    off = []
    for stem, product in stems:
        clock = re.fullmatch(r"\d{8}T(\d{1,6})", stem.decode().split("_")[2])[1].zfill(6)
        acquired = parse_product(product.decode()).acquired
        named = int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:])
        off.append(named - (acquired.hour * 3600 + acquired.minute * 60 + acquired.second))
    assert (len(stems), min(off), max(off)) == (159, -8, 3)


def test_the_times_that_tiles_share_are_those_of_the_list_of_products(full):
    products = {}
    for name, product in zip(full.patch.tolist(), full.product.tolist(), strict=True):
        mission, _, time = name.decode().split("_")[:3]
        products.setdefault(f"{mission}_{time}", set()).add(product)
    assert sorted(SHARED_SCENES) == sorted(scene for scene, found in products.items() if len(found) > 1)


def test_published_lists_are_no_mistake_if_the_source_holds_three_products(shared_data, full):
    names = np.unique(full.product)
    some = np.isin(full.product, names[[0, 15, 60]])  # two of them of times that tiles share; no snow
    rows = make_catalogue_table(patch=full.patch[some].astype(str), product=full.product[some].astype(str))
    lists = read_lists(shared_data / "lists", rows["patch"])
    for products in (lists.products, None):
        coverages = measure_coverage(lists.names, rows, products)
        assert [(c.name, c.expected) for c in coverages if c.is_unmatched or c.matched < c.expected] == []
        assert sum(c.names > c.expected for c in coverages) == 6


def test_version_2_says_of_every_patch_the_same_mission_time_orbit_tile_and_cell_as_the_list_of_products(
    shared_data, full
):
    files = [shared_data / "lists" / name for name in ("metadata_v2.parquet", "metadata_v2_snow_cloud.parquet")]
    rows, rejected = read_v2(files)
    assert (len(rows), rejected) == (549488, [])
    names = pa.concat_tables([pq.read_table(file, columns=["patch_id", "s2v1_name"]) for file in files])
    version_1 = names["s2v1_name"].take(pc.index_in(rows["patch"], value_set=names["patch_id"].combine_chunks()))
    at = pc.index_in(version_1, value_set=pa.array(full.patch.astype(object), pa.binary()).cast(pa.string())).to_numpy()
    for name in ("tile", "epsg", "ulx", "uly"):
        mine = getattr(full, name)[at]
        wanted = rows[name].to_numpy() if mine.dtype.kind != "S" else np.array(rows[name].to_pylist(), "S")
        assert (mine == wanted).all(), name
    assert (full.acquired[at] == rows["acquired"].cast(pa.timestamp("s")).to_numpy()).all()
    pairs = {(a, b.decode()) for a, b in zip(rows["product"].to_pylist(), full.product[at], strict=True)}
    assert all(parse_product(one).acquisition == parse_product(other).acquisition for one, other in pairs)


def test_snow_of_version_2_is_on_the_list_of_version_1(shared_data, full):
    found = pq.read_table(shared_data / "lists" / "metadata_v2_snow_cloud.parquet")
    snowy = found.filter(found["contains_seasonal_snow"])["s2v1_name"].to_pylist()
    assert {name.encode() for name in snowy} <= set(full.patch[full.snow].tolist())


def test_the_labels_of_version_2_are_the_19_classes(shared_data):
    labels = pq.read_table(shared_data / "lists" / "metadata_v2.parquet", columns=["labels"])["labels"]
    assert set(pc.unique(pc.list_flatten(labels)).to_pylist()) == set(CLASSES_19)


def test_version_2_gives_a_catalogue_of_19_classes_without_problem(shared_data, tmp_path):
    line = [sys.executable, "-m", "etl.catalogue", "--out", str(tmp_path / "v2.parquet"), "--source"]
    source = str(shared_data / "lists" / "metadata_v2.parquet")
    done = subprocess.run([*line, source], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "480038 patches of 115 products: 480038 kept, 0 snow, 0 cloud, train 237871 val 122342 test 119825, 0 rejected"
    )
    catalogue = read_catalogue(tmp_path / "v2.parquet")
    assert (catalogue.nomenclature, set(catalogue.problem.tolist())) == (19, {""})
    assert catalogue.classes.any(axis=1).all()


def test_the_real_version_2_patch_finds_its_metadata_among_the_lists(shared_data, tmp_path):
    command = ["etl.catalogue", "--source", str(shared_data / "patches_v2" / "BigEarthNet-S2")]
    lists = ["--lists", str(shared_data / "lists"), "--out", str(tmp_path / "v2.parquet")]
    subprocess.run([sys.executable, "-m", *command, *lists], capture_output=True, check=True)
    row = read_catalogue_table(tmp_path / "v2.parquet").to_pylist()[0]
    assert row["patch"] == "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_75_43"
    assert (row["epsg"], row["ulx"], row["uly"]) == (32633, 390000.0, 5348400.0)  # as its GeoTIFFs say
    assert (row["split"], row["country"], len(row["labels"])) == ("val", "Austria", 3)


def test_real_products_give_every_cell_of_their_tiles(shared_data):
    rows, rejected = list_grid_cells(find_products(shared_data / "safe_xml").products)
    assert (len(rows), rejected) == (2 * 91 * 91, [])
    assert set(rows["tile"].to_pylist()) == {"07HFE", "33XWJ"}


def test_the_columns_used_of_version_2_are_those_it_publishes(shared_data):
    schema = pq.read_schema(shared_data / "lists" / "metadata_v2.parquet")
    assert {name: schema.field(name).type for name in V2_COLUMNS} == {
        name: pa.list_(pa.field("element", pa.string())) if name == "labels" else kind
        for name, kind in V2_COLUMNS.items()
    }
