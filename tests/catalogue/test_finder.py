"""Products and patches are found however they are packed, and every command finds the same."""

import json
import logging
import os
import shutil
import zipfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import cut, edit, image, product_of, random_pixels
from commands import content
from mpi4py import MPI

from etl.bands import GROUPS
from etl.catalogue.__main__ import catalogue
from etl.catalogue.build import CatalogueSettings
from etl.catalogue.cells import list_grid_cells
from etl.catalogue.finder import FoundProduct, find_products, index_products, matching_products
from etl.catalogue.names import is_patch, parse_patch, parse_product
from etl.catalogue.source_kind import detect_source
from etl.catalogue.table import read_catalogue_table
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.grid import nominal_origin
from etl.raster import Georeference, utm_wkt, write_geotiff
from etl.sample.safe import write_product, zip_product
from etl.source.open_product import read_product
from etl.store.location import Location
from etl.verify.run import verify
from etl.verify.settings import VerifySettings

SPEC = product_of(13)
STEM = SPEC.name.removesuffix(".SAFE")
OTHER = product_of(23)
L1C = STEM.replace("MSIL2A", "MSIL1C")
V1 = "S2A_MSIL2A_20170613T101031_87_48"
V2_STEM = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
V2 = f"{V2_STEM}_26_57"


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A product of 2 x 2 patches, as folder; its zip file lies beside it."""
    folder = write_product(tmp_path_factory.mktemp("product"), SPEC, random_pixels(0))
    edit = folder / "MTD_MSIL2A.xml"
    assert f"<PRODUCT_URI>{SPEC.name}</PRODUCT_URI>" in edit.read_text()
    zip_product(folder)
    return folder


def packed(product, out, rename=lambda name: name, extra=(), method=zipfile.ZIP_STORED):
    """The product in a zip file whose entries have other names, and what else is in it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", method) as archive:
        for path in sorted(product.rglob("*")):
            if path.is_file():
                archive.writestr(rename(f"{product.name}/{path.relative_to(product).as_posix()}"), path.read_bytes())
        for name in extra:
            archive.writestr(name, b"\0\5\26\7 no metadata")
    return out


def copied(product, out):
    shutil.copytree(product, out)
    return out


def old_uri(product):
    """Metadata in which Sen2Cor 2.4 names the product and the one that it was made from."""
    path = product / "MTD_MSIL2A.xml"
    (product / "manifest.safe").unlink()  # which has the checksum of the metadata as they were
    both = f"<PRODUCT_URI_1C>{L1C}.SAFE</PRODUCT_URI_1C><PRODUCT_URI_2A>{STEM}.SAFE</PRODUCT_URI_2A>"
    path.write_text(path.read_text().replace(f"<PRODUCT_URI>{STEM}.SAFE</PRODUCT_URI>", both))


def granule_file(product, name):
    return next(product.glob(f"GRANULE/*/{name}")).relative_to(product).as_posix()


