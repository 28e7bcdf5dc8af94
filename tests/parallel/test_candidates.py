"""Several products of one acquisition: each patch is read from the first that has all its pixels."""

import json
import shutil
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from bad_input import (
    SMALL_BLOCKS,
    broken_job,
    cut,
    errors,
    job,
    listed,
    poke,
    product_of,
    put_catalogue,
    random_pixels,
    reasons,
    without_data,
)
from commands import content, ranks, same

from etl.bands import GROUPS
from etl.sample.product import OFFSET
from etl.sample.safe import BLOCK_PX, write_product, zip_product
from etl.store.journal import Journal, journal_location
from etl.store.location import Location

PX = 360

RESULTS = (*(f"data_{group.name}" for group in GROUPS), "data_super", "product", "baseline", "checksum", "state",
           "nodata_share", "cloud_share", "snow_share")  # fmt: skip


def put_products(root, pixels, **spec):
    """Products of one acquisition, the best first, and its catalogue; `pixels`: those of each."""
    specs = [product_of(1, generated=datetime(2017, 6, 20 - k), **spec) for k in range(len(pixels))]
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        for one, of_product in zip(specs, pixels, strict=True):
            write_product(root / "tiles", one, of_product)
    put_catalogue(root / "patches.parquet", listed(specs[-1], 2 * len(pixels[0].scl)))
    return specs


def put_parts(root, spans, **spec):
    """Products of one acquisition, the best first, each without data in one of `spans`; and its catalogue."""
    return put_products(root, [without_data(random_pixels(k, PX), *span) for k, span in enumerate(spans)], **spec)


def alone(root, spec, folder):
    """Content of the store that one of the products gives if it is the only one on disk."""
    (folder / "tiles").mkdir(parents=True)
    shutil.copytree(root / "tiles" / spec.name, folder / "tiles" / spec.name)
    shutil.copy(root / "patches.parquet", folder)
    assert job(1, folder, folder / "store.h5").returncode == 0
    return content(folder / "store.h5")


def best_of(stores):
    """By data set the rows that the first product with the most pixels gives; and which product that is."""
    share = np.stack([np.where(np.isnan(store["nodata_share"]), 2, store["nodata_share"]) for store in stores])
    best = share.argmin(axis=0)
    return {name: np.stack([stores[k][name][row] for row, k in enumerate(best)]) for name in RESULTS}, best


def is_best(store, expected):
    return all(store[name].tobytes() == expected[name].astype(store[name].dtype).tobytes() for name in RESULTS)


