"""Location: a path or an `s3://` URI is parsed once, and written as a person writes it."""

import pickle
from dataclasses import dataclass
from pathlib import Path

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