def with_macos_files(product, out):
    """A folder into which macOS has put its files, named so that they come first."""
    copied(product, out)
    for path in [*out.rglob("*.xml"), *out.rglob("*.jp2")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        (path.parent / ".DS_Store").write_bytes(b"\0")
    out.with_name(f"._{out.name}").write_bytes(b"\0\5\26\7")


def macos_zip(product, out):
    names = [
        granule_file(product, "MTD_TL.xml"),
        granule_file(product, "IMG_DATA/R10m/*_B02_10m.jp2"),
        "MTD_MSIL2A.xml",
    ]
    clutter = [f"__MACOSX/{product.name}/{Path(name).parent}/._{Path(name).name}" for name in names]
    packed(product, out, extra=[*clutter, f"{product.name}/.DS_Store", f"{product.name}/._MTD_MSIL2A.xml"])


def linked(product, out):
    """Links two levels down, one of which leads back up."""
    out.parent.mkdir(parents=True)
    out.symlink_to(product)
    (out.parent / "up").symlink_to(out.parent.parent)


def file_farm(product, out):
    """A folder without suffix whose files are links, under other names of folders."""
    for path in product.rglob("*"):
        target = out / path.relative_to(product)
        (target.mkdir if path.is_dir() else target.parent.mkdir)(parents=True, exist_ok=True)
        if path.is_file():
            target.symlink_to(path)


PACKINGS = {
    "folder": lambda p, t: copied(p, t / p.name),
    "folder without .SAFE": lambda p, t: copied(p, t / STEM),
    "folder with a suffix in lower case": lambda p, t: copied(p, t / f"{STEM}.safe"),
    "folder that a browser renamed": lambda p, t: copied(p, t / f"{STEM} (1).SAFE"),
    "folder with another name": lambda p, t: copied(p, t / "8f0e6d4a-0c5b-4d0c-9d1e-2b8f6a4c1b11"),
    "folder with another name, of Sen2Cor 2.4": lambda p, t: old_uri(copied(p, t / "uuid")),
    "folder in a folder of its name": lambda p, t: copied(p, t / STEM / p.name),
    "folder in a .SAFE folder of its name": lambda p, t: copied(p, t / p.name / p.name),
    "folder in a folder called .zip": lambda p, t: copied(p, t / f"{STEM}.zip" / p.name),
    "folder from a Mac": lambda p, t: with_macos_files(p, t / p.name),
    "link two levels down": lambda p, t: linked(p, t / "2017" / "06" / "link"),
    "links to files": lambda p, t: file_farm(p, t / "farm"),
    "zip": lambda p, t: packed(p, t / f"{STEM}.zip"),
    "compressed zip": lambda p, t: packed(p, t / f"{p.name}.zip", method=zipfile.ZIP_DEFLATED),
    "ZIP in upper case": lambda p, t: packed(p, t / f"{STEM}.ZIP"),
    "zip that a browser renamed": lambda p, t: packed(p, t / f"{STEM}(1).zip"),
    "zip with another name": lambda p, t: packed(p, t / "8f0e6d4a-0c5b-4d0c-9d1e-2b8f6a4c1b11.zip"),
    "zip with a folder around": lambda p, t: packed(p, t / f"{STEM}.zip", lambda name: f"my tiles/größe/{name}"),
    "zip with ./ names": lambda p, t: packed(p, t / f"{STEM}.zip", lambda name: f"./{name}"),
    "zip without top folder": lambda p, t: packed(p, t / f"{STEM}.zip", lambda name: name.split("/", 1)[1]),
    "zip of a folder without .SAFE": lambda p, t: packed(p, t / "a.zip", lambda name: name.replace(".SAFE", "")),
    "zip with backslashes": lambda p, t: packed(p, t / f"{STEM}.zip", lambda name: name.replace("/", "\\")),
    "zip from a Mac": lambda p, t: macos_zip(p, t / f"{STEM}.zip"),
    "zip and folder of one product": lambda p, t: (packed(p, t / f"{STEM}.zip"), copied(p, t / p.name)),
    "product beside its Level-1C": lambda p, t: (copied(p, t / p.name), (t / f"{L1C}.SAFE").mkdir()),
    "product beside a half download of it": lambda p, t: (
        copied(p, t / p.name), (t / f"{STEM}.zip").write_bytes(b"PK"), (t / f"{STEM}.zip.part").write_bytes(b"PK")
    ),
}  # fmt: skip


def run_all(source, folder, monkeypatch, *allowed):
    """What catalogue, extract and verify make of a source: rows, store, and the exit status of verify.

    `allowed`: folders into which links may lead.
    """
    monkeypatch.chdir(folder)
    table, out = folder / "patches.parquet", Location.parse("store.h5")
    assert catalogue(CatalogueSettings(source=source, out=table, allow_links=allowed), MPI.COMM_SELF) == 0
    settings = ExtractSettings(table, source, out, "none", write="independent", allow_links=allowed)
    assert extract(settings, MPI.COMM_SELF) == 0
    status = verify(VerifySettings(out, source=source, sample=0, allow_links=allowed), MPI.COMM_SELF)
    return read_catalogue_table(table), content(out.path), status


@pytest.fixture(scope="module")
def expected(product, tmp_path_factory):
    """Rows and store of the plain folder."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        rows, store, status = run_all(product, folder, patch)
    assert (len(rows), status, store["state"].tolist()) == (4, 0, [1] * 4)
    return rows, store


@pytest.mark.parametrize("packing", list(PACKINGS))
def test_every_packing_gives_the_same_rows_and_pixels_in_every_command(
    product, expected, packing, tmp_path, monkeypatch
):
    (tmp_path / "tiles").mkdir()
    PACKINGS[packing](product, tmp_path / "tiles")
    allowed = [product.parent] if "link" in packing else []
    rows, store, status = run_all(tmp_path / "tiles", tmp_path, monkeypatch, *allowed)
    assert rows.equals(expected[0])
    assert status == 0
    assert store.keys() == expected[1].keys()
    assert all(
        np.array_equal(store[name], expected[1][name], equal_nan=store[name].dtype.kind == "f") for name in store
    )
    assert {name.decode() for name in store["product"]} == {STEM}


def test_a_product_in_any_packing_can_itself_be_the_source(product, tmp_path):
    made = [PACKINGS[packing](product, tmp_path / packing) for packing in ("zip that a browser renamed", "folder")]
    for path in made:
        assert [(found.path, found.stem) for found in find_products(path).products] == [(path, STEM)]
        assert detect_source(path).products == find_products(path).products


# --- what is passed over ---------------------------------------------------------------------------------------------


def put_zip(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")


def metadata_of(uri):
    return f"<a><PRODUCT_URI>{uri}</PRODUCT_URI></a>".encode()


def put_file(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_folder(path, name, metadata):
    """A product's folder without any image."""
    put_file(path / name, metadata)
    (path / "GRANULE").mkdir()


OLD = "S2A_OPER_PRD_MSIL2A_PDMC_20151230T202002_R008_V20151230T105153_20151230T105153"

PASSED_OVER = {
    f"{L1C}.SAFE": (Path.mkdir, "Level-1C, whose pixels are not corrected"),
    f"{L1C}.zip": (put_file, "Level-1C"),
    "uuid": (lambda path: put_folder(path, "MTD_MSIL1C.xml", metadata_of(f"{L1C}.SAFE")), "Level-1C"),
    f"{OLD}.SAFE": (Path.mkdir, "several tiles"),
    "notes.zip": (lambda path: put_zip(path, "notes.txt"), "holds no product: none of MTD_MSIL2A.xml, GRANULE, mea"),
    "two.zip": (lambda path: put_zip(path, "a/MTD_MSIL2A.xml", "b/MTD_MSIL2A.xml"), "must hold one product, got 2"),
    f"{STEM}(1).zip": (lambda path: put_file(path, b"PK half"), "must be a zip file"),
    "gone.zip": (lambda path: path.symlink_to("nowhere"), "holds no product"),
    "nameless.SAFE": (lambda path: put_file(path / "MTD_MSIL2A.xml", b"<a/>"), "must hold PRODUCT_URI"),
    "misnamed": (lambda path: put_folder(path, "MTD_MSIL2A.xml", metadata_of("my product")), "must be named like"),
    "without granule": (lambda path: put_file(path / "MTD_MSIL2A.xml"), "must hold GRANULE, which is missing"),
    "without metadata": (lambda path: put_file(path / "GRANULE" / "x"), "must hold MTD_MSIL2A.xml, which is"),
    "empty.SAFE": (Path.mkdir, "named like a product, but holds none of MTD_MSIL2A.xml, GRANULE, measurements"),
    STEM: (Path.mkdir, "named like a product, but holds none of"),
    f"{STEM}.tar.gz": (put_file, "must be a folder or a .zip file; unpack it"),
    f"{STEM}.SAFE.zip.part": (put_file, "finish its download"),
    f"._{STEM}.zip": (put_file, "macOS"),
    ".Trash": (lambda path: (path / f"{STEM}.SAFE").mkdir(parents=True), "hidden"),
    "__MACOSX": (lambda path: put_file(path / f"{STEM}.SAFE" / "._MTD_MSIL2A.xml"), "macOS"),
}  # fmt: skip


def test_what_is_passed_over_is_listed_with_its_reason_and_what_is_no_product_by_any_sign_is_not(tmp_path):
    for name, (make, _) in PASSED_OVER.items():
        make(tmp_path / name)
    for name in ("readme.txt", "list.csv", ".DS_Store"):
        put_file(tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = find_products(tmp_path)
    reasons = {path.name: reason for path, reason in found.passed_over}
    assert reasons.keys() == PASSED_OVER.keys()
    assert [name for name, (_, reason) in PASSED_OVER.items() if reason not in reasons[name]] == []
    assert (found.products, found.patches) == ((), ())
    assert not any(str(tmp_path) in reason for reason in reasons.values())


LEFT_ALONE = {
    "metadata": lambda top: put_file(top / "MTD_MSIL2A.xml", metadata_of(SPEC.name)),
    "copy of metadata": lambda top: put_file(top / "MTD_MSIL2A (1).xml", metadata_of(SPEC.name)),
    "metadata in the old form": lambda top: put_file(top / "S2A_USER_MTD_SAFL2A_PDMC_20180101T000000.xml"),
    "granule": lambda top: put_file(top / "GRANULE" / "L2A_T33UUP_A010312_20170613T101608" / "MTD_TL.xml"),
}


@pytest.mark.parametrize("kind", LEFT_ALONE)
@pytest.mark.parametrize("where", ["", "2017"])
def test_a_part_of_a_product_that_lies_alone_is_told_and_does_not_hide_the_products_beside_it(
    product, tmp_path, kind, where
):
    top = tmp_path / where
    wanted = [copied(product, top / product.name), packed(product, top / "06" / f"{OTHER.name}.zip")]
    LEFT_ALONE[kind](top)
    found = find_products(tmp_path)
    assert {one.path for one in found.products} == set(wanted)
    missing = "MTD_MSIL2A.xml" if kind == "granule" else "GRANULE"
    assert found.passed_over == ((top, f"holds a part of a product, but must hold {missing}, which is missing"),)


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_metadata_that_lie_alone_around_a_product_do_not_hide_it(product, tmp_path, packing):
    top = tmp_path / product.name
    put_file(top / "MTD_MSIL2A.xml", metadata_of(SPEC.name))
    copied(product, top / product.name)
    path = top if packing == "folder" else zip_product(top)
    assert len(read_product(path).files) == 13


def test_what_was_passed_over_is_counted_always_and_listed_at_level_debug(tmp_path, caplog):
    (tmp_path / f"{STEM}.SAFE").mkdir()
    put_zip(tmp_path / "notes.zip", "notes.txt")
    with caplog.at_level(logging.INFO, "etl"):
        find_products(tmp_path)
    assert caplog.messages == [f"{tmp_path}: found 1 product; 1 passed over, listed with -v"]
    with caplog.at_level(logging.DEBUG, "etl"):
        find_products(tmp_path)
    assert caplog.messages[2:] == [
        f"passed over: {tmp_path / 'notes.zip'} holds no product: none of MTD_MSIL2A.xml, GRANULE, measurements"
    ]


def test_a_folder_that_must_not_be_read_is_passed_over_and_a_folder_without_anything_is_not_told(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / "private").mkdir()
    with caplog.at_level(logging.INFO, "etl"):
        assert find_products(tmp_path).passed_over == ()
    assert caplog.messages == []
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "private")  # tests may run as root
    assert find_products(tmp_path).passed_over == (
        (tmp_path / "private", "cannot be read: its permissions do not allow it"),
    )


@pytest.mark.parametrize("name", [f"{L1C}.SAFE", "notes.zip"])
def test_a_source_of_nothing_but_what_is_passed_over_is_refused_with_the_reason_by_every_command(tmp_path, name):
    make, reason = PASSED_OVER[name]
    make(tmp_path / name)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match=reason):
            detect_source(source)
        with pytest.raises(ValueError, match=reason):
            raise ValueError(find_products(source).hint)  # the end of what extract, verify and superres say


