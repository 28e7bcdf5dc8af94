"""Damage of a complete store: --recheck finds it, and extracts again what an undamaged run would have written."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from datetime import datetime
from types import SimpleNamespace
from unittest import mock

import h5py
import psutil
import pytest
from bad_input import (
    SMALL_BLOCKS,
    broken_job,
    cut,
    job,
    listed,
    poke,
    product_of,
    put_catalogue,
    random_pixels,
    without_data,
)
from commands import begin, content, ranks_of, same
from mpi4py import MPI

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.sample.safe import BLOCK_PX, write_product
from etl.schema import DIGESTS
from etl.settings import load_settings
from etl.store.journal import journal_location
from etl.store.location import Location
from etl.store.zarr.group import chunk_key
from etl.verify.run import verify
from etl.verify.settings import VerifySettings

LIMIT = ("--max-nodata-share", "0.5")
SHARDS = ("--shard-rows", "4")
NAMES = ("store.h5", "store.zarr")

FROM_SECOND, ABSENT, EMPTY, LAST = 10, 13, 17, 20
"""A row from the second product of its acquisition, two rejected rows, one without product, and the last row."""


def put_archive(root):
    """One product; two of one acquisition, of which each has patches that the other lacks; none; one of little data."""
    versions = [product_of(2, generated=datetime(2017, 7, day)) for day in (2, 1)]
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        write_product(root / "tiles", product_of(1), random_pixels(1, 360))
        write_product(root / "tiles", versions[0], without_data(random_pixels(2), 130, 240))
        write_product(root / "tiles", versions[1], without_data(random_pixels(3), 0, 110))
        write_product(root / "tiles", product_of(4), without_data(random_pixels(4), 0, 90))
    put_catalogue(
        root / "patches.parquet",
        listed(product_of(1), 360) + listed(versions[1]) + listed(product_of(3)) + listed(product_of(4)),
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Folder with an archive, its complete stores in both formats, and their files."""
    root = tmp_path_factory.mktemp("archive")
    put_archive(root)
    for name in NAMES:
        (root / name).with_suffix("").mkdir(exist_ok=True)
        done = job(1, root, root / "store" / name, *LIMIT, *SHARDS)
        assert done.returncode == 0, done.stderr
    assert same(content(root / "store" / NAMES[0]), content(root / "store" / NAMES[1]))
    return SimpleNamespace(
        root=root, store=content(root / "store" / NAMES[0]), listed=list_of(root / "store" / NAMES[0])
    )


@pytest.fixture
def copy(archive, tmp_path):
    """Copies the complete store of a name, with what is beside it, for a test to damage."""

    def make(name):
        out = tmp_path / name
        for path in (archive.root / "store").glob(f"{name}*"):
            shutil.copytree(path, out) if path.is_dir() else shutil.copy(path, tmp_path)
        shutil.copy(archive.root / "store" / "store.rejected.csv", tmp_path)
        return out

    return make


def list_of(out):
    return out.with_name("store.rejected.csv").read_bytes()


@pytest.fixture
def run(archive, capfd, caplog):
    """Extracts in this process, on one rank: exit status, and what was said."""

    def extract_here(out, *flags, root=archive.root):
        paths = ("--catalogue", str(root / "patches.parquet"), "--source", str(root / "tiles"), "--out", str(out))
        settings = load_settings(ExtractSettings, "etl.extract", [*paths, *LIMIT, *SHARDS, *flags])
        caplog.clear()
        capfd.readouterr()
        try:
            status, error = int(extract(settings, MPI.COMM_SELF)), ""
        except JobError as raised:
            status, error = int(raised.status), str(raised)
        return SimpleNamespace(status=status, said=capfd.readouterr().out + caplog.text, error=error)

    return extract_here


RECHECK = ("--resume", "--recheck")


def require_repaired(run, archive, out, wanted=""):
    """Repair a store; it is then as an undamaged run leaves it, and nothing is left to repair."""
    done = run(out, *RECHECK)
    assert done.status == 0, done
    assert wanted in done.said
    found = content(out)
    assert [name for name, array in archive.store.items() if found[name].tobytes() != array.tobytes()] == []
    assert same(found, archive.store)
    assert list_of(out) == archive.listed
    before = bytes_of(out)
    again = run(out, *RECHECK)
    assert (again.status, bytes_of(out)) == (0, before)
    assert "is complete and undamaged, 6 rejected: nothing to do" in again.said


