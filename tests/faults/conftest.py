"""What every test of faults shares: many runs, so that one tile of the sample must do."""

from pathlib import Path

import pyarrow.compute as pc
import pytest
from commands import reference_of

from etl.catalogue.table import load, write


@pytest.fixture(scope="session")
def sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with the patches of its first tile alone."""
    folder = tmp_path_factory.mktemp("tile")
    patches = load(sample / "patches.parquet")
    write(folder / "patches.parquet", patches.filter(pc.equal(patches["tile"], patches["tile"][0])))
    (folder / "tiles").symlink_to(sample / "tiles")
    return folder


@pytest.fixture(scope="session")
def reference(sample: Path) -> Path:
    """That tile's store as one rank writes it."""
    return reference_of(sample)