# --- finding ---------------------------------------------------------------------------------------------------------


def paths_below(folder, *allowed):
    return [product.path for product in find_products(folder, allowed).products]


def test_products_are_found_at_any_depth_as_folders_zips_and_links_and_nothing_else_is(tmp_path):
    wanted = [
        f"{STEM}.SAFE", f"2017/{STEM}.SAFE", f"2017/ü ö/{STEM}.zip", f"2017/06/{STEM}.SAFE.zip", f"links/{STEM}.SAFE",
        f"in/{STEM}.SAFE",
    ]  # fmt: skip
    others = [f"2017/{STEM}.tar", "2017/notes.zip", "2017/other.SAFE/x.zip", f"in/{STEM}.SAFE/{STEM}.zip"]
    for name in (*wanted, *others):
        path = tmp_path / "tiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("links"):
            (tmp_path / "real.SAFE").mkdir()
            path.symlink_to(tmp_path / "real.SAFE")
        elif name.endswith((".zip", ".tar")):
            path.write_bytes(b"")
        else:
            path.mkdir(exist_ok=True)
    found = paths_below(tmp_path / "tiles", tmp_path / "real.SAFE")
    assert found == sorted(tmp_path / "tiles" / name for name in wanted)
    assert paths_below(found[0]) == [found[0]]


