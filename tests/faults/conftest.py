"""What every test of faults shares: many runs, so that one tile of the sample must do."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pyarrow.compute as pc
import pytest
from bad_input import SMALL_BLOCKS, job, listed, poke, product_of, put_catalogue, random_pixels
from commands import content, reference_of

from etl.catalogue.table import read_catalogue_table, write_catalogue
from etl.sample.safe import BLOCK_PX, write_product


@pytest.fixture(scope="session")
def sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with the patches of its first tile alone."""
    folder = tmp_path_factory.mktemp("tile")
    patches = read_catalogue_table(sample / "patches.parquet")
    write_catalogue(folder / "patches.parquet", patches.filter(pc.equal(patches["tile"], patches["tile"][0])))
    (folder / "tiles").symlink_to(sample / "tiles")
    return folder


@pytest.fixture(scope="session")
def reference(sample: Path) -> Path:
    """That tile's store as one rank writes it."""
    return reference_of(sample)


@pytest.fixture(scope="session")
def tile(tmp_path_factory):
    """One good product of nine patches, each with its own blocks, and its catalogue and store."""
    root, spec = tmp_path_factory.mktemp("tile"), product_of(1)
    pixels = random_pixels(0, 360)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        write_product(root / "tiles", spec, pixels)
    put_catalogue(root / "patches.parquet", listed(spec, 360))
    assert job(1, root, root / "store.h5").returncode == 0
    return SimpleNamespace(root=root, spec=spec, pixels=pixels, store=content(root / "store.h5"))


@pytest.fixture
def begun(tile, tmp_path):
    """A copy of the tile's store and journal as a run leaves them that was stopped before it said `complete`."""
    for name in ("store.h5", "store.h5.journal", "patches.parquet"):
        shutil.copy(tile.root / name, tmp_path)
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    poke(tmp_path / "store.h5", "complete", 0, b"\0")
    return tmp_path
