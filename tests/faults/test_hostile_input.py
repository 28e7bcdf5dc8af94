"""Archives made to read other files, to hang, or to fill memory: what is hostile is rejected, all else is made."""

import json
import os
import re
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from bad_input import ORIGIN, edit, image, is_written, job, listed, product_of, put_catalogue, random_pixels, reasons
from commands import content, ranks, same
from hostile import SECRET, blanks_zip, claim, make_fifo, make_link, vrt_of

from etl.bands import GROUPS
from etl.raster import Georeference, utm_wkt, write_geotiff
from etl.sample.safe import write_product, zip_product

WHOLE = "MTD_MSIL2A.xml"
PLACE = Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, 10)


def granule(product):
    return next(product.glob("GRANULE/*/MTD_TL.xml"))


def secret_of(product):
    """A readable file out of the archive, of the size and place of a 10 m band."""
    path = product.parents[1] / "secret.tif"
    if not path.exists():
        write_geotiff(path, np.full((240, 240), SECRET, np.uint16), PLACE)
    return path


def in_tile(name, text):
    """Put a text in the place of a number of the tile's metadata."""

    def change(product):
        path = granule(product)
        content, count = re.subn(rf"(<{name}>)[^<]*(<)", rf"\g<1>{text}\g<2>", path.read_text())
        assert count
        path.write_text(content)

    return change


def bomb(product):
    """A zip file with 300 MB of blanks before its product metadata, which it says to be 1000 bytes."""
    entries = {
        f"{product.name}/{path.relative_to(product)}": path.read_bytes()
        for path in product.rglob("*") if path.is_file() and path.name != WHOLE
    }  # fmt: skip
    blanks_zip(product.with_name(f"{product.name}.zip"), entries, f"{product.name}/{WHOLE}", 300 << 20)
    shutil.rmtree(product)


def packed_otherwise(product):
    """A zip file with LZMA, of which a few bytes can unpack to as much memory as there is."""
    with zipfile.ZipFile(product.with_name(f"{product.name}.zip"), "w", zipfile.ZIP_LZMA) as archive:
        for path in (path for path in product.rglob("*") if path.is_file()):
            archive.write(path, f"{product.name}/{path.relative_to(product)}")
    shutil.rmtree(product)


def entity_bomb(path):
    levels = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 12))
    path.write_text(f'<!DOCTYPE a [<!ENTITY e0 "blanks">{levels}]><a>&e11;</a>')


def zipped_vrt(product):
    path = image(product, "B02", 10)
    path.write_text(vrt_of(secret_of(product)))
    zip_product(product)
    shutil.rmtree(product)