def test_products_behind_a_linked_folder_are_found_once_even_if_the_links_go_in_circles(tmp_path):
    (tmp_path / "store" / f"{STEM}.SAFE").mkdir(parents=True)
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "2017").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "tiles")
    wanted = [tmp_path / "tiles" / "2017" / f"{STEM}.SAFE"]
    assert paths_below(tmp_path / "tiles", tmp_path / "store") == wanted
    found = find_products(tmp_path / "tiles")
    assert found.products == ()
    assert found.passed_over[0][1].startswith(f"is a link that leads out of --source, to {tmp_path / 'store'}; ")


def test_a_product_and_a_link_to_it_are_one_product(tmp_path):
    (tmp_path / "a" / f"{STEM}.SAFE").mkdir(parents=True)
    (tmp_path / f"{STEM}.SAFE").symlink_to(tmp_path / "a" / f"{STEM}.SAFE")
    found = find_products(tmp_path)
    assert [product.path for product in found.products] == [tmp_path / f"{STEM}.SAFE"]
    assert found.passed_over[0][1] == f"is the same as {tmp_path / STEM}.SAFE, by a link"


# --- patch archives --------------------------------------------------------------------------------------------------


def put_patches(folder, *patches):
    for patch in patches:
        (folder / patch).mkdir(parents=True)


