"""A block that takes too long to decode rejects its patches, and the run goes on."""

from datetime import datetime
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from bad_input import image, job, listed, product_of, put_catalogue, reasons
from commands import content, same

from etl.bands import GROUPS
from etl.grid import nominal_origin
from etl.raster import Georeference, write_jp2
from etl.sample.pixels import TilePixels
from etl.sample.safe import BLOCK_PX, write_product

PX = 2880
BLOCKS = {10: 1440, 20: 720, 60: 240}
LIMIT = ("--block-s", "0.2", "--no-check-files")


def flat(value):
    groups = [np.full((PX // g.factor, PX // g.factor, len(g.bands)), value, np.uint16) for g in GROUPS]
    return TilePixels(*groups, np.full((PX // 2, PX // 2), 4, np.uint8))


def quadrant(patch):
    """(row, column) of the block at 10 m in which a patch lies."""
    i, j = map(int, patch.rsplit("_", 2)[1:])
    return j // 12, i // 12


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A product of four blocks a band; two of B02 are noise, which takes OpenJPEG thirty times as long as one value."""
    root, spec = tmp_path_factory.mktemp("slow"), product_of(1, generated=datetime(2017, 7, 2))
    with mock.patch.dict(BLOCK_PX, BLOCKS):
        product = write_product(root / "tiles", spec, flat(1000))
    band = image(product, "B02", 10)
    pixels, origin = np.full((PX, PX), 1000, np.uint16), nominal_origin(spec.tile)
    pixels[:, 1440:] = np.random.default_rng(0).integers(1, 65_000, (PX, 1440))
    band.unlink()
    write_jp2(band, pixels, Georeference(origin.epsg, origin.ulx, origin.uly, 10), 1440)
    patches = [
        patch for patch in listed(spec, PX) if all(int(k) % 12 in (0, 11) for k in patch["patch"].split("_")[-2:])
    ]
    put_catalogue(root / "patches.parquet", patches)
    done = job(1, root, root / "whole.h5", "--no-check-files")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(root=root, spec=spec, whole=content(root / "whole.h5"), band=band)


@pytest.fixture(scope="module")
def alone(archive):
    """The store that one rank makes with a limit, and its reasons."""
    done = job(1, archive.root, archive.root / "alone.h5", *LIMIT)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(store=content(archive.root / "alone.h5"), reasons=reasons(archive.root / "alone.h5"))


def test_only_the_patches_of_a_slow_block_are_rejected_each_with_the_block(archive, alone):
    patches = [name.decode() for name in alone.store["patch"].tolist()]
    assert set(alone.reasons) == {patch for patch in patches if quadrant(patch)[1] == 1}
    for patch, reason in alone.reasons.items():
        block = f"{archive.band}, block at row {1440 * quadrant(patch)[0]}, column 1440"
        assert reason == f"{block}: it takes more than 0.2 s of computing time (--block-s)"
    written = alone.store["state"] == 1
    assert 0 < written.sum() < len(written)
    for name in ("data_10m", "data_20m", "data_60m", "data_super", "checksum"):
        assert np.array_equal(alone.store[name][written], archive.whole[name][written])


@pytest.mark.parametrize("size", [2, 3])
def test_rows_and_reasons_do_not_depend_on_the_number_of_ranks(archive, alone, tmp_path, size):
    done = job(size, archive.root, tmp_path / "store.h5", *LIMIT)
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), alone.store)
    assert reasons(tmp_path / "store.h5") == alone.reasons
    if size == 2:  # and without the limit they are tried again
        flags = ("--resume", "--retry-rejected", "--no-check-files", "--block-s", "0")
        assert job(2, archive.root, tmp_path / "store.h5", *flags).returncode == 0
        assert same(content(tmp_path / "store.h5"), archive.whole)


def test_another_product_of_the_acquisition_serves_instead(archive, tmp_path):
    older = product_of(1)
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / archive.spec.name).symlink_to(archive.root / "tiles" / archive.spec.name)
    with mock.patch.dict(BLOCK_PX, BLOCKS):
        write_product(tmp_path / "tiles", older, flat(2000))
    (tmp_path / "patches.parquet").write_bytes((archive.root / "patches.parquet").read_bytes())
    done = job(2, tmp_path, tmp_path / "store.h5", *LIMIT, "--strict", "--allow-links", str(archive.root))
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    for row, patch in enumerate(store["patch"].tolist()):
        assert (store["data_10m"][row] == (2000 if quadrant(patch.decode())[1] else 1000)).all()