FAULTS = {
    "a band is a virtual raster": (
        lambda p: image(p, "B02", 10).write_text(vrt_of(secret_of(p))), r"band B02: .*B02_10m\.jp2 cannot be opened",
    ),
    "a band in a zip file is a virtual raster": (zipped_vrt, r"band B02: /vsizip/.*B02_10m\.jp2 cannot be opened"),
    "a band is a link to another file": (
        lambda p: make_link(image(p, "B02", 10), secret_of(p)),
        r"B02 missing .*B02_10m\.jp2 is a link that leads out of --source, to .*secret\.tif; .*--allow-links",
    ),
    "a band is a FIFO": (lambda p: make_fifo(image(p, "B03", 10)), r"B03 missing .* regular file, got a FIFO"),
    "a band is a device": (lambda p: make_link(image(p, "B05", 20), "/dev/zero"), r"B05 missing .* to /dev/zero"),
    "the product's XML is a FIFO": (
        lambda p: make_fifo(p / WHOLE), r"must hold MTD_MSIL2A\.xml, .* must be a regular file, got a FIFO",
    ),
    "the product's XML has no end": (lambda p: make_link(p / WHOLE, "/dev/zero"), r"MTD_MSIL2A\.xml is a link"),
    "the product's XML is another file": (lambda p: make_link(p / WHOLE, "/etc/passwd"), r"a link .* /etc/passwd"),
    "the tile's XML is a FIFO": (lambda p: make_fifo(granule(p)), r"must hold GRANULE/\*/MTD_TL.xml, .* got a FIFO"),
    "the tile's XML is 40 MB of blanks": (
        lambda p: granule(p).write_bytes(b" " * (40 << 20)), r"MTD_TL\.xml .*at most 16777216 bytes, got 4194",
    ),
    "the XML in a zip file unpacks to 300 MB": (bomb, r"MTD_MSIL2A\.xml must have at most 16777216 bytes, got more"),
    "a zip file is packed otherwise": (packed_otherwise, r"stored or deflated"),
    "entities multiply": (lambda p: entity_bomb(p / WHOLE), r"well-formed XML: .*amplification"),
    "elements are nested too deeply": (
        lambda p: granule(p).write_text("<a>" * 300_000 + "</a>" * 300_000), r"MTD_TL.xml|tile metadata",
    ),
    "an EPSG code of 20 digits": (
        in_tile("HORIZONTAL_CS_CODE", "EPSG:" + "3" * 20), r"EPSG code must lie in \[32601, 32760\], got 33333",
    ),
    "a side of 400 digits": (
        lambda p: (in_tile("NROWS", "9" * 400)(p), in_tile("NCOLS", "9" * 400)(p)),
        r"NROWS at 10 m must lie in \[1, 10980\], got 9{40}\.\.\.",
    ),
    "a corner of 400 digits": (in_tile("ULX", "9" * 400), r"ULX must lie in \[-1000000, 11000000\], got 9{40}\.\.\."),
    "a corner that is none": (in_tile("ULY", "nan"), r"ULY must lie in \[-1000000, 11000000\], got nan"),
    "an offset of 5000 digits": (
        lambda p: edit(p / WHOLE, "<PROCESSING_BASELINE>", f"<BOA_ADD_OFFSET band_id='3'>{'9' * 5000}</BOA_ADD_OFFSET>"
                       "<PROCESSING_BASELINE>"),
        r"BOA_ADD_OFFSET",
    ),
    "a baseline that is a text": (
        lambda p: edit(p / WHOLE, "<PROCESSING_BASELINE>", f"<PROCESSING_BASELINE>{'x' * 100_000}"),
        r"processing baseline must be a number, like 05\.10, got 'x{40}\.\.\.'",
    ),
    "a header that claims 1,200,000 px": (
        lambda p: claim(image(p, "B02", 10), columns=1_200_000, rows=1_200_000, tile_columns=1_200_000,
                        tile_rows=1_200_000),
        r"band B02: .* must have at most 65535 rows and columns, got 1200000 x 1200000",
    ),
    "a header that claims a huge block": (
        lambda p: claim(image(p, "B02", 10), columns=60_000, rows=60_000, tile_columns=60_000, tile_rows=60_000),
        r"band B02: .* a tile of it must take at most 536870912 bytes, got 14400000000",
    ),
    "a header that claims 57,600 blocks": (
        lambda p: claim(image(p, "B02", 10), tile_columns=1, tile_rows=1),
        r"band B02: .* must have at most 4096 tiles, counted for each band, got 57600",
    ),
}  # fmt: skip
"""What is done to a product, and the reason that rejects its patches."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """An archive of one good product, one with harmless oddities, and many hostile ones; extracted on 1 and 2 ranks."""
    root = tmp_path_factory.mktemp("hostile")
    good, odd = product_of(1), product_of(2)
    pixels = {spec.name: random_pixels(k, 240) for k, spec in enumerate((good, odd))}
    write_product(root / "tiles", good, pixels[good.name])
    folder = write_product(root / "tiles", odd, pixels[odd.name])
    (folder / "GRANULE" / "x").symlink_to("/")
    (folder / "GRANULE" / "y").symlink_to(root / "tiles")
    (folder / "GRANULE" / "z").symlink_to(".")
    os.mkfifo(folder / "preview.jpg")
    patches, of = [*listed(good), *listed(odd)], {}
    for number, (name, (change, _)) in enumerate(FAULTS.items(), start=3):
        spec = product_of(number)
        change(write_product(root / "tiles", spec, random_pixels(number)))
        of[name] = [patch["patch"] for patch in listed(spec)]
        patches += listed(spec)
    put_catalogue(root / "patches.parquet", patches)
    outs = {size: root / f"{size}.h5" for size in (1, 2)}
    done = {size: job(size, root, out, timeout=120) for size, out in outs.items()}
    assert outs[1].exists(), done[1].stderr
    stores = {size: content(out) for size, out in outs.items()}
    return SimpleNamespace(root=root, done=done, outs=outs, stores=stores, patches=patches, of=of, pixels=pixels)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hostile_product_is_rejected_with_a_reason_that_names_the_cause(hostile, fault):
    said = reasons(hostile.outs[1])
    for patch in hostile.of[fault]:
        assert re.search(FAULTS[fault][1], said[patch]), said[patch]
        assert len(said[patch]) < 1500


def test_good_products_are_written_and_nothing_of_another_file_is_on_any_number_of_ranks(hostile):
    store = hostile.stores[1]
    assert all(is_written(store, patch, hostile.pixels[patch["product"]]) for patch in hostile.patches[:8])
    assert (store["state"] == 1).sum() == 8
    assert not (store["data_10m"] == SECRET).any()
    assert {done.returncode for done in hostile.done.values()} == {0}
    assert same(store, hostile.stores[2])
    assert reasons(hostile.outs[1]) == reasons(hostile.outs[2])


def test_the_catalogue_of_hostile_products_lists_the_good_ones_and_gives_a_reason_for_others(hostile, tmp_path):
    done = ranks(1, "etl.catalogue", "--source", str(hostile.root / "tiles"), "--out", str(tmp_path / "p.parquet"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    said = reasons(tmp_path / "p.parquet")
    assert any("got a FIFO" in reason for reason in said.values())
    assert product_of(1).name not in " ".join(said)


# --- patch archives ---------------------------------------------------------------------------------------------------


def geotiff(folder, band):
    return folder / f"{folder.name}_{band}.tif"


PATCH_FAULTS = {
    "a band is a virtual raster": (
        lambda f, other: geotiff(f, "B02").write_text(vrt_of(other, 120)), r"_B02\.tif cannot be opened: .* not rec",
    ),
    "a band is a link to another file": (
        lambda f, other: make_link(geotiff(f, "B03"), other), r"_B03\.tif is a link that leads out of --source, to ",
    ),
    "a band is a FIFO": (lambda f, _: make_fifo(geotiff(f, "B04")), r"_B04\.tif .*must be a regular file, got a FIFO"),
    "a band is a link to a device": (lambda f, _: make_link(geotiff(f, "B01"), "/dev/zero"), r"_B01\.tif is a link"),
    "a band is a link to itself": (lambda f, _: make_link(geotiff(f, "B01"), geotiff(f, "B01")), r"_B01\.tif"),
}  # fmt: skip
"""What is done to a patch's folder once it is listed, and the reason that rejects it."""