ARCHIVES = {
    "v1": lambda t: put_patches(t, V1, V1.replace("87_48", "1_2")),
    "v1, one level down": lambda t: put_patches(t / "BigEarthNet-v1.0", V1),
    "v1 in two parts": lambda t: (put_patches(t / "a", V1), put_patches(t / "b", V1.replace("87_48", "1_2"))),
    "v1 with a stray zip": lambda t: (put_patches(t, V1), put_file(t / f"{STEM}.zip"), put_zip(t / "x.zip", "y")),
    "v1 with a stray product": lambda t: (put_patches(t, V1), (t / f"{STEM}.SAFE").mkdir()),
    "v1 from a Mac": lambda t: (put_patches(t, V1), put_patches(t / "__MACOSX", V1), put_file(t / f"._{V1}")),
    "v2": lambda t: put_patches(t / V2_STEM, V2, V2.replace("26_57", "01_02")),
    "v2, the root above": lambda t: put_patches(t / "BigEarthNet-S2" / V2_STEM, V2),
    "v2, one product": lambda t: put_patches(t, V2),
    "v2 with stray zips": lambda t: (
        put_patches(t / V2_STEM, V2), put_file(t / f"{STEM}.zip"), put_zip(t / "BigEarthNet-S2.zip", "y")
    ),
    "links two levels down": lambda t: (
        put_patches(t.parent / "real" / V2_STEM, V2), (t / "a").mkdir(), (t / "a" / "b").symlink_to(t.parent / "real"),
        (t / "a" / "up").symlink_to(t),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", list(ARCHIVES))
def test_patches_of_every_form_are_found_with_their_folders_and_the_catalogue_lists_the_same(tmp_path, form):
    (tmp_path / "source").mkdir()
    ARCHIVES[form](tmp_path / "source")
    source, allowed = tmp_path / "source", [tmp_path / "real"]
    found, detected = find_products(source, allowed), detect_source(source, allowed)
    assert found.products == ()
    assert (detected.patches, detected.folder_of) == (found.patches, found.folder_of)
    assert detected.kind == ("v2 folder" if V2 in found.patches else "v1")
    folders = [found.folder_of(patch) for patch in found.patches]
    assert [folder.name for folder in folders] == list(found.patches)
    assert all(folder.is_dir() for folder in folders)
    assert {V1, V2}.intersection(found.patches)
    assert "stray" not in form or {path.suffix for path, _ in found.passed_over} & {".zip", ".SAFE"}


def fill_patches(source):
    """Write the files of all patches below a folder: pixels, and for v1 the description."""
    for folder in [path for path in source.glob("**/*") if is_patch(path.name) and "__MACOSX" not in path.parts]:
        name, tile = parse_patch(folder.name), nominal_origin("33UUP")
        ulx, uly = tile.ulx + 1200 * name.col, tile.uly - 1200 * name.row
        for group in GROUPS:
            for k, band in enumerate(group.bands):
                pixels = np.full((group.patch_px, group.patch_px), 100 * name.row + 10 + k, np.uint16)
                where = Georeference(tile.epsg, ulx, uly, group.gsd_m)
                write_geotiff(folder / f"{folder.name}_{band}.tif", pixels, where)
                put_file(folder / f"._{folder.name}_{band}.tif")
        if not name.product.tile:
            corners = {"ulx": ulx, "uly": uly, "lrx": ulx + 1200, "lry": uly - 1200}
            said = {
                "labels": ["Pastures"],
                "coordinates": corners,
                "projection": utm_wkt(tile.epsg),
                "tile_source": L1C,
            }
            (folder / f"{folder.name}_labels_metadata.json").write_text(json.dumps(said))


@pytest.mark.parametrize("form", [*ARCHIVES, "v2, the root above, with its table"])
def test_every_form_of_a_patch_archive_is_read_by_every_command(tmp_path, monkeypatch, form):
    source = tmp_path / "source"
    source.mkdir()
    ARCHIVES[form.removesuffix(", with its table")](source)
    fill_patches(tmp_path)
    if "table" in form:
        row = {"patch_id": V2, "labels": ["Arable land"], "split": "test", "country": "Austria"}
        row |= {"contains_seasonal_snow": False, "contains_cloud_or_shadow": False}
        pq.write_table(pa.Table.from_pylist([row]), source / "metadata.parquet")
    rows, store, status = run_all(source, tmp_path, monkeypatch, tmp_path / "real")
    assert status == 0
    assert rows["patch"].to_pylist() == list(find_products(source, [tmp_path / "real"]).patches)
    assert {name.decode() for name in store["patch"]} == set(rows["patch"].to_pylist())
    for patch, state, pixels in zip(store["patch"], store["state"], store["data_20m"], strict=True):
        assert (state, pixels[0, 0, 0]) == (1, 100 * parse_patch(patch.decode()).row + 10)


def test_an_archive_of_patches_is_listed_once_and_no_patch_is_looked_into(tmp_path, monkeypatch):
    put_patches(tmp_path / "v1", *(V1.replace("48", str(row)) for row in range(5)))
    put_patches(tmp_path / "v2" / V2_STEM, V2)
    listed, scandir = Counter(), os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.update([str(path)]), scandir(path))[1])
    detect_source(tmp_path / "v1")
    detect_source(tmp_path / "v2")
    assert listed == Counter([str(tmp_path / "v1"), str(tmp_path / "v2"), str(tmp_path / "v2" / V2_STEM)])