def nodata_counted(store, group):
    """Pixels without data in all written rows, by band, from the statistics and from the pixels."""
    words = store[f"stats/data_{group.name}/nodata"].astype(object)
    pixels = store[f"data_{group.name}"][store["state"] == 1]
    return (words[..., 0] * 2**64 + words[..., 1]).sum(0).tolist(), (pixels == 0).sum(axis=(0, 1, 2)).tolist()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Three parts of one pass: of the middle patches none is complete, and the best is in the second part."""
    root = tmp_path_factory.mktemp("parts")
    specs = put_parts(root, [(150, 360), (0, 138), (0, 240)])
    stores = [alone(root, spec, root / f"alone-{k}") for k, spec in enumerate(specs)]
    done = job(1, root, root / "store.h5")
    assert done.returncode == 0, done.stderr
    tile = SimpleNamespace(root=root)
    return SimpleNamespace(
        tile=tile, root=root, specs=specs, stores=stores, done=done, store=content(root / "store.h5")
    )


def test_a_patch_is_read_from_the_first_product_with_all_of_its_pixels_else_from_the_one_with_most(parts):
    expected, best = best_of(parts.stores)
    assert best.reshape(3, 3).tolist() == [[0, 1, 1]] * 3
    assert is_best(parts.store, expected)
    assert [name.decode() for name in parts.store["product"][:2]] == [one.name[:-5] for one in parts.specs[:2]]
    assert (parts.store["nodata_share"].reshape(3, 3) > 0).tolist() == [[False, True, False]] * 3


def test_rows_and_their_names_stay_those_of_the_listed_product(parts):
    for name in ("patch", "tile", "acquired", "ulx", "uly", "split", "classes"):
        assert parts.store[name].tobytes() == parts.stores[0][name].tobytes()


def test_statistics_count_each_row_once_with_the_pixels_that_it_has(parts):
    for group in GROUPS:
        in_statistics, in_pixels = nodata_counted(parts.store, group)
        assert in_statistics == in_pixels


def test_each_needed_block_of_each_needed_product_is_decoded_once(parts):
    """Each patch has its own blocks at 10 m and 20 m; upsampling also reads those around it."""
    record = json.loads((parts.root / "store.json").read_text())
    assert record["decoded_twice_share"] == 0
    assert record["patches"] == 9
    assert record["patches_of_further_products"] == 6
    assert record["patches_with_nodata"] == 3
    once = json.loads((parts.root / "alone-0" / "store.json").read_text())["blocks_decoded"]
    assert once < record["blocks_decoded"] < 3 * once  # the left patches need no second product, the right no third


def test_patches_that_are_listed_under_each_of_the_products_decode_no_block_twice(parts, tmp_path):
    put_catalogue(tmp_path / "patches.parquet", [
        {**patch, "product": parts.specs[k % 2].name} for k, patch in enumerate(listed(parts.specs[0], PX))
    ])  # fmt: skip
    (tmp_path / "tiles").symlink_to(parts.root / "tiles")
    done = job(2, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    store, record = content(tmp_path / "store.h5"), json.loads((tmp_path / "store.json").read_text())
    rows = [parts.store["patch"].tolist().index(patch) for patch in store["patch"].tolist()]
    assert all(store[name].tobytes() == parts.store[name][rows].tobytes() for name in RESULTS)
    assert record["blocks_decoded"] == json.loads((parts.root / "store.json").read_text())["blocks_decoded"]


def test_limits_apply_to_the_product_that_serves_a_patch(parts, tmp_path):
    done = job(2, parts.root, tmp_path / "store.h5", "--max-nodata-share", "0.1")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert store["state"].reshape(3, 3).tolist() == [[1, 2, 1]] * 3
    assert store["nodata_share"].tobytes() == parts.store["nodata_share"].tobytes()
    assert set(reasons(tmp_path / "store.h5").values()) == {"nodata share 0.150 is above the limit 0.1"}


def test_verify_holds_each_row_against_the_product_that_it_was_read_from(parts):
    where = ("--source", str(parts.root / "tiles"), "--catalogue", str(parts.root / "patches.parquet"))
    done = ranks(1, "etl.verify", str(parts.root / "store.h5"), *where, "--sample", "0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_found_is_said(parts):
    assert "1 acquisition comes in several products (for example S2A_MSIL2A" in parts.done.stderr
    assert "read also from the next product, as pixels are missing: 6 patches" in parts.done.stderr
    assert "not read from the first product of the acquisition: 6 patches" in parts.done.stderr
    plan = job(1, parts.root, parts.root / "planned.h5", "--dry-run")
    assert "are then read from up to 2 further products of their acquisition" in plan.stdout


@pytest.mark.parametrize(
    ("name", "size"), [*(("store.h5", size) for size in (2, 3, 7)), *(("store.zarr", size) for size in (1, 2, 3, 7))]
)
def test_content_is_the_same_on_any_number_of_ranks_and_in_either_format(parts, tmp_path, name, size):
    done = job(size, parts.root, tmp_path / name, "--round-mib", "1", "--shard-rows", "4")
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / name), parts.store)
    assert json.loads((tmp_path / "store.json").read_text())["decoded_twice_share"] == 0


KILL = """
    import etl.extract.write_loop as m
    sync = m.WriteLoop._sync
    def killed_after_it(self):
        sync(self)
        if self.pipeline.assignment.candidate == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    m.WriteLoop._sync = killed_after_it