JSON_FAULTS = {
    "is a FIFO": (lambda path, _: make_fifo(path), "must be a regular file, got a FIFO"),
    "is a link to a device": (lambda path, _: make_link(path, "/dev/zero"), "is a link that leads out of --source"),
    "is another file": (lambda path, _: make_link(path, "/etc/passwd"), "is a link that leads out of --source"),
    "is 40 MB of blanks": (lambda path, _: path.write_bytes(b" " * (40 << 20)), "must have at most 16777216 bytes"),
    "has a number of 5000 digits": (lambda path, _: in_json(path, "ulx", "9" * 5000), "must be JSON: Exceeds"),
    "has a number of 400 digits": (lambda path, _: in_json(path, "ulx", "9" * 400), "coordinates must hold ulx"),
    "has a corner that is infinite": (lambda path, _: in_json(path, "ulx", "Infinity"), "coordinates must hold ulx"),
    "has an EPSG code of 20 digits": (
        lambda path, _: edit(path, f'\\"{ORIGIN.epsg}\\"', f'\\"{"3" * 20}\\"'), "ends in its EPSG code",
    ),
    "has a label with half a surrogate pair": (
        lambda path, _: edit(path, "Mixed forest", "Mixed \\ud800"), "labels must be at most 100 names of at most 255",
    ),
    "has a label with NUL": (lambda path, _: edit(path, "Mixed forest", "Mixed\\u0000"), "labels must be at most"),
    "has a long label": (lambda path, _: edit(path, "Mixed forest", "x" * 10**6), "labels must be at most"),
    "is nested too deeply": (lambda path, _: path.write_text("[" * 10**6), "must be JSON: it is nested too deeply"),
    "has a projection without end": (
        lambda path, _: edit(path, '"projection": "', '"projection": "' + "x" * 10**6), "projection must have at most",
    ),
}  # fmt: skip
"""What is done to a patch's description, and the reason that keeps it out of the catalogue."""