def bytes_of(out):
    """Bytes of all files of a store and of those beside it, by path."""
    return {
        path: path.read_bytes()
        for path in sorted(out.parent.rglob("store.*")) + sorted(out.rglob("*"))
        if path.is_file()
    }


def flip(store, name, row=0):
    """Flip the bits of the first byte of a row of a data set."""
    with h5py.File(store) as file:
        start = file[name].id.get_offset() + row * (file[name].nbytes // len(file[name]))
    with store.open("r+b") as file:
        file.seek(start)
        byte = file.read(1)[0]
        file.seek(start)
        file.write(bytes([byte ^ 0xFF]))


IDENTITY = ("patch", "tile", "acquired", "epsg", "ulx", "uly", "split", "classes")
RESULTS = ("product", "baseline", "nodata_share", "cloud_share", "snow_share", "checksum", "state")


def flips(*places):
    """What flips a byte in each of some rows of data sets."""

    def flip_all(out):
        for name, row in places:
            flip(out, name, row)

    return flip_all


DAMAGES = {
    "identity": flips(*((name, 3) for name in IDENTITY)),
    **{name: flips(*((name, row) for row in (3, FROM_SECOND, ABSENT, EMPTY))) for name in RESULTS},
    "pixels": flips(("data_10m", 2), ("data_20m", FROM_SECOND), ("data_60m", EMPTY), ("data_super", LAST)),
    "states that others have": lambda out: [
        poke(out, "state", row, byte) for row, byte in ((4, b"\2"), (5, b"\0"), (EMPTY, b"\1"))
    ],
    "all states": lambda out: poke(out, "state", 0, bytes(21)),
    "all checksums": lambda out: poke(out, "checksum", 0, bytes(8 * 21)),
    "statistics": flips(("stats/data_20m/sum", 1)),
    "names": flips(("band_20m", 2), ("stats/split", 1), ("digests/array", 5)),
    "digests of checksums": lambda out: poke(out, DIGESTS, 8 * 64 * 13, bytes(8 * 64)),
    "all digests": lambda out: poke(out, DIGESTS, 0, bytes(4096)),
    "no list": lambda out: out.with_name("store.rejected.csv").unlink(),
    "another list": lambda out: cut(out.with_name("store.rejected.csv"), 100),
    "the journal lost its last line": lambda out: drop_last_line(journal_location(Location.parse(out)).path),
}


def drop_last_line(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def damage_much(out):
    for name, row in (("data_10m", 5), ("checksum", 5), ("data_20m", 6), ("product", 12), ("split", 8), ("state", 0)):
        flip(out, name, row)
    DAMAGES["statistics"](out)
    DAMAGES["no list"](out)


DAMAGES["several at once"] = damage_much


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_hdf5_store_gets_the_content_of_an_undamaged_one(archive, copy, run, damage):
    out = copy("store.h5")
    DAMAGES[damage](out)
    require_repaired(run, archive, out, "store.h5 is damaged: ")


@pytest.fixture
def zarr(copy):
    """A copy of the Zarr store, and the path of the chunk or shard of one of its arrays."""
    out = copy("store.zarr")

    def chunk(name, shard=None):
        return next((out / name).glob("c*" if shard is None else f"c.{shard}.0.0.0"))

    return SimpleNamespace(out=out, chunk=chunk)


def flip_middle(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def flip_index(path):
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)


BREAK = {
    "is gone": lambda path: path.unlink(),
    "has no bytes": lambda path: path.write_bytes(b""),
    "is cut short": lambda path: cut(path, 0.5),
    "has a flipped byte": flip_middle,
    "has a flipped byte in its index": flip_index,
}


@pytest.mark.parametrize("how", BREAK)
def test_damaged_shards_are_made_again_and_other_rows_keep_their_bytes(archive, zarr, run, how):
    for name, shard in (("data_10m", 0), ("data_super", 2), ("data_60m", 5)):
        BREAK[how](zarr.chunk(name, shard))
    require_repaired(run, archive, zarr.out, "store.zarr is damaged: ")


ARRAYS = {
    "identity": (*IDENTITY[1:], "utf8/patch"),
    "strings": ("patch", "utf8/tile"),
    "products": ("utf8/product", "baseline"),
    "checksums and states": ("checksum", "state"),
    "shares": ("cloud_share", "nodata_share"),
    "statistics and names": ("stats/data_10m/sum", "band_10m", "class", "utf8/stats/split"),
    "digests": (DIGESTS,),
}


@pytest.mark.parametrize("how", ["is gone", "has no bytes", "has a flipped byte"])
@pytest.mark.parametrize("which", ARRAYS)
def test_damaged_arrays_of_zarr_get_their_values_back(archive, zarr, run, which, how):
    for name in ARRAYS[which]:
        BREAK[how](next((zarr.out / name).glob("c*")))
    require_repaired(run, archive, zarr.out)


def test_a_zarr_store_that_is_damaged_in_many_places_is_repaired(archive, zarr, run):
    for name, shard, how in (("data_10m", 0, "is gone"), ("data_20m", 2, "is cut short"), ("data_super", 5, "is gone")):
        BREAK[how](zarr.chunk(name, shard))
    for name in ("checksum", "state", "cloud_share", "stats/data_60m/nodata"):
        BREAK["has a flipped byte"](zarr.chunk(name))
    zarr.out.with_name("store.rejected.csv").unlink()
    require_repaired(run, archive, zarr.out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_content_is_the_same_whatever_the_rank_count(archive, copy, name, size):
    out = copy(name)
    if name == "store.h5":
        damage_much(out)
    else:
        (out / chunk_key("data_10m", (1, 0, 0, 0))).unlink()
        flip_middle(out / chunk_key("product", (0,)))
        flip_middle(out / chunk_key("data_super", (4, 0, 0, 0)))
    done = job(size, archive.root, out, *LIMIT, *SHARDS, *RECHECK, "--strict")
    assert done.returncode == 4, done.stderr  # six patches are rejected
    assert same(content(out), archive.store)
    assert list_of(out) == archive.listed
    done = job(size, archive.root, out, *LIMIT, *SHARDS, *RECHECK, "--strict")
    assert done.returncode == 4, done.stderr
    assert "undamaged, 6 rejected: nothing to do" in done.stdout


@pytest.mark.parametrize(
    ("name", "values"),
    [("checksum", bytes(8 * 21)), (DIGESTS, bytes(8 * 64 * 35))],  # the pixels tell them
)
def test_arrays_that_can_be_known_are_made_again_without_extracting_a_row(copy, run, name, values):
    out = copy("store.h5")
    poke(out, name, 0, values)
    done = run(out, *RECHECK)
    assert f"is damaged: the arrays {name}\n" in done.said
    assert "15 patches written (15 of them before), 6 rejected by " in done.said


def test_only_what_is_damaged_is_extracted_again(copy, run):
    out = copy("store.h5")
    flip(out, "data_20m", 6)
    done = run(out, *RECHECK)
    assert "is damaged: 1 row (row 6 " in done.said
    assert "15 patches written (14 of them before), 6 rejected by " in done.said


@pytest.mark.parametrize("name", NAMES)
def test_without_recheck_a_complete_store_is_left_alone(copy, run, name):
    out = copy(name)
    before = bytes_of(out)
    assert run(out, "--resume").status == 0
    assert bytes_of(out) == before


def test_without_recheck_a_complete_store_with_a_column_that_cannot_be_read_is_refused(zarr, run):
    BREAK["has no bytes"](zarr.chunk("cloud_share"))
    before = bytes_of(zarr.out)
    done = run(zarr.out, "--resume")
    assert done.status == 2
    assert "is complete, but damaged: cloud_share cannot be read; --resume --recheck repairs it" in done.error
    assert bytes_of(zarr.out) == before


@pytest.mark.parametrize("name", NAMES)
def test_an_incomplete_store_is_verified_and_completed(archive, copy, run, name):
    out = copy(name)
    if name == "store.h5":
        flip(out, "data_20m", 6)
        flip(out, "split", 2)
        flip(out, "state", 8)
        poke(out, "complete", 0, b"\0")
    else:
        for array in ("complete", "utf8/patch"):
            BREAK["is gone"](next((out / array).glob("c*")))
        BREAK["has no bytes"](out / chunk_key("cloud_share", (0,)))  # one that is gone would be read as zeros
        BREAK["has no bytes"](out / chunk_key("data_10m", (1, 0, 0, 0)))
        BREAK["has no bytes"](out / chunk_key("split", (0,)))
    require_repaired(run, archive, out)


@pytest.fixture
def sources(archive, tmp_path):
    """A copy of the archive whose products can be changed."""
    root = tmp_path / "sources"
    root.mkdir()
    shutil.copytree(archive.root / "tiles", root / "tiles")
    shutil.copy(archive.root / "patches.parquet", root)
    return root


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3])
def test_a_source_that_lacks_the_product_changes_nothing_and_the_row_is_named(copy, sources, name, size):
    out = copy(name)
    if name == "store.h5":
        flip(out, "data_20m", 6)
    else:
        BREAK["is gone"](out / chunk_key("data_20m", (1, 0, 0, 0)))
    shutil.rmtree(sources / "tiles" / product_of(1).name)
    before = bytes_of(out)
    done = job(size, sources, out, *LIMIT, *SHARDS, *RECHECK)
    assert done.returncode == 2, done.stderr
    assert "row 6 S2A_MSIL2A_20170601T101031_0_2" in done.stderr
    assert "was extracted from S2A_MSIL2A_20170601T101031_N0205_R022_T33UUP_20170601T120000" in done.stderr
    assert "resume with the --source of the first run" in done.stderr
    assert bytes_of(out) == before


def test_products_of_undamaged_rows_need_not_be_there(archive, copy, sources, run):
    out = copy("store.h5")
    flip(out, "data_20m", EMPTY + 2)
    shutil.rmtree(sources / "tiles" / product_of(1).name)
    assert run(out, *RECHECK, root=sources).status == 0
    assert same(content(out), archive.store)


def damage_two(out):
    """Damage a row of the first product, and one of the last."""
    for row, shard in ((6, 1), (EMPTY + 1, 4)):
        if out.suffix == ".h5":
            flip(out, "data_20m", row)
        else:
            BREAK["is cut short"](out / chunk_key("data_20m", (shard, 0, 0, 0)))


def replace_product(root):
    """Put another product in place of the first one."""
    shutil.rmtree(root / "tiles" / product_of(1).name)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        write_product(root / "tiles", product_of(1), random_pixels(9, 360))


@pytest.mark.parametrize("name", NAMES)
def test_a_product_that_was_replaced_is_refused_before_a_byte_changes(copy, sources, run, name):
    out = copy(name)
    damage_two(out)
    replace_product(sources)
    before = bytes_of(out)
    done = run(out, *RECHECK, root=sources)
    assert done.status == 2, done
    assert f"row {6 if name == 'store.h5' else 4} of " in done.error
    assert "--source now holds another product under this name: " in done.error
    assert bytes_of(out) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_source_that_has_changed_unnoticed_does_not_get_into_the_store(archive, copy, sources, run, name):
    """The journal, of an older version, has no digests of the products."""
    out = copy(name)
    damage_two(out)
    forget_products(journal_location(Location.parse(out)).path)
    before = content(out) if name == "store.h5" else None
    replace_product(sources)
    done = run(out, *RECHECK, root=sources)
    assert done.status == 2, done
    assert (
        f"{'1 damaged row stays as it was' if name == 'store.h5' else '4 damaged rows stay as they were'} in"
        in done.error
    )
    assert "row 6 " in done.error
    found = content(out)
    assert found["complete"] == 1
    if before is not None:
        assert found["data_20m"][6].tobytes() == before["data_20m"][6].tobytes()
        assert found["checksum"].tobytes() == archive.store["checksum"].tobytes()
    require_repaired(run, archive, out)


def forget_products(path):
    """Leave out of a journal what journals of older versions do not have."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in entry.items() if key not in ("sum", "contents")} for entry in entries]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in kept))


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_store_without_digests_is_repaired_from_its_checksums(archive, copy, run, version):
    out = copy("store.h5")
    with h5py.File(out, "r+") as file:
        del file["digests"]
        if version == "1":
            del file["nodata_share"]
            file.attrs["schema_version"] = "1"
    undamaged = content(out)
    for name, row in (("data_10m", 5), ("checksum", 7), ("split", 8), ("state", 0), ("stats/data_20m/sum", 1)):
        flip(out, name, row)
    done = run(out, *RECHECK)
    assert done.status == 0, done
    assert same(content(out), undamaged)
    assert "nothing to do" in run(out, *RECHECK).said


def test_a_copy_of_etl_convert_is_refused_with_the_line_that_makes_it_again(copy, run):
    out = copy("store.h5")
    for name, flags, line in (
        ("gzip.h5", {"compress": "gzip", "chunk_rows": 2}, "--compress gzip --chunk-rows 2"),
        ("part.h5", {"split": "train,none"}, "--split train,none"),
        ("copy.zarr", {"shard_rows": 4, "keep_rejected": True}, "--keep-rejected --shard-rows 4"),
    ):
        made = out.with_name(name)
        convert(ConvertSettings(Location.parse(out), Location.parse(made), **flags), MPI.COMM_SELF)
        before = bytes_of(made)
        done = run(made, *RECHECK)
        assert done.status == 2
        assert f"copy that again: python -m etl.convert store.h5 --out {made} {line}" in done.error
        assert bytes_of(made) == before


def test_a_store_without_its_journal_is_refused_and_says_what_can_be_done(copy, run):
    out = copy("store.h5")
    journal_location(Location.parse(out)).path.unlink()
    before = bytes_of(out)
    done = run(out, *RECHECK)
    assert done.status == 2
    assert "is missing, and --resume needs it; restore it, or start a new store with another --out" in done.error
    assert bytes_of(out).items() >= before.items()


def test_a_store_without_its_end_is_refused_and_says_what_can_be_done(copy, run):
    out = copy("store.h5")
    cut(out, 0.7)
    before = bytes_of(out)
    done = run(out, *RECHECK)
    assert done.status == 2
    assert "it cannot be repaired: extract it again, with another --out" in done.error
    assert bytes_of(out).items() >= before.items()


def test_verify_names_the_digest_that_differs_and_what_repairs_it(copy, capsys):
    out = copy("store.h5")
    assert verify(VerifySettings(Location.parse(out)), MPI.COMM_SELF) == 0
    flip(out, "product", 10)
    flip(out, "cloud_share", 20)
    flip(out, "stats/data_10m/count", 1)
    capsys.readouterr()
    assert verify(VerifySettings(Location.parse(out)), MPI.COMM_SELF) == 1
    said = capsys.readouterr().out
    assert "3 wrong: product among rows 10 to 10 is not what was written; cloud_share among rows 20 to 20 is" in said
    assert f"to repair it, python -m etl.extract --out {out} --resume --recheck, with the catalogue" in said


@pytest.mark.parametrize("name", ["utf8/product", "snow_share", "stats/data_10m/count", DIGESTS])
def test_verify_names_an_array_of_zarr_that_cannot_be_read(zarr, capsys, name):
    for path in (zarr.out / name).glob("c*"):
        path.write_bytes(b"x")
    assert verify(VerifySettings(Location.parse(zarr.out)), MPI.COMM_SELF) == 1
    said = capsys.readouterr().out
    assert "FAILED   digests" in said
    assert name.removeprefix("utf8/") in said
    assert "--resume --recheck" in said


def test_recheck_goes_with_resume_alone(archive, tmp_path):
    for flags in (("--recheck",), ("--recheck", "--resume", "--retry-rejected")):
        done = job(1, archive.root, tmp_path / "store.h5", *flags)
        assert done.returncode == 2
        assert "--recheck needs --resume" in done.stderr


KILLS = int(os.environ.get("REPAIR_KILLS", "3"))
"""Kills of repairs in each format and on each number of ranks."""

KILL_AT = """
    import itertools
    from etl.store import sidecar
    from etl.store.hdf5 import writer as hdf5_writer
    from etl.store.zarr import writer as zarr_writer
    calls = itertools.count(1)
    def killing(call):
        def counted(*args, **options):
            if rank == {rank} and next(calls) == {number}:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        return counted
    for owner, names in (
        (os, ("pwrite", "fsync", "replace")), (hdf5_writer.Hdf5Writer, ("write", "close")),
        (zarr_writer.ShardWriter, ("write", "wait", "sync")), (zarr_writer, ("write_objects", "write_shard")),
    ):
        for name in names:
            setattr(owner, name, killing(getattr(owner, name)))
    if {number} == 0:
        import atexit
        atexit.register(lambda: rank == {rank} and print("calls that write:", next(calls) - 1))
"""
"""Kills a rank before one of its calls that write or sync; number 0 counts them."""


def damage_zarr(out):
    for array, shard, how in (("data_10m", 1, "is gone"), ("data_super", 4, "has a flipped byte")):
        BREAK[how](out / chunk_key(array, (shard, 0, 0, 0)))
    for array in ("checksum", "split", "cloud_share"):
        BREAK["has a flipped byte"](out / chunk_key(array, (0,)))
    list_path = out.with_name("store.rejected.csv")
    list_path.unlink()


def repair_in(folder, archive, name, size, rank, number):
    """Repair the store of a folder; a rank is killed before its `number`-th call that writes."""
    flags = ("--out", name, *LIMIT, *SHARDS, *RECHECK, "--sync-s", "0.01")
    return broken_job(size, archive, folder, KILL_AT.format(rank=rank, number=number), *flags)


@pytest.mark.timeout(120 + 40 * KILLS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3])
def test_a_repair_that_is_killed_at_any_instant_is_resumed_to_the_content_of_an_undamaged_run(
    archive, copy, tmp_path, name, size
):
    rng = random.Random(f"{name} {size}")
    damage = damage_much if name == "store.h5" else damage_zarr
    calls, landed = [0] * size, 0
    for attempt in range(KILLS):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        out = copy(name)
        damage(out)
        journal = journal_location(Location.parse(out)).path
        before, rank = journal.read_bytes(), rng.randrange(size)
        if not calls[rank]:
            done = repair_in(tmp_path, archive, name, size, rank, 0)
            assert done.returncode == 0, done.stderr
            calls[rank] = int(done.stdout.split("calls that write:")[1].split()[0])
            assert same(content(out), archive.store)
            shutil.rmtree(out) if out.is_dir() else out.unlink()
            copy(name)
            damage(out)
        killed = repair_in(tmp_path, archive, name, size, rank, rng.randint(1, calls[rank]))
        landed += killed.returncode != 0
        begun = journal.read_bytes() != before
        assert begun or content(out)["complete"] == 1
        for flags in (("--resume",),) if begun and rng.random() < 0.7 else (RECHECK,):
            done = job(rng.choice([1, 2, 3]), archive.root, out, *LIMIT, *SHARDS, *flags)
            assert done.returncode == 0, f"attempt {attempt}: {done.stderr}"
        assert same(content(out), archive.store), f"attempt {attempt}"
        assert list_of(out) == archive.listed
    assert landed >= KILLS // 2


@pytest.mark.timeout(120 + 40 * KILLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_repair_that_is_killed_at_a_random_time_is_resumed(archive, copy, tmp_path, name):
    rng = random.Random(name)
    paths = ("--catalogue", str(archive.root / "patches.parquet"), "--source", str(archive.root / "tiles"))
    for attempt in range(KILLS):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        out = copy(name)
        (damage_much if name == "store.h5" else damage_zarr)(out)
        journal = journal_location(Location.parse(out)).path
        before = journal.read_bytes()
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = begin(
            rng.choice([1, 2, 3]), "etl.extract", *paths, "--out", str(out), *LIMIT, *SHARDS, *RECHECK, **how
        )
        while running.poll() is None and journal.read_bytes() == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.2))
        for process in rng.choice([ranks_of(running), ranks_of(running)[:1]]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        running.wait(timeout=60)
        done = job(rng.choice([1, 2, 3]), archive.root, out, *LIMIT, *SHARDS, "--resume")
        assert done.returncode == 0, f"attempt {attempt}: {done.stderr}"
        assert same(content(out), archive.store), f"attempt {attempt}"
        assert list_of(out) == archive.listed