def test_of_products_and_patches_below_one_folder_the_products_are_used_and_the_patches_told(tmp_path):
    put_patches(tmp_path / "patches", V1)
    (tmp_path / "tiles" / f"{STEM}.SAFE").mkdir(parents=True)
    found = find_products(tmp_path)
    assert ([product.stem for product in found.products], found.patches, found.folder_of) == ([STEM], (), None)
    assert found.passed_over == (
        (tmp_path / "patches", "holds patches; as there are products, too, those are used"),
    )  # fmt: skip
    assert detect_source(tmp_path).kind == "products"


def test_patches_of_both_versions_below_one_folder_are_told_apart_by_their_names(tmp_path):
    put_patches(tmp_path / "BigEarthNet-v1.0", V1)
    put_patches(tmp_path / "BigEarthNet-S2" / V2_STEM, V2)
    detected = detect_source(tmp_path)
    assert (detected.kind, detected.patches) == ("v1", (V1,))
    assert detected.unused == ("a folder or tar file of BigEarthNet v2 patches without their metadata",)
    assert detected.folder_of(V2) == tmp_path / "BigEarthNet-S2" / V2_STEM / V2


# --- matching --------------------------------------------------------------------------------------------------------


def found_product(**other):
    name = product_of(13, **other).name
    return FoundProduct(Path(name), parse_product(name), name.removesuffix(".SAFE"))


def matching(listed, *products):
    return list(matching_products(listed, index_products(products)))


@pytest.mark.parametrize(
    "listed",
    [L1C, f"{L1C}.SAFE", f"{STEM}.SAFE", V2_STEM],
)
def test_the_newest_baseline_then_the_newest_processing_comes_first_whatever_name_the_list_uses(listed):
    old = found_product(generated=datetime(2024, 1, 1), baseline="02.05")
    new = found_product(generated=datetime(2023, 1, 1), baseline="05.00")
    newer = found_product(generated=datetime(2023, 6, 1), baseline="05.00")
    newest = found_product(generated=datetime(2022, 1, 1), baseline="05.10")
    assert matching(listed, new, old) == [new, old]
    assert matching(listed, old, newest, newer, new) == [newest, newer, new, old]


@pytest.mark.parametrize("listed", [L1C, V2_STEM])
def test_a_users_own_processing_is_ordered_with_the_others_by_processing_time(listed):
    old, new = (found_product(generated=datetime(y, 1, 1), baseline=b) for y, b in ((2018, "02.05"), (2023, "05.10")))
    for year, order in ((2017, (1, 0, 2)), (2020, (1, 2, 0)), (2024, (2, 1, 0))):
        own = found_product(generated=datetime(year, 1, 1), baseline="99.99")
        assert matching(listed, own, old, new) == [(old, new, own)[k] for k in order]
    first, last = (found_product(generated=datetime(2020, 1, day), baseline="99.99") for day in (1, 2))
    assert matching(listed, first, last) == [last, first]


