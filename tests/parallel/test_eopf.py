"""One acquisition in SAFE and in EOPF's Zarr gives the same rows, bit for bit, on any number of ranks."""

import shutil

import pytest
from bad_input import errors, poke
from commands import content, extract, ranks, same

from benchmarks.eopf_products import convert_all, zipped


@pytest.fixture(scope="module")
def sources(sample, tmp_path_factory):
    """The sample's products in Zarr of both formats, and in zip files."""
    folder = tmp_path_factory.mktemp("eopf")
    made = {f"format {number}": convert_all(sample / "tiles", folder / f"v{number}", number) for number in (2, 3)}
    shutil.copytree(folder / "v2", folder / "zip")
    for product in list((folder / "zip").iterdir()):
        zipped(product)
    made["zip files"] = folder / "zip"
    mixed = folder / "mixed"
    mixed.mkdir()
    for number, safe in enumerate(sorted((sample / "tiles").glob("*.SAFE"))):
        source = folder / ("v2", "v3")[number % 2] / f"{safe.stem}.zarr" if number else safe
        shutil.copytree(source, mixed / source.name)
    made["both formats and SAFE"] = mixed
    return made


@pytest.mark.parametrize(
    ("name", "size"),
    [("format 2", 1), ("format 2", 7), ("format 3", 2), ("zip files", 3), ("both formats and SAFE", 2)],
)
def test_rows_are_those_of_the_products_in_safe(sample, sources, reference, tmp_path, name, size):
    done = extract(size, sample, tmp_path / "store.h5", "--source", str(sources[name]))
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), content(reference))


def test_a_store_is_resumed_with_the_same_chunks_only(sample, sources, reference, tmp_path):
    source, store = tmp_path / "source", tmp_path / "store.h5"
    shutil.copytree(sources["format 2"], source)
    assert extract(2, sample, store, "--source", str(source)).returncode == 0
    poke(store, "complete", 0, b"\0")
    poke(store, "data_60m", 0, bytes(100))
    whole = store.read_bytes()
    for product in source.iterdir():
        product.rename(tmp_path / "copy")
        shutil.copytree(tmp_path / "copy", product)
        shutil.rmtree(tmp_path / "copy")
    done = extract(2, sample, store, "--source", str(source), "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(store), content(reference))
    store.write_bytes(whole)
    chunk = next(source.iterdir()) / "measurements" / "reflectance" / "r10m" / "b02" / "0.0"
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    done = extract(2, sample, store, "--source", str(source), "--resume")
    assert done.returncode == 2, done.stderr
    assert "its B02/0.0 had other bytes" in errors(done)[0]


def test_catalogue_and_verification_take_products_in_zarr(sources, reference, tmp_path):
    done = ranks(1, "etl.catalogue", "--source", str(sources["zip files"]), "--out", str(tmp_path / "cells.parquet"))
    assert done.returncode == 0, done.stderr
    assert "363 patches of 3 products" in done.stdout
    done = ranks(2, "etl.verify", str(reference), "--source", str(sources["format 3"]))
    assert done.returncode == 0, done.stdout + done.stderr
