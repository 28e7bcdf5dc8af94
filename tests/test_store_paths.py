"""A store is found by whatever path leads to it, in every command that takes one."""

import json
import shutil
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import extract, ranks
from store_readers import READERS, refused_by
from stores import GOOD, as_zarr, make_store

from etl.convert.settings import ConvertSettings
from etl.extract.settings import ExtractSettings
from etl.preview.settings import PreviewSettings
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.verify.settings import VerifySettings
from trainer.config import EvaluateRunSettings, PredictRunSettings, RunSettings

STORES = ("store.h5", "store.zarr", "rows.zarr")

PATHS: dict[str, Callable[[Path], str]] = {
    "relative": lambda store: store.name,
    "up and down": lambda store: f"../{store.parent.name}/{store.name}",
    "up within a path": lambda store: f"{store.parent}/beside/../{store.name}",
    "home": lambda store: f"~/{store.name}",
    "slash at the end": lambda store: f"{store}/",
    "slashes": lambda store: f"{store.parent}//{store.name}",
    "link": lambda store: str(store.with_name("link" + store.suffix)),
    "link with a slash": lambda store: str(store.with_name("link" + store.suffix)) + "/",
    "folder behind a link": lambda store: f"{store.parent}/folder/../{store.name}",
}
"""Ways to name a store."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in both formats, links to them, and a link to a folder in it."""
    folder = tmp_path_factory.mktemp("home")
    as_zarr(make_store(folder, GOOD[:3], upsampled=False), folder / "store.zarr")
    as_zarr(folder / "store.h5", folder / "rows.zarr", shard_rows=2, chunk_rows=2)
    for suffix in (".h5", ".zarr"):
        (folder / f"link{suffix}").symlink_to(f"store{suffix}")
    (folder / "beside").mkdir()
    (folder / "folder").symlink_to("beside")
    return folder


@pytest.fixture(scope="module")
def expected(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, bytes]]]:
    """What every reader reads, by its plain path."""
    folder = tmp_path_factory.mktemp("expected")
    return {name: {reader: read(home / name, folder) for reader, read in READERS.items()} for name in STORES}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("way", PATHS)
def test_every_reader_takes_a_store_by_any_path(home, expected, tmp_path, monkeypatch, way, name):
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for reader, read in READERS.items():
        assert read(PATHS[way](home / name), tmp_path) == expected[name][reader], reader


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        (ExtractSettings, ["out"]),
        (VerifySettings, ["store"]),
        (PreviewSettings, ["store"]),
        (StatsSettings, ["store"]),
        (ConvertSettings, ["store", "out"]),
        (RunSettings, ["store"]),
        (EvaluateRunSettings, ["store"]),
        (PredictRunSettings, ["store"]),
    ],
)
def test_every_command_takes_a_store_as_the_one_type_of_location(settings, fields):
    """Location, or None where the store of a run stands for it."""
    hints = typing.get_type_hints(settings)
    of_run = issubclass(settings, EvaluateRunSettings)
    assert [hints[field] for field in fields] == [Location | None if of_run else Location] * len(fields)


def test_a_relative_store_is_looked_for_in_the_folder_of_now(home, tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    shutil.copytree(home / "store.zarr", tmp_path / "one" / "store.zarr")
    monkeypatch.chdir(tmp_path / "one")
    assert refused_by("reader", Path("store.zarr"), tmp_path) == ("", 0)
    monkeypatch.chdir(tmp_path / "two")
    assert "it has no zarr.json" in refused_by("reader", Path("store.zarr"), tmp_path)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["store.h5", "store.zarr"])
def test_a_run_is_resumed_by_another_path_than_it_was_begun_by(sample, tmp_path, name):
    (tmp_path / "a").mkdir()
    out, link = tmp_path / "a" / ".." / name, tmp_path / "a" / f"link{name}"
    done = extract(1, sample, out, "--upsample", "none")
    assert done.returncode == 0, done.stderr
    link.symlink_to(tmp_path / name)
    done = extract(1, sample, link, "--upsample", "none", "--resume")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "a").glob("*.journal"))
    done = ranks(1, "etl.verify", str(link))
    assert done.returncode == 0, done.stdout
    assert "journal" in done.stdout
    copy = tmp_path / "a" / ".." / f"copy{name}"
    done = ranks(1, "etl.convert", str(out), "--out", str(copy))
    assert done.returncode == 0, done.stderr
    done = ranks(1, "etl.stats", str(copy), "--out", str(tmp_path / "s.html"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s.json").read_text())["agrees_with_stored_sums"]
