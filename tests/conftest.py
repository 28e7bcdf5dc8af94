"""What every test shares: Open MPI's settings for small machines, and the folder of real data."""

import os
from pathlib import Path

import pytest
from commands import ranks, reference_of
from hypothesis import settings
from processes import starts_process
from scenes import SAMPLE

from benchmarks.setup import default_cache

# Root in a container, and more ranks than cores; set before any mpirun is started.
for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"):
    os.environ.setdefault(name, "1")

# How long an example takes is the machine's affair.
settings.register_profile("here", deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")))
settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes: `make test-fast` leaves it out."""
    for item in items:
        if starts_process(item):
            item.add_marker(pytest.mark.process)


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real patches, scenes and lists, read-only; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data are not here: ../shared/data from the project's root")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample archive with its catalogue: three tiles of 11 x 11 patches."""
    folder = tmp_path_factory.mktemp("sample")
    for command in (
        ("etl.sample", "--out", str(folder), "--tile-px", str(SAMPLE.tile_px), "--tiles", str(SAMPLE.tiles),
         "--sentinel1"),
        ("etl.catalogue", "--source", str(folder / "labels"), "--lists", str(folder / "lists"),
         "--out", str(folder / "patches.parquet")),
    ):  # fmt: skip
        done = ranks(1, *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def reference(sample: Path) -> Path:
    """The sample's store as one rank writes it."""
    return reference_of(sample)


@pytest.fixture(scope="session")
def published_weights() -> Path:
    """Folder with l1c/ and l2a/, fetched once and kept between runs; the test is skipped where they cannot be had."""
    folder = default_cache().parent / "weights"
    done = ranks(1, "etl.superres", "fetch", "--out", str(folder), timeout=250)
    if done.returncode:
        pytest.skip(f"published weights cannot be fetched: {done.stderr.strip()}")
    return folder