def in_json(path, key, text):
    """Put a text in the place of a number."""
    content, count = re.subn(rf'("{key}": )[-\d.]+', rf"\g<1>{text}", path.read_text())
    assert count
    path.write_text(content)


def write_patch(archive, i):
    """One patch of BigEarthNet v1 with random pixels; its name."""
    name = f"{product_of(1).v1_prefix}_{i}_0"
    folder, rng, ulx = archive / name, np.random.default_rng(i), ORIGIN.ulx + 1200 * i
    folder.mkdir(parents=True)
    for group in GROUPS:
        for band in group.bands:
            pixels = rng.integers(1, 12_000, (group.patch_px, group.patch_px)).astype(np.uint16)
            write_geotiff(geotiff(folder, band), pixels, Georeference(ORIGIN.epsg, ulx, ORIGIN.uly, group.gsd_m))
    described = {
        "labels": ["Mixed forest"],
        "coordinates": {"ulx": ulx, "uly": ORIGIN.uly, "lrx": ulx + 1200, "lry": ORIGIN.uly - 1200},
        "projection": utm_wkt(ORIGIN.epsg),
        "tile_source": product_of(1).product_name("MSIL1C", "02.05", product_of(1).generated),
    }
    (folder / f"{name}_labels_metadata.json").write_text(json.dumps(described))
    return name


def test_a_hostile_patch_is_rejected_on_any_number_of_ranks_and_all_others_are_made(tmp_path):
    archive, catalogue = tmp_path / "archive", tmp_path / "patches.parquet"
    other = tmp_path / "other.tif"
    write_geotiff(other, np.full((120, 120), SECRET, np.uint16), PLACE)
    whole = [write_patch(archive, i) for i in range(3)]
    broken = {fault: write_patch(archive, 10 + k) for k, fault in enumerate(PATCH_FAULTS)}
    shared = {write_patch(tmp_path / "mirror", 30): "is a link that leads out"}  # a folder of a patch elsewhere
    for name in shared:
        (archive / name).symlink_to(tmp_path / "mirror" / name)
    cut_off = {fault: write_patch(archive, 50 + k) for k, fault in enumerate(JSON_FAULTS)}
    for fault, name in cut_off.items():
        JSON_FAULTS[fault][0](archive / name / f"{name}_labels_metadata.json", other)
    listing = ("--source", str(archive), "--out", str(catalogue), "--allow-links", str(tmp_path / "mirror"))
    done = {size: ranks(size, "etl.catalogue", *listing, timeout=90) for size in (2, 1)}
    assert [one.returncode for one in done.values()] == [0, 0], done[1].stderr
    kept_out = reasons(catalogue)
    assert {fault for fault, name in cut_off.items() if JSON_FAULTS[fault][1] not in kept_out[name]} == set()
    assert set(kept_out) == set(cut_off.values())
    assert all(len(reason) < 1000 for reason in kept_out.values())

    for fault, name in broken.items():
        PATCH_FAULTS[fault][0](archive / name, other)
    stores = {}
    for size in (1, 2):
        out = tmp_path / f"{size}.h5"
        paths = ("--catalogue", str(catalogue), "--source", str(archive), "--out", str(out))
        done = ranks(size, "etl.extract", *paths, timeout=90)
        assert done.returncode == 0, done.stderr
        said, stores[size] = reasons(out), content(out)
        assert {fault for fault, name in broken.items() if not re.search(PATCH_FAULTS[fault][1], said[name])} == set()
        assert set(said) == {*broken.values(), *shared}
    assert same(stores[1], stores[2])
    assert (stores[1]["state"] == 1).sum() == len(whole)
    assert not (stores[1]["data_10m"] == SECRET).any()
    out = tmp_path / "allowed.h5"
    paths = ("--catalogue", str(catalogue), "--source", str(archive), "--out", str(out))
    allowed = ("--allow-links", str(tmp_path / "mirror"), "--allow-links", str(tmp_path / "absent"))
    done = ranks(1, "etl.extract", *paths, *allowed)
    assert done.returncode == 0, done.stderr
    assert set(reasons(out)) == set(broken.values())
    done = ranks(1, "etl.verify", str(out), "--source", str(archive), *allowed)
    assert done.returncode == 0, done.stdout
