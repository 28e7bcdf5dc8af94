"""Commands that read a catalogue run without pandas, which pyarrow would import."""

import subprocess
import sys
from pathlib import Path

from commands import ranks

# imports by name, one a line, on stderr
PROFILE = {"PYTHONPROFILEIMPORTTIME": "1"}


def test_commands_that_read_a_catalogue_import_no_pandas(sample: Path, reference: Path, tmp_path: Path):
    catalogue, tiles = str(sample / "patches.parquet"), str(sample / "tiles")
    for command in (
        ("etl.extract", "--catalogue", catalogue, "--source", tiles, "--out", str(tmp_path / "store.h5"), "--dry-run"),
        ("etl.catalogue", "--source", str(sample / "labels"), "--lists", str(sample / "lists"),
         "--out", str(tmp_path / "patches.parquet")),
        ("etl.verify", str(reference), "--catalogue", catalogue, "--source", tiles),
    ):  # fmt: skip
        done = ranks(1, *command, environment=PROFILE)
        assert done.returncode == 0, done.stderr
        imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
        assert "pyarrow.compute" in imported
        assert not {name for name in imported if name.startswith("pandas.")}  # an import that fails is listed, too


def test_without_pandas_pyarrow_takes_lists_and_gives_arrays():
    code = (
        "from etl.without_pandas import leave_out_pandas; leave_out_pandas(); import pyarrow as pa, sys;"
        "assert pa.array(['a']).to_numpy(zero_copy_only=False)[0] == 'a'; sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