def test_it_is_said_that_a_users_own_processing_is_ordered_by_time(tmp_path, caplog):
    own = product_of(13, baseline="99.99").name
    for names, told in (([own], 0), ([own, SPEC.name], 1)):
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
        with caplog.at_level(logging.INFO, "etl"):
            find_products(tmp_path)
        assert sum("N9999 is a user's own processing" in message for message in caplog.messages) == told


def test_of_copies_the_folder_comes_first_then_the_path_decides():
    copies = [FoundProduct(Path(path), parse_product(STEM), STEM) for path in ("a/x.zip", "b/x.SAFE", "a/x.SAFE")]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        found = matching(STEM, *(copies[k] for k in order))
        assert [str(product.path) for product in found] == ["b/x.SAFE", "a/x.SAFE", "a/x.zip"]


def test_a_product_of_another_mission_orbit_tile_or_day_does_not_match():
    for old, new in (("S2A_", "S2B_"), ("_R022", "_R122"), ("T33UUP", "T33UVP"), ("A_20170613", "A_20170623")):
        name = STEM.replace(old, new, 1)
        assert name != STEM
        assert matching(L1C, FoundProduct(Path(name), parse_product(name), name)) == []
    assert matching("no product at all", found_product()) == []


def test_sensing_times_that_are_some_seconds_off_still_name_the_product():
    there = found_product()
    for seconds in (-8, 3, 59):
        time = SPEC.sensed + timedelta(seconds=seconds)
        assert matching(f"S2A_MSIL1C_{time:%Y%m%dT%H%M%S}_N0205_R022_T33UUP_20170613T101608", there) == [there]


def test_the_catalogue_lists_the_next_product_of_an_acquisition_if_the_newest_cannot_be_read(product, tmp_path, caplog):
    copied(product, tmp_path / product.name)
    newer = STEM.replace("N0205", "N0510")
    put_file(tmp_path / f"{newer}.zip", b"PK half")
    rows, rejected = list_grid_cells(find_products(tmp_path).products)
    assert (set(rows["product"].to_pylist()), len(rows), rejected) == ({STEM}, 4, [])
    assert any(f"{newer}.zip is left out" in message and product.name in message for message in caplog.messages)
    shutil.rmtree(tmp_path / product.name)
    rows, rejected = list_grid_cells(find_products(tmp_path).products)
    assert (len(rows), [name for name, _ in rejected]) == (0, [f"{newer}.zip"])


@pytest.mark.parametrize("where", [f"{STEM}.SAFE", f"{STEM}.SAFE/{OTHER.name}"])
def test_another_product_under_a_name_serves_in_no_command_and_a_good_copy_does(
    product, expected, tmp_path, monkeypatch, caplog, where
):
    tiles = tmp_path / "tiles"
    packed(product, tiles / f"{STEM}.zip")
    other = write_product(tmp_path, OTHER, random_pixels(5))
    (tiles / where).parent.mkdir(exist_ok=True)
    other.rename(tiles / where)
    rows, store, status = run_all(tiles, tmp_path, monkeypatch)
    assert rows.equals(expected[0])
    assert all(np.array_equal(store[f"data_{group.name}"], expected[1][f"data_{group.name}"]) for group in GROUPS)
    assert status == 0
    assert sum(f"is named {STEM}, but its metadata are those of" in message for message in caplog.messages) == 2


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[-700] ^= 16
    path.write_bytes(data)


BROKEN_COPIES = {
    "a bit of a band": lambda p: flip_bit(image(p, "B03", 10)),
    "a band of another place": lambda p: shutil.copy(image(p, "B05", 20), image(p, "B02", 10)),
    "an empty band": lambda p: image(p, "B8A", 20).write_bytes(b""),
    "a band cut in a block, without checksums": lambda p: (
        (p / "manifest.safe").unlink(),
        cut(image(p, "B02", 10), 0.7),
    ),
}


@pytest.mark.parametrize("fault", BROKEN_COPIES)
def test_a_broken_folder_beside_its_good_zip_file_serves_in_no_command(product, expected, tmp_path, monkeypatch, fault):
    packed(product, tmp_path / "tiles" / f"{STEM}.zip")
    BROKEN_COPIES[fault](copied(product, tmp_path / "tiles" / product.name))
    rows, store, status = run_all(tmp_path / "tiles", tmp_path, monkeypatch)
    assert rows.equals(expected[0])
    assert all(np.array_equal(store[f"data_{group.name}"], expected[1][f"data_{group.name}"]) for group in GROUPS)
    assert status == 0


