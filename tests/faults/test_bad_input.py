"""Bad input: what cannot be made is listed with its reason, all else is made, the status is right, nothing hangs."""

import csv
import json
import re
import shutil
import subprocess
import textwrap
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import content, ranks, same
from disks import disk

from etl.bands import GROUPS
from etl.catalogue.table import table_of, write
from etl.grid import nominal_origin
from etl.labels import CLASSES_43
from etl.raster import Georeference, write_geotiff, write_jp2
from etl.sample.archive import utm_wkt
from etl.sample.pixels import Pixels
from etl.sample.product import OFFSET, ProductSpec
from etl.sample.safe import BLOCK_PX, write_product, zip_product
from etl.store.journal import journal_path

TILE = "33UUP"
ORIGIN = nominal_origin(TILE)
SMALL_BLOCKS = {10: 120, 20: 60, 60: 40}
"""Sides of JPEG 2000 tiles such that each patch has its own at 10 m and 20 m."""

SOT = b"\xff\x90\x00\x0a"
"""Start of a tile-part in a JPEG 2000 code stream; the number of the tile follows, two bytes."""


def product_of(day, tile=TILE, **other):
    """What a product sensed on a day of June 2017 is called."""
    sensed = datetime(2017, 6, day, 10, 10, 31)
    said = {"generated": datetime(2017, 6, day, 12), "baseline": "02.05", **other}
    return ProductSpec("S2A", sensed, sensed, relative_orbit=22, absolute_orbit=10312, tile=tile, **said)


