"""Resuming with another store, journal, catalogue or source than what a store was begun with."""

import json
import shutil
from datetime import datetime

import numpy as np
import pytest
from bad_input import (
    cut,
    errors,
    image,
    is_written,
    job,
    listed,
    poke,
    product_of,
    put_catalogue,
    random_pixels,
    reasons,
)
from commands import content, same

from etl.sample.product import OFFSET
from etl.sample.safe import write_product
from etl.store.journal import journal_location
from etl.store.location import Location


@pytest.mark.parametrize("size", [1, 3])
def test_rows_that_the_disk_lost_and_the_sums_are_made_again(begun, tile, size):
    poke(begun / "store.h5", "data_60m", 2 * 20 * 20 * 2 * 2, bytes(100))
    poke(begun / "store.h5", "checksum", 8 * 7, bytes(8))
    poke(begun / "store.h5", "stats/data_10m/sum", 0, bytes(64))
    done = job(size, begun, begun / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("9 patches written (7 of them before), 0 rejected by ")
    assert same(content(begun / "store.h5"), tile.store)


def test_a_store_is_resumed_only_with_the_settings_it_was_begun_with(begun):
    for flags, wanted in (
        (("--upsample", "none"), "upsample was bilinear, is none"),
        (("--max-cloud-share", "0.5"), "max_cloud_share was 1.0, is 0.5"),
    ):
        done = job(1, begun, begun / "store.h5", "--resume", *flags)
        assert done.returncode == 2
        assert wanted in errors(done)[0]


def test_a_store_is_resumed_only_with_its_own_catalogue(begun, tile):
    put_catalogue(begun / "patches.parquet", [{**p, "labels": ["Pastures"]} for p in listed(tile.spec, 360)])
    done = job(3, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert len(errors(done)) == 1
    assert "--resume needs the catalogue, source and settings of the first run; of " in errors(done)[0]
    assert "store.h5 these differ: catalogue_sha256 was" in errors(done)[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            None,
            "store.h5.journal is missing, and --resume needs it; restore it, or start a new store with another --out",
        ),
        ("", "is not a journal of etl.extract: its first line must hold the settings of the run"),
        ("[]\n", "is not a journal of etl.extract: its first line must hold the settings of the run"),
    ],
)
def test_without_its_journal_a_store_is_not_resumed(begun, text, wanted):
    (begun / "store.h5.journal").unlink()
    if text is not None:
        (begun / "store.h5.journal").write_text(text)
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert wanted in errors(done)[0]


def test_a_journal_with_a_broken_line_is_refused_with_the_line(begun):
    path = begun / "store.h5.journal"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert "store.h5.journal, line 2" in errors(done)[0]


def drop_last_line(journal):
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))


