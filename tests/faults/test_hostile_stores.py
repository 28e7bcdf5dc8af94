"""A store that leads to other files, or claims what it has not, is refused by every reader, and nothing else opened."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z
from mpi4py import MPI
from numcodecs.zstd import Zstd
from store_readers import READERS, opened_below, refused_by
from stores import GOOD, as_zarr, make_store

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.store.location import Location
from etl.store.reader import StoreReader

UNFIT = ("pixels of absurd length", "pixels without bytes", "column of two dimensions")
"""What a resumed run may still open: it leads nowhere else."""


def readers_of(name: str) -> list[str]:
    """Readers that must refuse a case."""
    return [reader for reader in READERS if name not in UNFIT or reader != "resume"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good store of six rows as HDF5 and Zarr, a manifest of it, and a folder of files that are none of its."""
    folder = tmp_path_factory.mktemp("good")
    store = make_store(folder, GOOD, upsampled=False)
    as_zarr(store, folder / "store.zarr", shard_rows=4)
    as_zarr(store, folder / "rows.zarr", shard_rows=4, chunk_rows=2)  # which TensorStore reads
    convert(ConvertSettings(Location.parse(store), Location.parse(folder / "store.json")), MPI.COMM_SELF)
    outside = folder / "outside"
    outside.mkdir()
    shutil.copy(store, outside / "other.h5")
    (outside / "secret.bin").write_bytes(os.urandom(1 << 20))
    return folder


def refuse(path: Path, outside: Path, folder: Path, words: str, readers: Any = READERS, status: int = 2) -> None:
    """Check that every reader refuses a store in these words, and opens nothing outside of it."""
    with opened_below(outside) as opened:
        for name in readers:
            said, ended = refused_by(name, path, folder)
            assert ended == status, f"{name}: {said}"
            if name != "verify":
                assert words in said, f"{name}: {said}"
        assert not opened()


HDF5: dict[str, tuple[Callable[[h5py.File, Path], Any], str]] = {}
"""What is done to an HDF5 store, by what it is, and how it is refused."""


def hdf5(words: str, name: str) -> Callable[[Callable[[h5py.File, Path], Any]], None]:
    """Register a way to make an HDF5 store hostile."""

    def register(change: Callable[[h5py.File, Path], Any]) -> None:
        HDF5[name] = (change, words)

    return register


@hdf5("data_60m has its values in the file", "external storage of pixels")
def _(file: h5py.File, outside: Path) -> None:
    shape = file["data_60m"].shape
    del file["data_60m"]
    file.create_dataset("data_60m", shape, "<u2", external=[(outside / "secret.bin", 0, h5py.h5f.UNLIMITED)])


@hdf5("state has its values in the file", "external storage of a column")
def _(file: h5py.File, outside: Path) -> None:
    del file["state"]
    file.create_dataset("state", (6,), "u1", external=[(outside / "secret.bin", 0, 6)])


@hdf5("notes has its values in the file", "external storage of an array that no command needs")
def _(file: h5py.File, outside: Path) -> None:
    file.create_dataset("notes", (6,), "u1", external=[(outside / "secret.bin", 0, 6)])


@hdf5("data_60m is a link to /data_60m of the file", "external link")
def _(file: h5py.File, outside: Path) -> None:
    del file["data_60m"]
    file["data_60m"] = h5py.ExternalLink(outside / "other.h5", "/data_60m")


@hdf5("stats/data_60m is a link to /stats/data_60m of the file", "external link to a group")
def _(file: h5py.File, outside: Path) -> None:
    del file["stats/data_60m"]
    file["stats/data_60m"] = h5py.ExternalLink(outside / "other.h5", "/stats/data_60m")


@hdf5("state is a soft link to /far/state", "soft link")
def _(file: h5py.File, outside: Path) -> None:
    del file["state"]
    file["state"] = h5py.SoftLink("/far/state")


@hdf5("stats/up is a soft link to /", "soft link in a circle")
def _(file: h5py.File, outside: Path) -> None:
    file["stats/up"] = h5py.SoftLink("/")