"""


@pytest.mark.parametrize(("name", "size"), [("store.h5", 1), ("store.h5", 3), ("store.zarr", 2)])
def test_a_run_that_is_killed_in_its_second_pass_resumes_to_the_same_content(parts, tmp_path, name, size):
    flags = ("--out", name, "--shard-rows", "4", "--sync-s", "0")
    killed = broken_job(size, parts.tile, tmp_path, KILL, *flags)
    assert killed.returncode != 0
    journal = Journal.read(journal_location(Location.parse(tmp_path / name)))
    finished = sum(stop - first for first, stop in journal.ranges)
    assert 3 <= finished < 9
    assert journal.candidates == {parts.specs[-1].name: [spec.name[:-5] for spec in parts.specs]}
    done = job(size, parts.root, tmp_path / name, "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / name), parts.store)
    assert json.loads((tmp_path / "store.json").read_text())["patches"] == 9 - finished


@pytest.fixture
def begun(parts, tmp_path):
    """A copy of the store as a run leaves it that was killed before it had finished any row."""
    for name in ("store.h5", "patches.parquet"):
        shutil.copy(parts.root / name, tmp_path)
    lines = (parts.root / "store.h5.journal").read_text().splitlines(keepends=True)
    (tmp_path / "store.h5.journal").write_text(lines[0])
    poke(tmp_path / "store.h5", "complete", 0, b"\0")
    (tmp_path / "tiles").mkdir()
    for spec in parts.specs:
        shutil.copytree(parts.root / "tiles" / spec.name, tmp_path / "tiles" / spec.name)
    return tmp_path


def add_newer(begun, parts):
    """Another product of the acquisition, newer than all that the store was begun with."""
    newer = replace(parts.specs[0], generated=datetime(2018, 1, 1), baseline="05.10")
    shutil.copytree(parts.root / "tiles" / parts.specs[1].name, begun / "tiles" / newer.name)


def test_a_product_that_came_after_a_store_was_begun_is_ignored(begun, parts):
    add_newer(begun, parts)
    done = job(2, begun, begun / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(begun / "store.h5"), parts.store)


def test_it_is_ignored_by_a_store_without_candidates_in_its_journal_too_once_a_row_is_written(begun, parts):
    journal = begun / "store.h5.journal"
    first = json.loads(journal.read_text())
    del first["candidates"], first["contents"], first["sum"]  # as an older version wrote it
    journal.write_text(json.dumps(first) + '\n{"rows": [[0, 1]], "rejected": {}}\n')
    add_newer(begun, parts)
    done = job(2, begun, begun / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(begun / "store.h5"), parts.store)


def test_a_store_is_not_resumed_without_one_of_the_products_that_it_was_begun_with(begun, parts):
    gone = parts.specs[1].name
    shutil.rmtree(begun / "tiles" / gone)
    before = (begun / "store.h5").read_bytes()
    done = job(2, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert (
        f"row 0 of {begun}/store.h5 is to be read from {gone[:-5]}, but --source no longer has this product; resume "
        "with the --source of the first run" in errors(done)[0]
    )
    assert (begun / "store.h5").read_bytes() == before


@pytest.mark.parametrize("spans", [[(150, 360), (0, 138)], [(0, 138), (150, 360)]])
def test_the_order_of_names_decides_only_between_products_with_equally_many_pixels(tmp_path, spans):
    specs = put_parts(tmp_path, spans, baseline="05.10", offsets=OFFSET)
    assert job(1, tmp_path, tmp_path / "store.h5").returncode == 0
    store, best = content(tmp_path / "store.h5"), spans.index((0, 138))
    assert [name.decode() for name in store["product"][:3]] == [specs[k].name[:-5] for k in (1 - best, best, best)]
    assert (store["nodata_share"] > 0).tolist() == [False, True, False] * 3


def without_band(pixels):
    """The pixels of a tile with nodata everywhere in B01."""
    coarse = pixels.data_60m.copy()
    coarse[..., 0] = 0
    return replace(pixels, data_60m=coarse)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 2, 1)])
def test_a_product_without_any_data_of_a_patch_is_worse_than_one_that_lacks_a_band(tmp_path, order):
    """The left patches are empty in product 0 and lack one band in product 1; product 2 is empty everywhere."""
    left = [
        without_data(random_pixels(0), 0, 120),
        without_band(random_pixels(1)),
        without_data(random_pixels(2), 0, 240),
    ]
    specs = put_products(tmp_path, [left[k] for k in order])
    done = job(2, tmp_path, tmp_path / "store.h5", "--strict")
    assert done.returncode == 0, done.stderr
    assert "cannot be read" not in done.stderr
    store = content(tmp_path / "store.h5")
    served = [specs[order.index(k)].name[:-5] for k in (1, 0)] * 2
    assert [name.decode() for name in store["product"]] == served
    assert store["nodata_share"].tolist() == [1, 0] * 2
    for group in GROUPS:
        assert nodata_counted(store, group)[0] == nodata_counted(store, group)[1]


def classified(pixels, scene_class=4):
    """The pixels of a tile with one scene class everywhere; 4 is vegetation, 9 cloud."""
    return replace(pixels, scl=np.full_like(pixels.scl, scene_class))


def break_classes(root, spec):
    cut(next((root / "tiles" / spec.name).glob("GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2")), 0.1)


CLASSES = ("--no-check-files", "--max-cloud-share", "0.5")
"""Only by the checksums would a cut scene classification be found before it is read."""


@pytest.mark.parametrize(
    ("spans", "scene_class", "served"),
    [
        ([(0, 0), (0, 0)], 4, [1, 1]),
        ([(0, 0), (0, 60)], 4, [1, 1]),  # the first has more pixels, but nobody knows whether they are cloud
        ([(0, 0), (0, 240)], 4, [None, None]),
        ([(0, 0), (120, 240), (0, 120)], 4, [1, 2]),
        ([(0, 0), (0, 0)], 9, [None, None]),
    ],
)
def test_where_cloud_is_limited_a_product_with_scene_classes_serves(tmp_path, spans, scene_class, served):
    pixels = [without_data(classified(random_pixels(k), scene_class), *span) for k, span in enumerate(spans)]
    specs = put_products(tmp_path, pixels)
    break_classes(tmp_path, specs[0])
    job(2, tmp_path, tmp_path / "store.h5", *CLASSES)
    store = content(tmp_path / "store.h5")
    names = [name.decode() for name in store["product"][:2]]
    assert store["state"].tolist() == [2 if k is None else 1 for k in served] * 2
    assert all(name == specs[k].name[:-5] for name, k in zip(names, served, strict=True) if k is not None)
    for group in GROUPS:
        assert nodata_counted(store, group)[0] == nodata_counted(store, group)[1]
    if scene_class == 9:
        assert set(reasons(tmp_path / "store.h5").values()) == {"cloud share 1.000 is above the limit 0.5"}


def test_a_better_product_without_scene_classes_takes_no_patch_away(tmp_path):
    """The second has all pixels of the left patches, of which the first lacks some."""
    specs = put_products(tmp_path, [without_data(classified(random_pixels(0)), 0, 60), classified(random_pixels(1))])
    break_classes(tmp_path, specs[1])
    done = job(1, tmp_path, tmp_path / "store.h5", "--strict", *CLASSES)
    assert done.returncode == 0, done.stderr
    assert set(content(tmp_path / "store.h5")["product"].tolist()) == {specs[0].name[:-5].encode()}
    done = job(1, tmp_path, tmp_path / "kept.h5", "--strict", "--keep-unclassified", *CLASSES)
    assert done.returncode == 0, done.stderr
    assert [name.decode() for name in content(tmp_path / "kept.h5")["product"]] == [
        specs[k].name[:-5] for k in (1, 0)
    ] * 2


def test_a_copy_of_the_product_with_whole_scene_classes_serves(tmp_path):
    (spec,) = put_products(tmp_path, [classified(random_pixels(0))])
    zip_product(tmp_path / "tiles" / spec.name)
    break_classes(tmp_path, spec)
    done = job(3, tmp_path, tmp_path / "store.h5", "--strict", *CLASSES)
    assert done.returncode == 0, done.stderr
    assert "read also from the next product, as scene classes are missing: 4 patches" in done.stderr
    assert content(tmp_path / "store.h5")["cloud_share"].tolist() == [0] * 4


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The two halves of a tile in two products, and the store that a run gives which can read both."""
    root = tmp_path_factory.mktemp("halves")
    specs = put_parts(root, [(0, PX // 2), (PX // 2, PX)])
    done = job(1, root, root / "store.h5")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(root=root, specs=specs, store=content(root / "store.h5"))


@pytest.fixture
def half_read(halves, tmp_path):
    """A run of which one half could not be read; since then it was repaired. Patches of that half are rejected."""
    for spec in halves.specs:
        shutil.copytree(halves.root / "tiles" / spec.name, tmp_path / "tiles" / spec.name)
    shutil.copy(halves.root / "patches.parquet", tmp_path)
    metadata = tmp_path / "tiles" / halves.specs[0].name / "MTD_MSIL2A.xml"
    text = metadata.read_bytes()
    metadata.unlink()
    done = job(1, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    assert "in several products" not in done.stderr
    metadata.write_bytes(text)
    assert content(tmp_path / "store.h5")["state"].reshape(3, 3).tolist() == [[1, 1, 2]] * 3
    return tmp_path


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_rejected_patches_are_retried_from_a_product_that_was_repaired_since(halves, half_read, size):
    done = job(size, half_read, half_read / "store.h5", "--resume", "--retry-rejected", "--strict")
    assert done.returncode == 0, done.stderr
    assert "they are ignored" not in done.stderr
    newer, older = (spec.name[:-5] for spec in halves.specs)
    assert f"1 acquisition comes in several products (for example {older}.SAFE, {newer}.SAFE)" in done.stderr
    store, journal = (
        content(half_read / "store.h5"),
        Journal.read(journal_location(Location.parse(half_read / "store.h5"))),
    )
    right = np.arange(9) % 3 == 2
    assert all(store[name][right].tobytes() == halves.store[name][right].tobytes() for name in RESULTS)
    assert set(store["product"][~right].tolist()) == {older.encode()}
    assert list(journal.candidates.values()) == [[older, newer]]
    for group in GROUPS:
        assert nodata_counted(store, group)[0] == nodata_counted(store, group)[1]


def test_a_retry_that_is_killed_resumes_to_the_same_content(halves, half_read):
    for name in ("store.h5", "store.h5.journal", "store.rejected.csv"):
        shutil.copy(half_read / name, half_read / name.replace("store", "killed"))
    flags = ("--resume", "--retry-rejected")
    assert job(1, half_read, half_read / "store.h5", *flags).returncode == 0
    tile = SimpleNamespace(root=half_read)
    assert broken_job(2, tile, half_read, KILL, "--out", "killed.h5", "--sync-s", "0", *flags).returncode != 0
    done = job(3, half_read, half_read / "killed.h5", "--resume", "--strict")
    assert done.returncode == 0, done.stderr
    assert same(content(half_read / "killed.h5"), content(half_read / "store.h5"))


def test_without_a_retry_one_warning_names_what_is_ignored(halves, half_read):
    before = (half_read / "store.h5").read_bytes()
    done = job(2, half_read, half_read / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "they are ignored" in line]
    assert (
        f"the store was begun without these products, so they are ignored: {halves.specs[0].name[:-5]}; with "
        "--retry-rejected patches that are open or rejected are read from them, too" in line
    )
    assert "in several products" not in done.stderr
    assert (half_read / "store.h5").read_bytes() == before


def test_nothing_is_ignored_where_every_patch_is_written(halves, tmp_path):
    for name in ("store.h5", "store.h5.journal", "patches.parquet"):
        shutil.copy(halves.root / name, tmp_path)
    shutil.copytree(halves.root / "tiles", tmp_path / "tiles")
    newer = replace(halves.specs[0], generated=datetime(2018, 1, 1), baseline="05.10")
    shutil.copytree(halves.root / "tiles" / halves.specs[1].name, tmp_path / "tiles" / newer.name)
    done = job(1, tmp_path, tmp_path / "store.h5", "--resume")
    assert "nothing to do" in done.stdout
    assert "they are ignored" not in done.stderr
