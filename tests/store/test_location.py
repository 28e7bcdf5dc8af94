"""Location: a path or an `s3://` URI is parsed once, and written as a person writes it."""

import pickle
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from etl.settings import load_settings, setting, settings_record
from etl.store.location import Location, format_of


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a command that reads a store."""

    store: Location = setting(Location.parse("data/store.h5"), "store to read")


@pytest.mark.parametrize(
    ("given", "written", "recorded"),
    [
        ("data//store.h5", "data/store.h5", "data/store.h5"),
        (Path("/data/store.h5"), "/data/store.h5", "/data/store.h5"),
        ("s3://bucket/folder/store.zarr", "s3://bucket/folder/store.zarr", "s3:/bucket/folder/store.zarr"),
        (Path("s3://bucket/store.zarr"), "s3://bucket/store.zarr", "s3:/bucket/store.zarr"),
    ],
)
def test_a_location_is_parsed_from_path_or_uri_and_written_as_such(given, written, recorded, tmp_path, monkeypatch):
    location = Location.parse(given)
    assert (str(location), location.to_record()) == (written, recorded)
    assert location == Location.parse(written) == Location.parse(recorded) == Location.parse(location)
    assert location == pickle.loads(pickle.dumps(location))
    monkeypatch.chdir(tmp_path)
    Path("pipeline.toml").write_text(f'[read]\nstore = "{written}"\n')
    for argv in ([], ["--store", str(given)]):
        settings = load_settings(Settings, "etl.read", argv)
        assert settings == Settings(location)
        assert settings_record(settings) == {"store": recorded}


@pytest.mark.parametrize("folder", ["data", "s3://bucket", "s3://bucket/data"])
def test_what_lies_beside_and_within_a_store_stays_in_its_folder_or_bucket(folder):
    store = Location.parse(f"{folder}/store.zarr")
    assert (store.name, store.suffix) == ("store.zarr", ".zarr")
    assert str(store.sibling("store.zarr.lock")) == f"{folder}/store.zarr.lock"
    assert str(store.with_suffix(".rejected.csv")) == f"{folder}/store.rejected.csv"
    assert str(store / "data_10m" / "zarr.json") == f"{folder}/store.zarr/data_10m/zarr.json"
    assert str(store.parent) == folder
    assert store.parent / "store.zarr" == store


def test_a_location_in_a_bucket_has_no_path():
    assert Location.parse("store.h5").path == Path("store.h5")
    with pytest.raises(ValueError, match=r"s3://bucket/store\.zarr must be a path of the file system"):
        _ = Location.parse("s3://bucket/store.zarr").path


def test_the_suffix_names_the_format():
    assert [format_of(Location.parse(name)) for name in ("a.h5", "a.hdf5", "a.zarr")] == ["HDF5", "HDF5", "Zarr"]
    assert format_of(Location.parse("s3://bucket/a.zarr")) == "Zarr"


def test_home_links_and_names_of_the_way_to_a_store_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    real = tmp_path / "data" / "run7.zarr"
    (real / "stats").mkdir(parents=True)
    (tmp_path / "latest.zarr").symlink_to("data/run7.zarr")
    (tmp_path / "next.zarr").symlink_to(tmp_path / "data" / "run8.zarr")
    monkeypatch.chdir(real / "stats")
    for given in ("~/data/run7.zarr", "~/latest.zarr", "~/latest.zarr/", str(tmp_path / "latest.zarr"), ".."):
        location = Location.parse(given)
        assert (str(location), location.name, location.suffix) == (str(real), "run7.zarr", ".zarr")
        assert location.sibling("run7.zarr.lock").path.parent == real.parent
    assert Location.parse("~/next.zarr").path == tmp_path / "data" / "run8.zarr"
    assert str(Location.parse("../../run7.zarr/")) == "../../run7.zarr"
    assert Location.parse("../../run7.zarr").absolute() == Location(PurePosixPath(real))
    (tmp_path / "round.zarr").symlink_to("round.zarr")
    assert Location.parse("~/round.zarr").path == tmp_path / "round.zarr"
    assert Location.parse("~nobody-of-this-name/a.zarr").path == Path("~nobody-of-this-name/a.zarr")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("s3://bucket/a/../b.zarr", "s3://bucket/b.zarr"),
        ("s3://bucket/../../b.zarr", "s3://bucket/b.zarr"),
        ("s3://bucket//a/./b.zarr/", "s3://bucket/a/b.zarr"),
        ("s3://bucket/~/b.zarr", "s3://bucket/~/b.zarr"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_in_a_bucket_the_way_to_a_store_is_resolved_by_its_words(given, written):
    assert str(Location.parse(given)) == written