@hdf5("stats/up must be a group of its own", "hard link in a circle")
def _(file: h5py.File, outside: Path) -> None:
    file["stats/up"] = file["/"]


@hdf5("data_60m is a virtual data set, which shows arrays of", "virtual data set")
def _(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout(file["data_60m"].shape, "<u2")
    layout[...] = h5py.VirtualSource(outside / "other.h5", "data_60m", file["data_60m"].shape)
    del file["data_60m"]
    file.create_virtual_dataset("data_60m", layout)


@hdf5("state is a virtual data set, which shows arrays of", "virtual data set whose length is that of its source")
def _(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((6,), "u1", maxshape=(None,))
    source = h5py.VirtualSource(outside / "other.h5", "state", (6,), maxshape=(None,))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    del file["state"]
    file.create_virtual_dataset("state", layout)


@hdf5("notes must hold numbers or text, got references", "array of references")
def _(file: h5py.File, outside: Path) -> None:
    file.create_dataset("notes", data=np.array([file["state"].ref], h5py.ref_dtype), dtype=h5py.ref_dtype)


@hdf5("attribute settings of / must hold numbers or text, got references", "attribute of references")
def _(file: h5py.File, outside: Path) -> None:
    file.attrs["settings"] = file["state"].ref


@hdf5("attribute DIMENSION_LIST of state must hold numbers or text, got references", "scale by a region")
def _(file: h5py.File, outside: Path) -> None:
    del file["state"].attrs["DIMENSION_LIST"]
    file["state"].attrs.create("DIMENSION_LIST", file["state"].regionref[:2], dtype=h5py.regionref_dtype)


@hdf5("data_60m must be compressed by one of gzip", "filter that a library brings")
def _(file: h5py.File, outside: Path) -> None:
    shape, creation = file["data_60m"].shape, h5p.create(h5p.DATASET_CREATE)
    del file["data_60m"]
    creation.set_chunk((1, *shape[1:]))
    creation.set_filter(4711, h5z.FLAG_OPTIONAL, ())
    h5d.create(file.id, b"data_60m", h5t.STD_U16LE, h5s.create_simple(shape), creation)


@hdf5("data_60m must have 6 along patch, as", "pixels without bytes")
def _(file: h5py.File, outside: Path) -> None:
    del file["data_60m"]
    file.create_dataset("data_60m", (2**40, 20, 20, 2), "<u2")


@hdf5("state must have at most", "column of absurd length")
def _(file: h5py.File, outside: Path) -> None:
    del file["state"]
    file.create_dataset("state", (2**40,), "u1", chunks=(1024,))


@hdf5("state must have a shape", "column without values")
def _(file: h5py.File, outside: Path) -> None:
    del file["state"]
    file["state"] = h5py.Empty("u1")


@hdf5("data_60m must have 6 along patch, as", "pixels of absurd length")
def _(file: h5py.File, outside: Path) -> None:
    del file["data_60m"]
    file.create_dataset("data_60m", (2**40, 20, 20, 2), "<u2", chunks=(1, 20, 20, 2))


@hdf5("it is damaged or not a store of etl.extract", "type that numpy has not")
def _(file: h5py.File, outside: Path) -> None:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    del file["split"]
    h5d.create(file.id, b"split", h5t.UNIX_D32LE, h5s.create_simple((6,)), creation)


@pytest.mark.parametrize("name", HDF5)
def test_an_hdf5_store_that_is_not_all_in_its_file_is_refused_by_every_reader(good, tmp_path, name):
    change, words = HDF5[name]
    path = Path(shutil.copy(good / "store.h5", tmp_path))
    with h5py.File(path, "r+", libver=("v108", "v110")) as file:
        change(file, good / "outside")
    refuse(path, good / "outside", tmp_path, words, readers_of(name))


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device"])
def test_a_name_of_a_store_that_is_no_file_is_refused_and_not_waited_for(good, tmp_path, kind):
    path = tmp_path / "store.h5"
    make = {"pipe": os.mkfifo, "folder": Path.mkdir, "link to a device": lambda path: path.symlink_to("/dev/zero")}
    make[kind](path)
    refuse(path, good / "outside", tmp_path, "must end in .h5" if "device" in kind else "must be an HDF5 file")


def test_a_good_store_is_taken_by_every_reader_and_so_is_one_behind_a_link(good, tmp_path):
    for name in ("store.h5", "store.zarr", "rows.zarr"):
        (tmp_path / name).symlink_to(good / name)
        for reader in READERS:
            assert refused_by(reader, tmp_path / name, tmp_path) == ("", 0)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


ZARR: dict[str, tuple[Callable[[Path, Path], Any], str]] = {}
"""What is done to a Zarr store, by what it is, and how it is refused."""


def member(name: str, words: str, array: str, **changes: Any) -> None:
    """Register a change of what the root, and the array itself, say of an array."""

    def change(path: Path, outside: Path) -> None:
        edit(path / "zarr.json", lambda root: root["consolidated_metadata"]["metadata"][array].update(changes))
        if (path / array / "zarr.json").exists():
            edit(path / array / "zarr.json", lambda own: own.update(changes))

    ZARR[name] = (change, words)


def zarr(words: str, name: str) -> Callable[[Callable[[Path, Path], Any]], None]:
    """Register a way to make a Zarr store hostile."""

    def register(change: Callable[[Path, Path], Any]) -> None:
        ZARR[name] = (change, words)

    return register


def sharded(**changes: Any) -> list[dict[str, Any]]:
    """Codecs of shards, with changed settings."""
    endian = {"name": "bytes", "configuration": {"endian": "little"}}
    settings = {"chunk_shape": [1, 20, 20, 2], "codecs": [endian], "index_codecs": [endian, {"name": "crc32c"}]}
    return [{"name": "sharding_indexed", "configuration": {**settings, **changes}}]


def regular(*shape: int) -> dict[str, Any]:
    """A grid of chunks."""
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


member("storage transformer", "no storage transformers", "data_60m", storage_transformers=[{"name": "indirect"}])
member("codec of a library", "its codecs must be of bytes", "state", codecs=[{"name": "numcodecs.pickle"}])
member("codec of pixels of a library", "its codecs must be of bytes", "data_60m", codecs=[{"name": "mine"}])
member("codec within shards", "its codecs must be of bytes", "data_60m", codecs=sharded(codecs=[{"name": "mine"}]))
member("shards within shards", "its shards must hold chunks, not shards", "data_60m", codecs=sharded(codecs=sharded()))
member("chunks of absurd size", "at most 1073741824 bytes each", "data_60m",
       codecs=[{"name": "bytes"}], chunk_grid=regular(2**40, 20, 20, 2))  # fmt: skip
member("column of absurd length", "it must have at most", "state", shape=[2**40], chunk_grid=regular(2**40))
member("pixels of absurd length", "must have 6 along patch", "data_60m", shape=[2**40, 20, 20, 2])
member("negative length", "whole numbers of at least 0", "data_60m", shape=[-6, 20, 20, 2])
member("length of 400 digits", "whole numbers of at least 0", "data_60m", shape=[10**400, 20, 20, 2])
member("chunks of no length", "whole numbers of at least 1", "data_60m", chunk_grid=regular(0, 20, 20, 2))
member("wrong number of dimensions", "its shape, chunks and dimensions must agree", "data_60m", shape=[6, 20, 20])
member("column of two dimensions", "state must have 1 dimensions", "state",
       shape=[6, 1], chunk_grid=regular(6, 1), dimension_names=None)  # fmt: skip
member("column in chunks", "it must be one chunk", "state", chunk_grid=regular(4))
member("chunks of other names", "its chunks must be named c.0, c.1", "state", chunk_key_encoding={"name": "v2"})
member("values where nothing is", "its fill_value must be 0", "data_60m", fill_value=7)
member("type that is none", "its data type must be of numbers or text", "state", data_type="complex128")
member("type in brackets", "its data type must be of numbers or text", "state", data_type=[["uint8"]])
member("text without its bytes", "must have its text as bytes in utf8/state", "state", data_type="string")
member("attributes without names", "attributes must be named", "state", attributes=[1])


@zarr("a member must be named by words", "name that leads out of the store")
def _(path: Path, outside: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        members = root["consolidated_metadata"]["metadata"]
        members["../outside/data_60m"] = members["data_60m"]

    edit(path / "zarr.json", change)


@zarr("must list no members of its own", "group in a group")
def _(path: Path, outside: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        members = root["consolidated_metadata"]["metadata"]
        members["stats"]["consolidated_metadata"]["metadata"] = {"up": {"node_type": "group", "zarr_format": 3}}

    edit(path / "zarr.json", change)


@zarr("data_60m/zarr.json must say the same of data_60m as zarr.json, but they differ in shape", "contradiction")
def _(path: Path, outside: Path) -> None:
    edit(path / "data_60m" / "zarr.json", lambda own: own.update(shape=[7, 20, 20, 2]))


@zarr("its zarr.json must be JSON", "brackets within brackets")
def _(path: Path, outside: Path) -> None:
    (path / "zarr.json").write_text("[" * 200_000)


@zarr("its zarr.json must be JSON", "not JSON")
def _(path: Path, outside: Path) -> None:
    (path / "zarr.json").write_bytes(b"\xff\0{")


@zarr("data_60m/zarr.json must be JSON", "an array's own brackets within brackets")
def _(path: Path, outside: Path) -> None:
    (path / "data_60m" / "zarr.json").write_text('{"shape":' * 100_000)


@zarr("state/c.0 must hold 6 bytes once it is decompressed, got 67108864", "chunk that grows")
def _(path: Path, outside: Path) -> None:
    (path / "state" / "c.0").write_bytes(Zstd(1).encode(bytes(1 << 26)))


@zarr("state/c.0 must be there, and is missing", "column without its chunk")
def _(path: Path, outside: Path) -> None:
    (path / "state" / "c.0").unlink()


@zarr("is a link to", "link to a shard elsewhere")
def _(path: Path, outside: Path) -> None:
    for shard in list(path.glob("data_*/c.*")):
        shard.unlink()
        shard.symlink_to(outside / "secret.bin")


@zarr("is a link to", "link to a folder elsewhere")
def _(path: Path, outside: Path) -> None:
    shutil.rmtree(path / "data_60m")
    (path / "data_60m").symlink_to(outside)


@zarr("is a link to", "link to metadata elsewhere")
def _(path: Path, outside: Path) -> None:
    (path / "zarr.json").unlink()
    (path / "zarr.json").symlink_to(outside / "secret.bin")


@zarr("is a link to", "link to a column elsewhere")
def _(path: Path, outside: Path) -> None:
    (path / "state" / "c.0").unlink()
    (path / "state" / "c.0").symlink_to(outside / "secret.bin")


@zarr("is not a regular file", "metadata that are a pipe")
def _(path: Path, outside: Path) -> None:
    (path / "zarr.json").unlink()
    os.mkfifo(path / "zarr.json")


@zarr("is not a regular file", "column that is a pipe")
def _(path: Path, outside: Path) -> None:
    (path / "state" / "c.0").unlink()
    os.mkfifo(path / "state" / "c.0")


@zarr("is not a regular file", "shards that are pipes")
def _(path: Path, outside: Path) -> None:
    for shard in list(path.glob("data_*/c.*")):
        shard.unlink()
        os.mkfifo(shard)


BY_TENSORSTORE = [name for name in ZARR if "shard" in name or "pixels" in name or name == "contradiction"]


@pytest.mark.parametrize(
    ("store", "name"), [*(("store.zarr", name) for name in ZARR), *(("rows.zarr", name) for name in BY_TENSORSTORE)]
)
def test_a_zarr_store_that_leads_out_of_its_folder_or_claims_too_much_is_refused(good, tmp_path, name, store):
    change, words = ZARR[name]
    path = tmp_path / "store.zarr"
    shutil.copytree(good / store, path)
    change(path, good / "outside")
    refuse(path, good / "outside", tmp_path, words, readers_of(name))


def test_an_index_of_a_shard_that_claims_too_much_is_damage(good, tmp_path):
    path = tmp_path / "store.zarr"
    shutil.copytree(good / "store.zarr", path)
    for start, length in ((0, 2**62), (2**63, 16), (2**64 - 2, 2**64 - 2)):
        for shard in (path / "data_60m").glob("c.*"):
            index = np.array([[start, length]] * 4, "<u8").tobytes()
            shard.write_bytes(index + google_crc32c.value(index).to_bytes(4, "little"))
        refuse(path, good / "outside", tmp_path, "the shard is damaged", ["reader", "train", "resume"], 1)


def reference(*given: Any) -> Callable[[dict[str, Any]], Any]:
    """A change of a manifest's first reference of pixels."""
    return lambda manifest: manifest["refs"].update({"data_60m/0.0.0.0": list(given)})


TOO_FAR = "must be a range of the"
NO_MANIFEST = "must be a manifest made by"
MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a path": (reference("/etc/passwd", 0, 8), TOO_FAR),
    "a whole file": (reference("{{u}}"), TOO_FAR),
    "a file's address": (reference("file:///etc/passwd", 0, 8), TOO_FAR),
    "a server's address": (reference("http://127.0.0.1:9/x", 0, 8), TOO_FAR),
    "a range beyond the end": (reference("{{u}}", 0, 2**40), TOO_FAR),
    "a range before the start": (reference("{{u}}", -8, 8), TOO_FAR),
    "a range of halves": (reference("{{u}}", 0.5, 8), TOO_FAR),
    "a number": (lambda manifest: manifest["refs"].update(state=7), TOO_FAR),
    "values in place": (lambda manifest: manifest["refs"].update({"state/0": "base64:AAAA"}), TOO_FAR),
    "two files": (lambda manifest: manifest["templates"].update(v="/etc/passwd"), NO_MANIFEST),
    "a program": (lambda manifest: manifest.update(gen=[{"key": "{{i}}", "url": "u"}]), NO_MANIFEST),
    "another version": (lambda manifest: manifest.update(version=2), NO_MANIFEST),
    "no references": (lambda manifest: manifest.update(refs=[]), NO_MANIFEST),
    "a file of another kind": (lambda manifest: manifest["templates"].update(u="/etc/passwd"), "of one HDF5 store"),
    "a store's address": (lambda manifest: manifest["templates"].update(u="file:///x/store.h5"), "of one HDF5 store"),
    "a template in a template": (lambda manifest: manifest["templates"].update(u="{{u}}/gone.h5"), "and does not"),
}
"""Changes of a manifest, and how it is refused."""


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_refers_to_anything_but_its_store_is_refused(good, tmp_path, name):
    change, words = MANIFESTS[name]
    shutil.copy(good / "store.h5", tmp_path)
    path = Path(shutil.copy(good / "store.json", tmp_path))
    edit(path, change)
    refuse(path, good / "outside", tmp_path, words, ["open_store"])


@pytest.mark.parametrize("content", ["[" * 200_000, '{"refs":' * 100_000, "{}", "[1]", "null", ""])
def test_what_is_no_manifest_is_refused(good, tmp_path, content):
    path = tmp_path / "store.json"
    path.write_text(content)
    refuse(path, good / "outside", tmp_path, NO_MANIFEST, ["open_store"])


def test_the_store_of_a_manifest_passes_the_same_gate(good, tmp_path):
    shutil.copy(good / "store.json", tmp_path)
    store = Path(shutil.copy(good / "store.h5", tmp_path))
    assert etl.open_store(tmp_path / "store.json").identical(etl.open_store(store))
    with h5py.File(store, "r+") as file:
        del file["data_60m"]
        file["data_60m"] = h5py.ExternalLink(good / "outside" / "other.h5", "/data_60m")
    refuse(tmp_path / "store.json", good / "outside", tmp_path, "data_60m is a link to", ["open_store"])


def test_text_of_a_store_that_is_not_utf_8_is_refused_in_words(good, tmp_path):
    path = Path(shutil.copy(good / "store.h5", tmp_path))
    with h5py.File(path) as file:
        offset = file["band_10m"].id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff")
    with StoreReader(path) as store, pytest.raises(ValueError, match="band_10m must hold text in UTF-8"):
        store.text("band_10m")