def test_pixels_of_a_damaged_copy_are_not_good_beside_a_good_one(product, tmp_path, monkeypatch, capsys):
    packed(product, tmp_path / "tiles" / f"{STEM}.zip")
    folder = copied(product, tmp_path / "tiles" / product.name)
    flip_bit(image(folder, "B03", 10))
    monkeypatch.chdir(tmp_path)
    tiles, table, out = Path("tiles"), Path("patches.parquet"), Location.parse("store.h5")
    assert catalogue(CatalogueSettings(source=tiles, out=table), MPI.COMM_SELF) == 0
    settings = ExtractSettings(table, tiles, out, "none", write="independent", check_files=False)
    assert extract(settings, MPI.COMM_SELF) == 0
    assert verify(VerifySettings(out, source=tiles, sample=0), MPI.COMM_SELF) == 1
    assert "data_10m B03 differs in" in capsys.readouterr().out


def test_the_catalogue_says_which_products_show_one_acquisition(product, tmp_path, caplog):
    newer = f"{STEM.replace('N0205', 'N0510')}.SAFE"
    for name in (product.name, newer):
        copied(product, tmp_path / name)
    edit(tmp_path / newer / "MTD_MSIL2A.xml", f"<PRODUCT_URI>{product.name}<", f"<PRODUCT_URI>{newer}<")
    with caplog.at_level(logging.INFO, "etl"):
        rows, _ = list_grid_cells(find_products(tmp_path).products)
    assert len(rows) == 4
    assert f"{product.name} shows the same acquisition as {newer}: patches are listed once" in caplog.messages


def test_of_a_patch_in_several_folders_the_one_with_the_most_bytes_is_used(tmp_path, caplog):
    """The first copy lacks a band of one patch, has cut another, and lacks a third one."""
    whole, half = tmp_path / "BigEarthNet-v1.0 (1)", tmp_path / "BigEarthNet-v1.0"
    names = [f"{V1.rsplit('_', 2)[0]}_7_{column}" for column in range(4)]
    for name in names:
        (whole / name).mkdir(parents=True)
        for band in ("B01", "B02"):
            (whole / name / f"{name}_{band}.tif").write_bytes(bytes(100))
    shutil.copytree(whole, half)
    (half / names[0] / f"{names[0]}_B02.tif").unlink()
    (half / names[1] / f"{names[1]}_B02.tif").write_bytes(bytes(50))
    shutil.rmtree(half / names[2])
    with caplog.at_level("WARNING"):
        found = find_products(tmp_path)
    assert found.patches == tuple(names)
    assert [found.folder_of(name).parent for name in names] == [whole, whole, whole, half]
    assert [record.message for record in caplog.records] == [
        "3 of them in several folders; of each the folder with the most bytes is used"
    ]


def test_a_patch_folder_with_a_damaged_file_of_full_size_serves_no_command_beside_a_good_copy(tmp_path, monkeypatch):
    """The description and a band are damaged in the folder that comes first; the other one has both."""
    first, second, plain = (tmp_path / name for name in ("a/BigEarthNet-v1.0", "a/BigEarthNet-v1.0 (1)", "plain"))
    names = sorted(f"{V1.rsplit('_', 2)[0]}_7_{column}" for column in range(3))
    for name in names:
        (plain / name).mkdir(parents=True)
    fill_patches(plain)
    for copy in (first, second):
        shutil.copytree(plain, copy)
    description = first / names[0] / f"{names[0]}_labels_metadata.json"
    description.write_bytes(b"x" * description.stat().st_size)
    band = first / names[1] / f"{names[1]}_B04.tif"
    band.write_bytes(bytes(band.stat().st_size))
    for folder in (tmp_path / "good", tmp_path / "damaged"):
        folder.mkdir()
    rows, store, status = run_all(plain, tmp_path / "good", monkeypatch)
    other_rows, other_store, other_status = run_all(tmp_path / "a", tmp_path / "damaged", monkeypatch)
    assert (status, other_status) == (0, 0)
    assert rows.equals(other_rows)
    assert store["state"].tolist() == other_store["state"].tolist() == [1] * len(names)
    assert all(np.array_equal(store[f"data_{group.name}"], other_store[f"data_{group.name}"]) for group in GROUPS)