def forget_reason(journal):
    """As a journal of an older version, without checksums, that has lost the reason of a rejected row."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    journal.write_text("".join(json.dumps({k: v for k, v in one.items() if k != "sum"}) + "\n" for one in entries))
    poke(journal.with_name("store.h5"), "state", 3, b"\x02")


LOST = {
    "rows": (drop_last_line, "it does not say for row 0, nor for 8 other rows that it is finished, as it is in a comp"),
    "a reason": (forget_reason, "it does not say for row 3 the reason why it is rejected"),
}


@pytest.mark.parametrize("what", LOST)
def test_a_journal_that_has_lost_something_of_a_complete_store_is_refused(begun, what):
    damage, wanted = LOST[what]
    poke(begun / "store.h5", "complete", 0, b"\1")
    assert "nothing to do" in job(1, begun, begun / "store.h5", "--resume").stdout
    damage(begun / "store.h5.journal")
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert wanted in errors(done)[0]
    assert "restore the journal, or start a new store with another --out" in errors(done)[0]


def test_a_store_that_is_cut_short_is_refused_and_not_made_worse(begun):
    cut(begun / "store.h5", 0.5)
    before = (begun / "store.h5").read_bytes()
    done = job(3, begun, begun / "store.h5", "--resume")
    assert done.returncode in (1, 2)
    assert len(errors(done)) == 1
    assert "Traceback" not in done.stderr
    assert "store.h5" in errors(done)[0]
    assert (begun / "store.h5").read_bytes() == before


def test_a_store_is_resumed_only_with_the_product_it_was_begun_with(begun, tile):
    (begun / "tiles").unlink()
    newer = product_of(1, baseline="05.10", offsets=OFFSET, generated=datetime(2023, 1, 1))
    write_product(begun / "tiles", newer, random_pixels(9, 360))
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2
    assert (
        f"was extracted from {tile.spec.name.removesuffix('.SAFE')}, but --source now has another product for it; "
        "resume with the --source of the first run" in errors(done)[0]
    )


@pytest.mark.parametrize("suffix", [".SAFE", ""])  # listed under a name that is also the product's, and not
def test_a_store_is_not_resumed_once_a_product_of_its_finished_rows_is_broken(begun, tile, suffix):
    name = tile.spec.name.removesuffix(".SAFE")
    put_catalogue(begun / "patches.parquet", [{**p, "product": name + suffix} for p in listed(tile.spec, 360)])
    (begun / "store.h5").unlink()
    assert job(1, begun, begun / "store.h5").returncode == 0
    (begun / "tiles").unlink()
    shutil.copytree(tile.root / "tiles", begun / "tiles")
    image(begun / "tiles" / tile.spec.name, "B09", 60).unlink()
    poke(begun / "store.h5", "complete", 0, b"\0")
    poke(begun / "store.h5", "data_60m", 2 * 20 * 20 * 2 * 2, bytes(100))
    before = (begun / "store.h5").read_bytes()
    done = job(1, begun, begun / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert f"row 0 of {begun}/store.h5 was extracted from {name}, but cannot be extracted again: " in errors(done)[0]
    assert "B09 missing" in errors(done)[0]
    assert (begun / "store.h5").read_bytes() == before


@pytest.mark.parametrize("size", [1, 3])
def test_rejected_patches_are_made_once_the_missing_product_is_there(tile, tmp_path, size):
    other = product_of(2)
    put_catalogue(tmp_path / "patches.parquet", listed(tile.spec, 360) + listed(other))
    (tmp_path / "tiles").mkdir()
    shutil.copytree(tile.root / "tiles" / tile.spec.name, tmp_path / "tiles" / tile.spec.name)
    out, retry = tmp_path / "store.h5", ("--resume", "--retry-rejected")
    assert job(1, tmp_path, out).returncode == 0
    assert len(reasons(out)) == 4
    assert job(size, tmp_path, out, *retry, "--strict").returncode == 4
    assert len(reasons(out)) == 4
    journal = journal_location(Location.parse(out)).path.read_bytes()
    pixels = random_pixels(7)
    write_product(tmp_path / "tiles", replaced := product_of(2, generated=datetime(2018, 1, 1)), pixels)
    done = job(size, tmp_path, out, *retry, "--strict")
    assert done.returncode == 0, done.stderr
    assert "13 patches written (9 of them before), 0 rejected by " in done.stdout.splitlines()[-1]
    assert not reasons(out)
    store = content(out)
    assert (store["state"] == 1).all()
    assert all(is_written(store, patch, pixels) for patch in listed(other))
    assert set(store["product"][9:].tolist()) == {replaced.name.removesuffix(".SAFE").encode()}
    assert job(1, tmp_path, tmp_path / "anew.h5").returncode == 0
    assert same(store, content(tmp_path / "anew.h5"))
    # a retry that is killed after its rows were written and before they were journalled
    journal_location(Location.parse(out)).path.write_bytes(journal)
    poke(out, "complete", 0, b"\0")
    assert job(size, tmp_path, out, "--resume", "--strict").returncode == 0
    assert not reasons(out)
    assert same(store, content(out))


@pytest.mark.parametrize("size", [1, 3])
def test_a_row_that_can_no_longer_be_made_is_as_if_it_never_had_been(tile, tmp_path, size):
    other, out = product_of(2), tmp_path / "store.h5"
    put_catalogue(tmp_path / "patches.parquet", listed(tile.spec, 360) + listed(other))
    (tmp_path / "tiles").mkdir()
    shutil.copytree(tile.root / "tiles" / tile.spec.name, tmp_path / "tiles" / tile.spec.name)
    made = write_product(tmp_path / "tiles", other, random_pixels(7))
    limit = ("--max-cloud-share", "0.01")
    assert job(1, tmp_path, out, *limit).returncode == 2  # it rejects all patches
    shutil.rmtree(made)
    assert job(size, tmp_path, out, *limit, "--resume", "--retry-rejected").returncode == 2
    assert job(1, tmp_path, tmp_path / "anew.h5", *limit).returncode == 2
    ours, anew = content(out), content(tmp_path / "anew.h5")
    assert np.isnan(ours["cloud_share"][9:]).all()
    assert same(ours, anew)
