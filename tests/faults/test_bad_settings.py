"""Bad settings and files end in status 2 with one line that says why, and nothing is touched."""

import re

import pyarrow.parquet as pq
import pytest
from bad_input import cut, errors, listed, product_of, put_catalogue
from commands import ranks


def snowy(path):
    put_catalogue(path, [{**patch, "snow": True} for patch in listed(product_of(1))])


def empty(path):
    snowy(path)
    pq.write_table(pq.read_table(path).slice(0, 0), path)


REFUSED = {
    "an absent catalogue": ({"--catalogue": "none.parquet"}, None, r"none\.parquet.*; make it with python"),
    "a catalogue that is no Parquet": (
        {"--catalogue": "bad.parquet"}, lambda p: (p / "bad.parquet").write_text("patch,tile"), "must be a Parquet file"
    ),
    "a catalogue that is cut": (
        {"--catalogue": "bad.parquet"},
        lambda p: (snowy(p / "bad.parquet"), cut(p / "bad.parquet", 0.7)), "must be a Parquet file",
    ),
    "a catalogue that is a folder": ({"--catalogue": "."}, None, r"make it with python -m etl\.catalogue"),
    "an empty catalogue": ({"--catalogue": "empty.parquet"}, lambda p: empty(p / "empty.parquet"), "holds no patch"),
    "a catalogue of excluded patches": (
        {"--catalogue": "snow.parquet"}, lambda p: snowy(p / "snow.parquet"),
        r"all 4 patches of .*snow\.parquet are marked as snow or cloud; --keep-snow and --keep-cloud extract them",
    ),
    "an absent source": ({"--source": "nowhere"}, None, r"--source must be a folder .*, got nowhere"),
    "an empty source": ({"--source": "empty"}, lambda p: (p / "empty").mkdir(), r"--source must hold products"),
    "a source that is a file": (
        {"--source": "file"}, lambda p: (p / "file").write_text(""), r"--source must (be a folder|hold products)"
    ),
    "a store that exists": (
        {}, lambda p: (p / "store.h5").write_text("precious"), r"store\.h5 exists; name another --out, or .*--resume"
    ),
    "a file that is no store, resumed": (
        {"--resume": None}, lambda p: (p / "store.h5").write_text("precious"), r"store\.h5"
    ),
    "a folder in the store's place": ({}, lambda p: (p / "store.h5").mkdir(), r"store\.h5 exists"),
    "an unknown ending": ({"--out": "store.csv"}, None, r"--out must end in \.h5, \.hdf5 or \.zarr, got store\.csv"),
    "a share beyond 1": ({"--max-cloud-share": "1.5"}, None, r"--max-cloud-share must lie in \[0, 1\], got 1\.5"),
    "a share that is no number": ({"--max-snow-share": "nan"}, None, r"--max-snow-share must lie in \[0, 1\], got nan"),
    "rounds of nothing": ({"--round-mib": "0"}, None, r"--round-mib must be at least 1, got 0"),
    "rounds that overflow": ({"--round-mib": "2048"}, None, r"--round-mib must be at most 1024"),
    "retrying without resuming": ({"--retry-rejected": None}, None, r"--retry-rejected needs --resume"),
    "an unknown flag": ({"--catalog": "x"}, None, r"unknown argument '--catalog'; did you mean --catalogue\?"),
    "an unknown choice": ({"--balance": "fair"}, None, r"--balance: invalid choice: 'fair'"),
    "an unknown setting in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nupsampel = 'none'"),
        r"pipeline\.toml: table \[extract\] has no setting 'upsampel'; did you mean upsample\?",
    ),
    "a setting of the wrong type in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nround_mib = 'big'"), r"round_mib .*, got 'big'"
    ),
    "a switch that is a number in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nstrict = 1"), r"strict must be true or false, got 1"
    ),
    "a choice that is none in the file": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract]\nwrite = 'both'"), r"write must be one of collective"
    ),
    "a file that is no TOML": (
        {}, lambda p: (p / "pipeline.toml").write_text("[extract\n"), r"pipeline\.toml must be valid TOML"
    ),
}  # fmt: skip
"""Flags beside good ones (they win), what is done first, and what the one error says."""


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_and_files_end_in_status_2_with_one_line_that_says_why(tile, tmp_path, case):
    flags, prepare, wanted = REFUSED[case]
    if prepare:
        prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    given = {
        "--catalogue": str(tile.root / "patches.parquet"),
        "--source": str(tile.root / "tiles"),
        "--out": "store.h5",
    }
    command = [part for pair in {**given, **flags}.items() for part in pair if part is not None]
    size = 3 if case in ("a store that exists", "an absent catalogue", "an unknown setting in the file") else 1
    done = ranks(size, "etl.extract", *command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(errors(done)) == 1, done.stderr
    assert re.search(wanted, errors(done)[0]), errors(done)[0]
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "store.json").exists()
