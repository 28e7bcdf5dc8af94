"""Products and listed patches with something wrong: rejected with a reason, and all else is made."""

import json
import re
import shutil
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from bad_input import (
    ORIGIN,
    SMALL_BLOCKS,
    TILE,
    cut,
    cut_in_block,
    edit,
    image,
    is_written,
    job,
    listed,
    product_of,
    put_catalogue,
    random_pixels,
    reasons,
)
from commands import content, same

from etl.labels import CLASSES_43
from etl.raster import Georeference, write_jp2
from etl.sample.product import OFFSET
from etl.sample.safe import BLOCK_PX, write_product, zip_product

WHOLE = "MTD_MSIL2A.xml"


def granule(product):
    return next(product.glob("GRANULE/*/MTD_TL.xml"))


def offset(product, text):
    edit(product / WHOLE, '<BOA_ADD_OFFSET band_id="3">-1000<', f'<BOA_ADD_OFFSET band_id="3">{text}<')


def replace_image(product, band, gsd_m, shape, dtype, epsg=ORIGIN.epsg, ulx=ORIGIN.ulx):
    where = Georeference(epsg, ulx, ORIGIN.uly, gsd_m)
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
    "a band is another tile's": (
        lambda p: replace_image(p, "B02", 10, (240, 240), np.uint16, ulx=ORIGIN.ulx + 99_960),
        r"band B02 must lie at 300000, 5400000 in EPSG:32633 with pixels of 10 m, got 399960, 5400000 in EPSG:32633 ",
    ),
    "a band is the neighbouring zone's": (
        lambda p: replace_image(p, "B09", 60, (40, 40), np.uint16, epsg=32632),
        r"band B09 must lie at .* in EPSG:32633 with pixels of 60 m, got .* in EPSG:32632 with pixels of 60 m in .*jp2",
    ),
    "no list of offsets since baseline 04.00": (
        lambda p: (p / WHOLE).write_text((p / WHOLE).read_text().replace("BOA_ADD_OFFSET", "RADIO_OFFSET")),
        r"metadata must list BOA_ADD_OFFSET, as baseline 05\.10 is 04\.00 or later, but does not; .*--assume-offset",
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
        r"must give a quantification value in \[1, 65535\], got 0",
    ),
    "a quantification value that is none": (
        lambda p: edit(p / WHOLE, "none\">10000<", "none\">nan<"),
        r"must give a quantification value in \[1, 65535\], got nan",
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
        r"band B02 must lie at .* in EPSG:32733 with pixels of 10 m, got .* in EPSG:32633 with pixels of 10 m",
    ),
    "a tile shifted by half a patch": (
        lambda p: granule(p).write_text(granule(p).read_text().replace(f"{ORIGIN.ulx:.0f}", f"{ORIGIN.ulx + 600:.0f}")),
        r"band B02 must lie at 300600, .*, got 300000, .*_B02_10m\.jp2",
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
    put_catalogue(root / "patches.parquet", patches)
    outs = {size: root / f"{size}.h5" for size in (1, 2, 3)}
    anyway = "--no-check-files"  # the checksums would find most of these faults before they are met
    done = {1: job(1, root, outs[1], anyway), 3: job(3, root, outs[3], anyway, "--strict")}
    done[2] = job(2, root, outs[2], anyway, "--balance", "paper", "--write", "independent", "--round-mib", "1")
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
        by = f"{size} rank{'s' * (size > 1)}"
        assert f" patches written, {rejected} rejected by {by} in " in faulty.done[size].stdout.splitlines()[-1]
        assert faulty.done[size].stderr.count("patches are rejected, for example") == 1
        assert "Traceback" not in faulty.done[size].stderr
    assert json.loads(faulty.outs[1].with_suffix(".json").read_text())["rejected"] == rejected
    assert faulty.stores[1]["complete"] == 1


def test_resuming_a_complete_store_with_rejections_does_nothing_and_under_strict_says_4(faulty):
    root = faulty.outs[1].parent
    before = faulty.outs[1].read_bytes()
    done = job(1, root, faulty.outs[1], "--no-check-files", "--resume", "--strict")
    assert "nothing to do" in done.stdout
    assert done.returncode == 4
    assert faulty.outs[1].read_bytes() == before