def random_pixels(seed, px=240):
    rng = np.random.default_rng(seed)
    bands = [rng.integers(1, 12_000, (px // g.factor, px // g.factor, len(g.bands))).astype(np.uint16) for g in GROUPS]
    return Pixels(*bands, rng.integers(0, 12, (px // 2, px // 2)).astype(np.uint8))


def listed(spec, px=240, labels=("Mixed forest",)):
    """One dictionary a patch of a product, as the catalogue lists it."""
    origin, cells = nominal_origin(spec.tile), range(px // 120)
    return [
        {
            "patch": f"{spec.v1_prefix}_{i}_{j}", "tile": spec.tile, "product": spec.name, "acquired": spec.sensed,
            "epsg": origin.epsg, "ulx": origin.ulx + 1200 * i, "uly": origin.uly - 1200 * j, "labels": list(labels),
        }
        for j in cells for i in cells
    ]  # fmt: skip


def write_catalogue(path, patches):
    write(path, table_of(**{name: [patch[name] for patch in patches] for name in patches[0]}))


def image(product, band, gsd_m):
    return next(product.glob(f"GRANULE/*/IMG_DATA/R{gsd_m}m/*_{band}_{gsd_m}m.jp2"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(path, size):
    """Truncate a file; `size` may be a share of what it has."""
    path.write_bytes(path.read_bytes()[: size if isinstance(size, int) else int(size * path.stat().st_size)])


def cut_in_block(path, block):
    """Truncate a JPEG 2000 file in the middle of one block: that one is broken, and those behind it are lost."""
    data = path.read_bytes()
    first = data.index(SOT + block.to_bytes(2, "big"))
    follows = data.find(SOT + (block + 1).to_bytes(2, "big"))
    path.write_bytes(data[: (first + (follows if follows > 0 else len(data))) // 2])


def job(size, root, out, *flags, **more):
    """Extract what lies in `root`."""
    paths = ("--catalogue", str(root / "patches.parquet"), "--source", str(root / "tiles"), "--out", str(out))
    return ranks(size, "etl.extract", *paths, *flags, **more)


def reasons(out):
    """Reason by patch in a store's rejected.csv; of a patch that is listed twice the last one."""
    with out.with_name(out.stem + ".rejected.csv").open(newline="", encoding="utf-8") as file:
        return {line["patch"]: line["reason"] for line in csv.DictReader(file)}


def errors(done):
    """Lines of stderr that say what went wrong."""
    return [line for line in done.stderr.splitlines() if "error:" in line]


def pixels_of(patch, tile):
    """The three native groups of a catalogue's patch, cut from the tile's pixels."""
    i, j = (int(abs(patch[axis] - start)) // 1200 for axis, start in (("ulx", ORIGIN.ulx), ("uly", ORIGIN.uly)))
    return [
        array[j * g.patch_px : (j + 1) * g.patch_px, i * g.patch_px : (i + 1) * g.patch_px]
        for g, array in zip(GROUPS, tile.groups, strict=True)
    ]


def is_written(store, patch, tile):
    """Whether a patch stands in the store, in state 1, with the tile's pixels."""
    row = store["patch"].tolist().index(patch["patch"].encode())
    groups = zip(GROUPS, pixels_of(patch, tile), strict=True)
    return store["state"][row] == 1 and all(np.array_equal(store[f"data_{g.name}"][row], p) for g, p in groups)


# --- products and lists with something wrong, all in one archive --------------------------------------------------

WHOLE = "MTD_MSIL2A.xml"


def granule(product):
    return next(product.glob("GRANULE/*/MTD_TL.xml"))


def offset(product, text):
    edit(product / WHOLE, '<BOA_ADD_OFFSET band_id="3">-1000<', f'<BOA_ADD_OFFSET band_id="3">{text}<')


def replace_image(product, band, gsd_m, shape, dtype):
    where = Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, gsd_m)
    write_jp2(image(product, band, gsd_m), np.ones(shape, dtype), where, 120)


def break_zip(product):
    cut(zip_product(product), 0.5)
    shutil.rmtree(product)


FAULTS = {
    "a band is absent": (lambda p: image(p, "B09", 60).unlink(), r"\.SAFE must hold all twelve bands; B09 missing"),
    "a band is empty": (lambda p: cut(image(p, "B03", 10), 0), r"band B03: .*_B03_10m\.jp2 cannot be opened"),
    "a band ends in its header": (lambda p: cut(image(p, "B8A", 20), 100), r"band B8A: .*m\.jp2 cannot be opened"),
    "a band is a folder": (
        lambda p: (image(p, "B02", 10).unlink(), (p / "GRANULE/x/IMG_DATA/R10m/T_B02_10m.jp2").mkdir(parents=True)),
        r"B02 missing",
    ),
    "a band has 8 bits": (
        lambda p: replace_image(p, "B02", 10, (240, 240), np.uint8),
        r"band B02 must be 240 x 240 pixels of UInt16, got 240 x 240 of Byte in .*_B02_10m\.jp2",
    ),
    "a band has another size": (
        lambda p: replace_image(p, "B11", 20, (240, 120), np.uint16),
        r"band B11 must be 120 x 120 pixels of UInt16, got 240 x 120 of UInt16 in .*_B11_20m\.jp2",
    ),
    "the scene classification has 16 bits": (
        lambda p: replace_image(p, "SCL", 20, (120, 120), np.uint16),
        r"band SCL must be 120 x 120 pixels of Byte, got 120 x 120 of UInt16",
    ),
    "the product's XML is absent": (lambda p: (p / WHOLE).unlink(), r"must hold MTD_MSIL2A\.xml, which is missing"),
    "the product's XML is cut": (lambda p: cut(p / WHOLE, 0.7), r"MTD_MSIL2A\.xml must be well-formed XML"),
    "the product's XML is empty": (lambda p: cut(p / WHOLE, 0), r"MTD_MSIL2A\.xml must be well-formed XML"),
    "the product's XML has another encoding": (
        lambda p: (p / WHOLE).write_bytes(b'<?xml version="1.0" encoding="latin-9000"?><a/>'),
        r"MTD_MSIL2A\.xml must be well-formed XML",
    ),
    "no quantification value": (
        lambda p: edit(p / WHOLE, "BOA_QUANTIFICATION_VALUE", "SOME_VALUE"),
        r"product metadata must hold BOA_QUANTIFICATION_VALUE or L2A_BOA_QUANTIFICATION_VALUE",
    ),
    "a quantification value of 0": (
        lambda p: edit(p / WHOLE, "none\">10000<", "none\">0<"),
        r"must give a positive quantification value, got 0",
    ),
    "a quantification value that is none": (
        lambda p: edit(p / WHOLE, "none\">10000<", "none\">nan<"),
        r"must give a positive quantification value, got nan",
    ),
    "an offset that is no number": (
        lambda p: offset(p, "minus 1000"),
        r"BOA_ADD_OFFSET of B04 must be a number, got 'minus 1000'",
    ),
    "an offset for some bands only": (
        lambda p: edit(p / WHOLE, 'BOA_ADD_OFFSET band_id="3"', 'BOA_ADD_OFFSET band_id="33"'),
        r"gives BOA_ADD_OFFSET for some bands but not for B04",
    ),
    "the tile's XML is absent": (lambda p: granule(p).unlink(), r"must hold GRANULE/\*/MTD_TL\.xml, which is missing"),
    "the tile's XML is cut": (lambda p: cut(granule(p), 0.5), r"MTD_TL\.xml must be well-formed XML"),
    "a tile of no whole 60 m pixels": (
        lambda p: granule(p).write_text(granule(p).read_text().replace(">240<", ">241<")),
        r"tile metadata must give .* size .* of the 10 m grid: size_px must be a positive multiple of 6 .*, got 241",
    ),
    "a tile in another projection": (
        lambda p: edit(granule(p), "EPSG:32633", "EPSG:32733"),
        r"patch must lie in its tile's projection EPSG:32733, got EPSG:32633",
    ),
    "a tile shifted by half a patch": (
        lambda p: granule(p).write_text(granule(p).read_text().replace(f"{ORIGIN.ulx:.0f}", f"{ORIGIN.ulx + 600:.0f}")),
        r"upper left corner must lie on the 1200 m patch grid of the tile \(from 300600, .*\), got 30\d+",
    ),
    "a broken zip file": (break_zip, r"\.SAFE\.zip must be a zip file"),
    "no product": (shutil.rmtree, r"no Level-2A product on disk serves S2A_MSIL2A_201706"),
    "an empty folder": (lambda p: (shutil.rmtree(p), p.mkdir()), r"must hold MTD_MSIL2A\.xml, which is missing"),
    "a link to nowhere": (
        lambda p: (shutil.rmtree(p), p.symlink_to(p.parent / "gone")), r"must hold MTD_MSIL2A\.xml, which is missing"
    ),
}  # fmt: skip
"""What is done to a product, and the reason that rejects its patches."""

LISTING = {
    "outside the tile's image": (
        {"ulx": ORIGIN.ulx + 1200 * 50},
        r"inside its tile of 2 x 2 cells, got row 0, column 50",
    ),
    "outside the tile": ({"ulx": ORIGIN.ulx - 1200}, r"inside its tile of 91 x 91 cells, got row 0, column -1"),
    "off the pixel grid": ({"uly": ORIGIN.uly - 5.5}, r"on the 1200 m patch grid of the tile .* got \d+, \d+\.5"),
    "of no finite place": ({"uly": float("nan")}, r"on the 1200 m patch grid of the tile .* nan"),
    "in another zone": ({"epsg": 32632}, r"epsg must be 32633, that of its tile, got 32632"),
    "of an unknown label": ({"labels": ["Sea and ocean", "Moon"]}, r"label must be one of the 43 classes, got 'Moon'"),
    "of a product with no name": ({"product": "somewhere"}, r"no Level-2A product on disk serves somewhere"),
    "on a tile that is none": ({"tile": "99XYZ"}, r"99XYZ"),
}
"""What is wrong with one listed patch, and the reason that rejects it."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """An archive in which one product is good and each other has one fault; extracted on 1, 2 and 3 ranks."""
    root = tmp_path_factory.mktemp("faulty")
    good = product_of(1)
    pixels = {good.name: random_pixels(1)}
    write_product(root / "tiles", good, pixels[good.name])
    patches, of = listed(good), {}
    for number, (name, (change, _)) in enumerate(FAULTS.items(), start=2):
        spec = product_of(number, baseline="05.10", offsets=OFFSET)
        change(write_product(root / "tiles", spec, random_pixels(number)))
        of[name] = [patch["patch"] for patch in listed(spec)]
        patches += listed(spec)
    for number, (name, (change, _)) in enumerate(LISTING.items()):
        of[name] = [f"{good.v1_prefix}_9_{number}"]
        patches.append({**listed(good)[0], "patch": of[name][0], **change})
    patches.append(listed(good)[3])
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        for number, band, gsd_m, block in ((29, "B02", 10, 4), (30, "B11", 20, 8)):
            spec = product_of(number)
            pixels[spec.name] = random_pixels(number, 360)
            cut_in_block(image(write_product(root / "tiles", spec, pixels[spec.name]), band, gsd_m), block)
            patches += listed(spec, 360)
    write_catalogue(root / "patches.parquet", patches)
    outs = {size: root / f"{size}.h5" for size in (1, 2, 3)}
    done = {1: job(1, root, outs[1]), 3: job(3, root, outs[3], "--strict")}
    done[2] = job(2, root, outs[2], "--balance", "paper", "--write", "independent", "--round-mib", "1")
    assert outs[1].exists(), done[1].stderr
    stores = {size: content(out) for size, out in outs.items()}
    return SimpleNamespace(done=done, outs=outs, stores=stores, patches=patches, of=of, pixels=pixels)


@pytest.mark.parametrize("fault", [*FAULTS, *LISTING])
def test_a_fault_rejects_the_patches_that_it_touches_with_a_reason_that_names_it(faulty, fault):
    said = reasons(faulty.outs[1])
    for patch in faulty.of[fault]:
        assert re.search({**FAULTS, **LISTING}[fault][1], said[patch]), said[patch]


def test_a_rejected_row_keeps_its_place_its_identity_and_labels_and_has_no_pixels(faulty):
    store = faulty.stores[1]
    for patch in (patch for fault in FAULTS for patch in faulty.of[fault]):
        (row,) = np.flatnonzero(store["patch"] == patch.encode())
        assert store["state"][row] == 2
        assert store["tile"][row] == TILE.encode()
        assert store["classes"][row].nonzero()[0].tolist() == [CLASSES_43.index("Mixed forest")]
        assert not any(store[f"data_{name}"][row].any() for name in ("10m", "20m", "60m", "super"))
        assert np.isnan(store["cloud_share"][row])


def test_the_patches_of_good_products_are_written_as_if_nothing_were_wrong_elsewhere(faulty):
    store = faulty.stores[1]
    good = faulty.patches[:4]
    assert all(is_written(store, patch, faulty.pixels[patch["product"]]) for patch in good)
    assert (store["state"] == 1).sum() == 4 + 4 + 5  # and of the two products that are cut in a block


def test_of_a_patch_that_is_listed_twice_the_first_row_is_written_and_the_other_rejected(faulty):
    rows = np.flatnonzero(faulty.stores[1]["patch"] == faulty.patches[3]["patch"].encode())
    assert faulty.stores[1]["state"][rows].tolist() == [1, 2]
    assert "listed more than once" in reasons(faulty.outs[1])[faulty.patches[3]["patch"]]


def test_a_band_that_ends_in_a_block_rejects_only_patches_that_need_this_block_or_later_ones(faulty):
    """Nine blocks, nine patches; of the 20 m band upsampling also looks at the neighbouring pixel."""
    said = reasons(faulty.outs[1])
    for number, broken in ((29, [4, 5, 6, 7, 8]), (30, [4, 5, 7, 8])):
        spec = product_of(number)
        for cell, patch in enumerate(listed(spec, 360)):
            if cell in broken:
                assert "jp2 is broken at row" in said[patch["patch"]]
            else:
                assert patch["patch"] not in said
                assert is_written(faulty.stores[1], patch, faulty.pixels[spec.name]), cell


@pytest.mark.parametrize("size", [2, 3])  # by the paper's plan, and by cost
def test_what_is_rejected_and_why_does_not_depend_on_ranks_and_balance(faulty, size):
    assert same(faulty.stores[1], faulty.stores[size])
    one, other = (faulty.outs[n].with_name(f"{n}.rejected.csv").read_text() for n in (1, size))
    assert one == other


def test_rejections_are_counted_in_the_last_line_and_end_in_status_4_only_if_asked(faulty):
    rejected = int((faulty.stores[1]["state"] == 2).sum())
    assert {size: done.returncode for size, done in faulty.done.items()} == {1: 0, 2: 0, 3: 4}
    for size in faulty.done:
        assert f", {rejected} rejected -> " in faulty.done[size].stdout.splitlines()[-1]
        assert faulty.done[size].stderr.count("patches are rejected, for example") == 1
        assert "Traceback" not in faulty.done[size].stderr
    assert json.loads(faulty.outs[1].with_suffix(".json").read_text())["rejected"] == rejected
    assert faulty.stores[1]["complete"] == 1


def test_resuming_a_complete_store_with_rejections_does_nothing_and_under_strict_says_4(faulty):
    root = faulty.outs[1].parent
    before = faulty.outs[1].read_bytes()
    done = job(1, root, faulty.outs[1], "--resume", "--strict")
    assert "nothing to do" in done.stdout
    assert done.returncode == 4
    assert faulty.outs[1].read_bytes() == before


# --- patch archives -----------------------------------------------------------------------------------------------


def write_patch(archive, i, j, seed):
    """One patch of BigEarthNet v1 with random pixels; its name."""
    name = f"{product_of(1).v1_prefix}_{i}_{j}"
    folder, rng = archive / name, np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ulx, uly = ORIGIN.ulx + 1200 * i, ORIGIN.uly - 1200 * j
    for group in GROUPS:
        for band in group.bands:
            pixels = rng.integers(1, 12_000, (group.patch_px, group.patch_px)).astype(np.uint16)
            write_geotiff(folder / f"{name}_{band}.tif", pixels, Georeference(ORIGIN.epsg, ulx, uly, group.gsd_m))
    said = {
        "labels": ["Mixed forest"],
        "coordinates": {"ulx": ulx, "uly": uly, "lrx": ulx + 1200, "lry": uly - 1200},
        "projection": utm_wkt(ORIGIN.epsg),
        "tile_source": product_of(1).product_name("MSIL1C", "02.05", product_of(1).generated),
        "acquisition_date": "2017-06-01 10:10:31",
    }
    (folder / f"{name}_labels_metadata.json").write_text(json.dumps(said))
    return name


def geotiff(folder, band):
    return folder / f"{folder.name}_{band}.tif"


def replace_geotiff(folder, band, shape, dtype):
    write_geotiff(geotiff(folder, band), np.ones(shape, dtype), Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, 10))


PATCH_FAULTS = {
    "a band is absent": (lambda f: geotiff(f, "B11").unlink(), r"_B11\.tif cannot be opened"),
    "a band is empty": (lambda f: cut(geotiff(f, "B01"), 0), r"_B01\.tif cannot be opened"),
    "a band is cut": (lambda f: cut(geotiff(f, "B02"), 0.5), r"_B02\.tif (is broken|cannot be opened)"),
    "a band is something else": (lambda f: geotiff(f, "B03").write_text("pixels"), r"_B03\.tif cannot be opened"),
    "a band has 8 bits": (
        lambda f: replace_geotiff(f, "B04", (120, 120), np.uint8),
        r"_B04\.tif must be 120 x 120 pixels of UInt16, got 120 x 120 of Byte",
    ),
    "a band has another size": (
        lambda f: replace_geotiff(f, "B8A", (120, 60), np.uint16),
        r"_B8A\.tif must be 60 x 60 pixels of UInt16, got 120 x 60 of UInt16",
    ),
    "the folder is absent": (shutil.rmtree, r"_B02\.tif cannot be opened"),
}
"""What is done to a patch's folder once it is listed, and the reason that rejects it."""

JSON_FAULTS = {
    "is absent": (lambda path: path.unlink(), "must be in the patch's folder, but is missing"),
    "is cut": (lambda path: cut(path, 0.5), "must be JSON"),
    "is no object": (lambda path: path.write_text("[]"), "it lacks labels, coordinates, projection, tile_source"),
    "has no labels": (lambda path: edit(path, '"labels"', '"label"'), "it lacks labels"),
    "has labels that are no list": (lambda path: edit(path, '["Mixed forest"]', "5"), "labels must be a list of names"),
}
"""What is done to a patch's description, and the reason that keeps it out of the catalogue."""


@pytest.mark.parametrize("size", [1, 3])
def test_a_broken_patch_of_an_archive_is_rejected_with_its_file_and_all_others_are_made(tmp_path, size):
    archive, catalogue, out = tmp_path / "archive", tmp_path / "patches.parquet", tmp_path / "store.h5"
    whole = [write_patch(archive, i, 0, i) for i in range(3)]
    cut_off = {fault: write_patch(archive, 20 + k, 1, k) for k, fault in enumerate(JSON_FAULTS)}
    broken = {fault: write_patch(archive, 10 + k, 1, k) for k, fault in enumerate(PATCH_FAULTS)}
    for fault, name in cut_off.items():
        JSON_FAULTS[fault][0](archive / name / f"{name}_labels_metadata.json")
    done = ranks(size, "etl.catalogue", "--source", str(archive), "--out", str(catalogue), "--strict")
    assert done.returncode == 4, done.stderr
    kept_out = reasons(catalogue)
    assert {name: JSON_FAULTS[fault][1] in kept_out[name] for fault, name in cut_off.items()} == dict.fromkeys(
        kept_out, True
    )

    for fault, name in broken.items():
        PATCH_FAULTS[fault][0](archive / name)
    done = ranks(size, "etl.extract", "--catalogue", str(catalogue), "--source", str(archive), "--out", str(out))
    assert done.returncode == 0, done.stderr
    store, said = content(out), reasons(out)
    assert set(said) == set(broken.values())
    for fault, name in broken.items():
        assert re.search(PATCH_FAULTS[fault][1], said[name]), said[name]
    assert store["patch"][store["state"] == 1].tolist() == [name.encode() for name in whole]
    for row in np.flatnonzero(store["state"] == 2):
        assert not store["data_super"][row].any()


def test_an_archive_that_holds_none_of_the_listed_patches_is_refused(tmp_path):
    write_patch(tmp_path / "archive", 0, 0, 0)
    write_catalogue(tmp_path / "patches.parquet", listed(product_of(2)))
    (tmp_path / "archive").rename(tmp_path / "tiles")
    done = job(1, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 2
    assert "--source must hold products (.SAFE, .zip) or the catalogue's patch folders" in errors(done)[0]


# --- the command line and what it names -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    """One good product of nine patches, each with its own blocks, and its catalogue and store."""
    root, spec = tmp_path_factory.mktemp("tile"), product_of(1)
    pixels = random_pixels(0, 360)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        write_product(root / "tiles", spec, pixels)
    write_catalogue(root / "patches.parquet", listed(spec, 360))
    assert job(1, root, root / "store.h5").returncode == 0
    return SimpleNamespace(root=root, spec=spec, pixels=pixels, store=content(root / "store.h5"))


def snowy(path):
    write_catalogue(path, [{**patch, "snow": True} for patch in listed(product_of(1))])


def empty(path):
    snowy(path)
    pq.write_table(pq.read_table(path).slice(0, 0), path)


REFUSED = {
    "an absent catalogue": ({"--catalogue": "none.parquet"}, None, r"none\.parquet.*; make it with python"),
    "a catalogue that is no Parquet": (
        {"--catalogue": "bad.parquet"}, lambda p: (p / "bad.parquet").write_text("patch,tile"), "must be a Parquet file"
    ),
    "a catalogue that is cut": (
        {"--catalogue": "bad.parquet"},
        lambda p: (snowy(p / "bad.parquet"), cut(p / "bad.parquet", 0.7)), "must be a Parquet file",
    ),
    "a catalogue that is a folder": ({"--catalogue": "."}, None, r"make it with python -m etl\.catalogue"),
    "an empty catalogue": ({"--catalogue": "empty.parquet"}, lambda p: empty(p / "empty.parquet"), "holds no patch"),
    "a catalogue of excluded patches": (
        {"--catalogue": "snow.parquet"}, lambda p: snowy(p / "snow.parquet"),
        r"snow\.parquet must hold at least one patch without snow and cloud, got none of 4",
    ),
    "an absent source": ({"--source": "nowhere"}, None, r"--source must be a folder .*, got nowhere"),
    "an empty source": ({"--source": "empty"}, lambda p: (p / "empty").mkdir(), r"--source must hold products"),
    "a source that is a file": (
        {"--source": "file"}, lambda p: (p / "file").write_text(""), r"--source must (be a folder|hold products)"
    ),
    "a store that exists": (
        {}, lambda p: (p / "store.h5").write_text("precious"), r"store\.h5 exists; name another --out, or .*--resume"
    ),
    "a file that is no store, resumed": (
        {"--resume": None}, lambda p: (p / "store.h5").write_text("precious"), r"store\.h5"
    ),
    "a folder in the store's place": ({}, lambda p: (p / "store.h5").mkdir(), r"store\.h5 exists"),
    "an unknown ending": ({"--out": "store.csv"}, None, r"--out must end in \.h5 or \.zarr, got store\.csv"),
    "a share beyond 1": ({"--max-cloud-share": "1.5"}, None, r"--max-cloud-share must lie in \[0, 1\], got 1\.5"),
    "a share that is no number": ({"--max-snow-share": "nan"}, None, r"--max-snow-share must lie in \[0, 1\], got nan"),
    "rounds of nothing": ({"--round-mib": "0"}, None, r"--round-mib must be at least 1, got 0"),
    "rounds that overflow": ({"--round-mib": "2048"}, None, r"--round-mib must be at most 1024"),
    "retrying without resuming": ({"--retry-rejected": None}, None, r"--retry-rejected needs --resume"),
    "an unknown flag": ({"--catalog": "x"}, None, r"unknown argument '--catalog'; did you mean --catalogue\?"),
    "an unknown choice": ({"--balance": "fair"}, None, r"--balance: invalid choice: 'fair'"),
    "an unknown setting in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nupsampel = 'none'"),
        r"pipeline\.toml: table \[extract\] has no setting 'upsampel'; did you mean upsample\?",
    ),
    "a setting of the wrong type in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nround_mib = 'big'"), r"round_mib .*, got 'big'"
    ),
    "a switch that is a number in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nstrict = 1"), r"strict must be a bool, got 1"
    ),
    "a choice that is none in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nwrite = 'both'"), r"write must be one of collective"
    ),
    "a file that is no TOML": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract\n"), r"pipeline\.toml must be valid TOML"
    ),
}  # fmt: skip
"""Flags beside good ones (they win), what is done first, and what the one error says."""


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_and_files_end_in_status_2_with_one_line_that_says_why(tile, tmp_path, case):
    flags, prepare, wanted = REFUSED[case]
    if prepare:
        prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    given = {
        "--catalogue": str(tile.root / "patches.parquet"),
        "--source": str(tile.root / "tiles"),
        "--out": "store.h5",
    }
    command = [part for pair in {**given, **flags}.items() for part in pair if part is not None]
    size = 3 if case in ("a store that exists", "an absent catalogue", "an unknown setting in the file") else 1
    done = ranks(size, "etl.extract", *command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert re.search(wanted, errors(done)[0]), errors(done)[0]
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "store.json").exists()


# --- odd but good ---------------------------------------------------------------------------------------------------


def test_when_every_patch_is_rejected_the_store_is_complete_and_holds_none(tile, tmp_path):
    write_catalogue(tmp_path / "patches.parquet", [{**p, "labels": ["Moon"]} for p in listed(tile.spec, 360)])
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    done = job(3, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert (store["state"] == 2).all()
    assert store["complete"] == 1
    assert not store["stats/data_10m/count"].any()
    assert "0 patches by 3 ranks" in done.stdout


def test_one_patch_on_seven_ranks_is_made_by_one_of_them(tile, tmp_path):
    (patch,) = [p for p in listed(tile.spec, 360) if p["patch"].endswith("_1_1")]
    write_catalogue(tmp_path / "patches.parquet", [patch])
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    done = job(7, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert is_written(store, patch, tile.pixels)
    assert np.array_equal(store["data_super"][0], tile.store["data_super"][4])


def test_spaces_umlauts_braces_links_and_deep_folders_in_paths_make_no_difference(tile, tmp_path):
    """One product lies deep down, linked, as a folder; its twin of another day is a zip file with .SAFE in its name."""
    root = tmp_path / "Straße nach {Süden} %20 'x'"
    deep = root / "tiles" / "2017 06" / "Österreich"
    deep.mkdir(parents=True)
    here = tile.root / "tiles" / tile.spec.name
    (deep / tile.spec.name).symlink_to(here)
    twin = product_of(2)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        product = write_product(deep, twin, tile.pixels)
    assert zip_product(product).name.endswith(".SAFE.zip")
    shutil.rmtree(product)
    write_catalogue(root / "patches.parquet", listed(tile.spec, 360) + listed(twin, 360))
    done = job(1, root, root / "Ausgabe ü.h5")
    assert done.returncode == 0, done.stderr
    store = content(root / "Ausgabe ü.h5")
    assert (store["state"] == 1).all(), reasons(root / "Ausgabe ü.h5")
    for name in ("data_10m", "data_20m", "data_60m", "data_super", "cloud_share"):
        assert np.array_equal(store[name][:9], tile.store[name])
        assert np.array_equal(store[name][9:], tile.store[name])


def test_without_a_scene_classification_shares_are_nan_and_limits_reject_nothing(tile, tmp_path):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    image(tmp_path / "tiles" / tile.spec.name, "SCL", 20).unlink()
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    assert job(1, tmp_path, tmp_path / "store.h5", "--max-cloud-share", "0", "--max-snow-share", "0").returncode == 0
    store = content(tmp_path / "store.h5")
    assert np.isnan(store["cloud_share"]).all()
    assert np.isnan(store["snow_share"]).all()
    assert np.array_equal(store["data_super"], tile.store["data_super"])


def test_bands_cut_into_other_blocks_than_their_neighbours_are_read_alike(tile, tmp_path):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    product = tmp_path / "tiles" / tile.spec.name
    for band, gsd_m, side, block in (("B08", 10, 360, 96), ("B12", 20, 180, 180)):
        group = next(k for k, g in enumerate(GROUPS) if band in g.bands)
        pixels = tile.pixels.groups[group][..., GROUPS[group].bands.index(band)]
        assert pixels.shape == (side, side)
        write_jp2(image(product, band, gsd_m), pixels, Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, gsd_m), block)
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    assert job(3, tmp_path, tmp_path / "store.h5").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


# --- resuming -------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tile, tmp_path):
    """A copy of the tile's store and journal as a run leaves them that was stopped before it said `complete`."""
    for name in ("store.h5", "store.h5.journal", "patches.parquet"):
        shutil.copy(tile.root / name, tmp_path)
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    poke(tmp_path / "store.h5", "complete", 0, b"\0")
    return tmp_path


def poke(store, name, at, data):
    """Overwrite bytes of a data set in place."""
    with h5py.File(store) as file:
        start = file[name].id.get_offset()
    with store.open("r+b") as file:
        file.seek(start + at)
        file.write(data)


@pytest.mark.parametrize("size", [1, 3])
def test_rows_that_the_disk_lost_and_the_sums_are_made_again(begun, tile, size):
    poke(begun / "store.h5", "data_60m", 2 * 20 * 20 * 2 * 2, bytes(100))
    poke(begun / "store.h5", "checksum", 8 * 7, bytes(8))
    poke(begun / "store.h5", "stats/data_10m/sum", 0, bytes(64))
    done = job(size, begun, begun / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 patches by")
    assert same(content(begun / "store.h5"), tile.store)


def test_a_store_is_resumed_only_with_the_settings_it_was_begun_with(begun):
    for flags, wanted in (
        (("--upsample", "none"), "upsample was bilinear, is none"),
        (("--max-cloud-share", "0.5"), "max_cloud_share was 1.0, is 0.5"),
    ):
        done = job(1, begun, begun / "store.h5", "--resume", *flags)
        assert done.returncode == 2
        assert wanted in errors(done)[0]


def test_a_store_is_resumed_only_with_its_own_catalogue(begun, tile):
    write_catalogue(begun / "patches.parquet", [{**p, "labels": ["Pastures"]} for p in listed(tile.spec, 360)])
    done = job(3, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert len(errors(done)) == 1
    assert "store.h5 can only be resumed with what it was begun with: catalogue_sha256 was" in errors(done)[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, "store.h5.journal must be there to resume; start anew with another --out"),
        ("", "must begin with what the store was begun with; it is no journal"),
        ("[]\n", "must begin with what the store was begun with; it is no journal"),
    ],
)
def test_without_its_journal_a_store_is_not_resumed(begun, text, wanted):
    (begun / "store.h5.journal").unlink()
    if text is not None:
        (begun / "store.h5.journal").write_text(text)
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert wanted in errors(done)[0]


def test_a_journal_with_a_broken_line_is_refused_with_the_line(begun):
    path = begun / "store.h5.journal"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert "store.h5.journal, line 2" in errors(done)[0]


def test_a_store_that_is_cut_short_is_refused_and_not_made_worse(begun):
    cut(begun / "store.h5", 0.5)
    before = (begun / "store.h5").read_bytes()
    done = job(3, begun, begun / "store.h5", "--resume")
    assert done.returncode in (1, 2)
    assert len(errors(done)) == 1
    assert "Traceback" not in done.stderr
    assert "store.h5" in errors(done)[0]
    assert (begun / "store.h5").read_bytes() == before


def test_a_store_is_resumed_only_with_the_product_it_was_begun_with(begun, tile):
    (begun / "tiles").unlink()
    newer = product_of(1, baseline="05.10", offsets=OFFSET, generated=datetime(2023, 1, 1))
    write_product(begun / "tiles", newer, random_pixels(9, 360))
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert (
        f"was made from {tile.spec.name.removesuffix('.SAFE')}, which is not the product that serves it"
        in errors(done)[0]
    )


@pytest.mark.parametrize("suffix", [".SAFE", ""])  # listed under a name that is also the product's, and not
def test_a_store_is_not_resumed_once_a_product_of_its_finished_rows_is_broken(begun, tile, suffix):
    name = tile.spec.name.removesuffix(".SAFE")
    write_catalogue(begun / "patches.parquet", [{**p, "product": name + suffix} for p in listed(tile.spec, 360)])
    (begun / "store.h5").unlink()
    assert job(1, begun, begun / "store.h5").returncode == 0
    (begun / "tiles").unlink()
    shutil.copytree(tile.root / "tiles", begun / "tiles")
    image(begun / "tiles" / tile.spec.name, "B09", 60).unlink()
    poke(begun / "store.h5", "complete", 0, b"\0")
    poke(begun / "store.h5", "data_60m", 2 * 20 * 20 * 2 * 2, bytes(100))
    before = (begun / "store.h5").read_bytes()
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert f"row 0 of {begun}/store.h5 was made from {name}, but cannot be made again: " in errors(done)[0]
    assert "B09 missing" in errors(done)[0]
    assert (begun / "store.h5").read_bytes() == before


@pytest.mark.parametrize("size", [1, 3])
def test_rejected_patches_are_made_once_the_missing_product_is_there(tile, tmp_path, size):
    other = product_of(2)
    write_catalogue(tmp_path / "patches.parquet", listed(tile.spec, 360) + listed(other))
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / tile.spec.name).symlink_to(tile.root / "tiles" / tile.spec.name)
    out, retry = tmp_path / "store.h5", ("--resume", "--retry-rejected")
    assert job(1, tmp_path, out).returncode == 0
    assert len(reasons(out)) == 4
    assert job(size, tmp_path, out, *retry, "--strict").returncode == 4
    assert len(reasons(out)) == 4
    journal = journal_path(out).read_bytes()
    pixels = random_pixels(7)
    write_product(tmp_path / "tiles", replaced := product_of(2, generated=datetime(2018, 1, 1)), pixels)
    done = job(size, tmp_path, out, *retry, "--strict")
    assert done.returncode == 0, done.stderr
    assert not reasons(out)
    store = content(out)
    assert (store["state"] == 1).all()
    assert all(is_written(store, patch, pixels) for patch in listed(other))
    assert set(store["product"][9:].tolist()) == {replaced.name.removesuffix(".SAFE").encode()}
    assert job(1, tmp_path, tmp_path / "anew.h5").returncode == 0
    assert same(store, content(tmp_path / "anew.h5"))
    # a retry that is killed after its rows were written and before they were journalled
    journal_path(out).write_bytes(journal)
    poke(out, "complete", 0, b"\0")
    assert job(size, tmp_path, out, "--resume", "--strict").returncode == 0
    assert not reasons(out)
    assert same(store, content(out))


@pytest.mark.parametrize("size", [1, 3])
def test_a_row_that_can_no_longer_be_made_is_as_if_it_never_had_been(tile, tmp_path, size):
    other, out = product_of(2), tmp_path / "store.h5"
    write_catalogue(tmp_path / "patches.parquet", listed(tile.spec, 360) + listed(other))
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / tile.spec.name).symlink_to(tile.root / "tiles" / tile.spec.name)
    made = write_product(tmp_path / "tiles", other, random_pixels(7))
    limit = ("--max-cloud-share", "0.01")
    assert job(1, tmp_path, out, *limit).returncode == 0
    shutil.rmtree(made)
    assert job(size, tmp_path, out, *limit, "--resume", "--retry-rejected").returncode == 0
    assert job(1, tmp_path, tmp_path / "anew.h5", *limit).returncode == 0
    ours, anew = content(out), content(tmp_path / "anew.h5")
    assert np.isnan(ours["cloud_share"][9:]).all()
    assert same(ours, anew)


# --- what breaks while it runs --------------------------------------------------------------------------------------


def broken_job(size, tile, folder, patches, *flags):
    """Extract with some of the program's own functions replaced: `patches` is Python, which knows its `rank`."""
    program = f"""
        import os, runpy, signal
        from etl.mpi import MPI
        rank = MPI.COMM_WORLD.rank
        {textwrap.indent(textwrap.dedent(patches), " " * 8).strip()}
        runpy.run_module("etl.extract", run_name="__main__", alter_sys=True)
    """
    (folder / "broken.py").write_text(textwrap.dedent(program))
    given = (
        "--catalogue",
        str(tile.root / "patches.parquet"),
        "--source",
        str(tile.root / "tiles"),
        "--out",
        "store.h5",
    )
    return ranks(size, "broken", *given, "--round-mib", "1", *flags, cwd=folder, timeout=90)


UNEXPECTED = {
    "decoding, while others wait for its blocks": "import etl.source.tiles as m; m.TilePatches._decode = fail",
    "cutting a patch": "import etl.source.tiles as m; m.TilePatches._patch = fail",
    "upsampling": "import etl.extract.batches as m; m.Producer._pixels = fail",
    "writing": "import etl.store.hdf5 as m; m.Writer.write = fail",
    "opening the store": "import etl.store.hdf5 as m; m.Writer.__init__ = fail",
}


@pytest.mark.parametrize("where", UNEXPECTED)
def test_an_unexpected_error_on_one_rank_ends_all_at_once_and_names_the_rank(tile, tmp_path, where):
    patches = f"""
        def fail(*_):
            raise MemoryError("no memory for {where}")
        if rank == 1:
            {UNEXPECTED[where]}
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"error: rank 1 of 3: unexpected error: MemoryError('no memory for {where}')" in errors(done)[0]
    with h5py.File(tmp_path / "store.h5") as file:
        assert file["complete"][()] == 0


FAILING = {
    "syncing": ("1", "m.Writer.sync", "import etl.store.hdf5 as m", "1 of 3 ranks [1]; rank 1: syncing"),
    "writing": ("1", "m.Writer.write", "import etl.store.hdf5 as m", "1 of 3 ranks [1]; rank 1: writing"),
    "journalling": (
        "0", "m.Journal.add", "import etl.extract.rounds as m",
        "1 of 3 ranks [0]; rank 0: journalling finished rows failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILING)
def test_a_disk_that_fails_under_one_rank_is_one_error_of_all_and_the_store_can_be_resumed(tile, tmp_path, what):
    rank, function, module, wanted = FAILING[what]
    patches = f"""
        {module}
        good, calls = {function}, []
        def fail(self, *given):
            good(self, *given)
            calls.append(1)
            if len(calls) > 1:
                raise OSError(5, "Input/output error")
        if rank == {rank}:
            {function} = fail
    """
    done = broken_job(3, tile, tmp_path, patches, "--sync-s", "0")
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"extraction failed on {wanted}" in errors(done)[0]
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", ["SIGTERM", "SIGUSR1"])
def test_a_signal_before_the_first_row_ends_all_with_status_75(tile, tmp_path, kind, size):
    patches = f"""
        import etl.extract.prepare as m
        good = m.want
        def want(settings):
            os.kill(os.getpid(), signal.{kind})
            return good(settings)
        m.want = want
    """
    done = broken_job(size, tile, tmp_path, patches)
    assert done.returncode == 75, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "interrupted; the store, if one was begun, can be resumed with --resume" in errors(done)[0]
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("kind", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_rank_stops_all_with_status_75_and_the_store_can_be_resumed(tile, tmp_path, kind):
    patches = f"""
        import etl.extract.rounds as m
        good = m.Rounds._write
        def write(self, batch):
            good(self, batch)
            os.kill(os.getpid(), signal.{kind})
        if rank == 1:
            m.Rounds._write = write
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 75, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "stopped by a signal; every row written so far is kept, --resume completes the store" in errors(done)[0]
    with h5py.File(tmp_path / "store.h5") as file:
        assert sorted(set(file["state"][...].tolist())) == [0, 1]
    assert job(2, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


# --- disks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "space"), [(1, "4k"), (1, "64k"), (1, "3m"), (3, "64k")])
def test_a_disk_without_room_for_the_store_is_found_before_anything_is_decoded(tile, tmp_path, size, space):
    with disk(tmp_path / "small", space) as small:
        done = job(size, tile.root, small / "store.h5")
        assert done.returncode == 1, done.stderr
        assert len(errors(done)) == 1, done.stderr
        assert "store.h5 (4 MiB) cannot be created: No space left on device" in errors(done)[0]
        assert "Traceback" not in done.stderr
        assert not (small / "store.h5").exists()
        assert not (small / "store.h5.part").exists()


@pytest.mark.parametrize("size", [1, 3])
def test_a_disk_that_fills_up_under_the_run_ends_it_with_a_message_and_loses_nothing(tile, tmp_path, size):
    """The store's space is reserved; what needs more is the journal, here of many long rejections."""
    (tmp_path / "broken").mkdir()
    shutil.copytree(tile.root / "tiles", tmp_path / "broken" / "tiles")
    for band in ("B02", "B03", "B04", "B08"):
        cut_in_block(image(tmp_path / "broken" / "tiles" / tile.spec.name, band, 10), 1)
    shutil.copy(tile.root / "patches.parquet", tmp_path / "broken")
    patches = """
        import etl.store.hdf5 as m
        good = m.create
        def create(path, *given):
            good(path, *given)
            with open(path.parent / "filler", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            journal = path.with_name(path.name + ".journal")
            journal.write_text(journal.read_text().rstrip() + " " * (4050 - journal.stat().st_size) + "\\n")
        m.create = create
    """
    with disk(tmp_path / "small", "12m") as small:
        broken = SimpleNamespace(root=tmp_path / "broken")
        done = broken_job(size, broken, tmp_path, patches, "--out", str(small / "store.h5"))
        assert done.returncode == 1, done.stderr
        assert len(errors(done)) == 1, done.stderr
        assert "No space left on device" in errors(done)[0]
        assert str(small / "store.h5") in errors(done)[0]
        (small / "filler").unlink()
        assert job(1, broken.root, small / "store.h5", "--resume").returncode == 0
        assert job(1, broken.root, tmp_path / "anew.h5").returncode == 0
        assert same(content(small / "store.h5"), content(tmp_path / "anew.h5"))


@pytest.mark.parametrize(
    ("name", "wanted", "complete"),
    [
        ("store.rejected.csv", "store.rejected.csv cannot be written: [Errno 28]", False),
        ("store.json", "store.h5 is complete, but its record store.json cannot be written: [Errno 28]", True),
    ],
)
def test_a_disk_that_is_full_at_the_end_is_one_error_that_says_what_is_missing(tile, tmp_path, name, wanted, complete):
    patches = f"""
        import etl.extract.summary as m
        good = m.write_file
        def write_file(path, data):
            if path.name == {name!r}:
                raise OSError(28, "No space left on device")
            good(path, data)
        m.write_file = write_file
    """
    done = broken_job(3, tile, tmp_path, patches)
    assert done.returncode == 1
    assert len(errors(done)) == 1, done.stderr
    assert wanted in errors(done)[0]
    assert content(tmp_path / "store.h5")["complete"] == complete
    assert job(1, tile.root, tmp_path / "store.h5", "--resume").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)


@pytest.mark.parametrize("size", [1, 3])
def test_a_folder_that_may_not_be_written_is_named(tile, tmp_path, size):
    """Root may write anywhere: the program gives up its capabilities first (Linux, capset)."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    patches = """
        import ctypes
        if os.geteuid() == 0:
            header = (ctypes.c_uint32 * 2)(0x20080522, 0)
            assert ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) == 0
    """
    done = broken_job(size, tile, tmp_path, patches, "--out", str(locked / "store.h5"))
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert f"Permission denied: '{locked}/store.h5" in errors(done)[0]
    assert not list(locked.iterdir())


def test_a_store_that_may_not_be_written_is_named_when_it_is_resumed(begun):
    with disk(begun / "read", "12m") as read:
        for name in ("store.h5", "store.h5.journal"):
            shutil.copy(begun / name, read)
        subprocess.run(["mount", "-o", "remount,ro", read], check=True)
        done = job(3, begun, read / "store.h5", "--resume")
    assert done.returncode == 1, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert "Read-only file system" in errors(done)[0]
    assert "store.h5" in errors(done)[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_parent_that_is_a_file_is_named(tile, tmp_path):
    (tmp_path / "file").write_text("")
    done = job(1, tile.root, tmp_path / "file" / "store.h5")
    assert done.returncode == 1
    assert len(errors(done)) == 1
    assert str(tmp_path / "file") in errors(done)[0]
