"""The commands that trials disturb: what each reads, what it leaves, and how it is completed."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from commands import ranks
from stores import TRAIN, VAL, set_scalar, training_store

from etl.schema import RowSpan
from etl.store.journal import Journal, journal_location
from etl.store.location import Location

__all__ = ["CASES", "Case", "make_base", "train_base"]

_EXTRACT = "etl.extract --catalogue patches.parquet --round-mib 1 --sync-s 0.1 --decode-threads 1 --stall 30"
_TRAIN = "trainer.run --store train.h5 --bands rgb --batch 4 --steps 2 --checkpoint-steps 1 --threads 1 --out"
_SCORE = "--run done --store train.h5 --batch 4"
_AGAIN = "--resume --retry-rejected"


@dataclass(frozen=True, slots=True)
class Case:
    """One command, as it is tried. Names of files and flags are separated by spaces."""

    name: str
    command: str
    """Module and flags; paths are below the folder in which it runs."""

    needs: str
    """Files and folders that are copied to that folder."""

    leaves: str
    """Its outputs, which must be the same in the end."""

    size: int = 1
    """Ranks."""

    again: str = ""
    """Flags of the run that completes a disturbed one."""

    replaces: bool = False
    """Whether it replaces an older output, which is there before."""

    timeout_s: float = 90

    @property
    def line(self) -> list[str]:
        """The command, word by word."""
        return self.command.split()

    @property
    def completing_line(self) -> list[str]:
        """The command that completes a disturbed one."""
        return [*self.line, *(flag for flag in self.again.split() if flag not in self.line)]


def _extraction(name: str, source: str, out: str, size: int, more: str = "") -> Case:
    command = f"{_EXTRACT} --source {source} --out {out} {more}"
    begun = f"{out} {out}.journal" if out.startswith("begun") else ""
    leaves = f"{out} {out.rpartition('.')[0]}.rejected.csv"
    return Case(name, command, f"patches.parquet {source} {begun}", leaves, size, _AGAIN)


_ALL = (
    Case("sample", "etl.sample --out new --tile-px 120 --tiles 1 --workers 1", "", "new"),
    Case("catalogue", "etl.catalogue --source labels --lists lists --out new.parquet", "labels lists", "new.parquet",
         replaces=True),
    _extraction("extract", "tiles", "new.h5", 1),
    _extraction("extract-collective", "tiles", "new.h5", 2),
    _extraction("extract-independent", "tiles", "new.h5", 2, "--write independent"),
    _extraction("extract-zarr", "tiles", "new.zarr", 1, "--shard-rows 3"),
    _extraction("extract-compressed", "tiles", "new.zarr", 2, "--shard-rows 3 --compress zstd"),
    _extraction("extract-archive", "BigEarthNet-v1.0", "new.h5", 1),
    _extraction("extract-resumed", "tiles", "begun.h5", 2, _AGAIN),
    Case("convert-zarr", "etl.convert store.h5 --out new.zarr --shard-rows 4", "store.h5", "new.zarr"),
    Case("convert-hdf5", "etl.convert store.zarr --out new.h5", "store.zarr", "new.h5"),
    Case("convert-chunked", "etl.convert store.h5 --out new.h5 --compress zstd", "store.h5", "new.h5"),
    Case("convert-manifest", "etl.convert store.h5 --out new.json", "store.h5", "new.json"),
    Case("stats", "etl.stats store.h5 --out new.html --workers 1", "store.h5", "new.json", replaces=True),
    Case("stats-zarr", "etl.stats store.zarr --out new.html --workers 1", "store.zarr", "new.json", replaces=True),
    Case("verify", "etl.verify store.h5 --source tiles",
         "store.h5 store.h5.journal store.rejected.csv tiles patches.parquet", ""),
    Case("verify-zarr", "etl.verify store.zarr", "store.zarr", ""),
    Case("preview", "etl.preview store.h5 --out new.png", "store.h5", "new.png", replaces=True),
    Case("train", f"{_TRAIN} run", "train.h5", "run/checkpoint.npz", again="--resume", timeout_s=240),
    Case("evaluate", f"trainer.evaluate {_SCORE} --split val", "train.h5 done",
         "done/evaluate.val.json done/samples.npz", timeout_s=240),
    Case("predict", f"trainer.predict {_SCORE} --out new.parquet", "train.h5 done", "new.parquet", replaces=True,
         timeout_s=240),
    Case("report", "trainer.report done --out new", "done", "new/report.html"),
)  # fmt: skip

CASES = {case.name: case for case in _ALL}
"""Every command and format, by name."""


def make_base(folder: Path) -> None:
    """Make what the cases need, all but a training: a sample of nine patches and its stores."""
    for command in (
        "etl.sample --out . --tile-px 360 --tiles 1",
        "etl.catalogue --source labels --lists lists --out patches.parquet",
        f"{_EXTRACT} --source tiles --out store.h5",
        "etl.convert store.h5 --out store.zarr --shard-rows 4",
    ):
        done = ranks(1, *command.split(), cwd=folder)
        assert done.returncode == 0, done.stderr
    shutil.copy(folder / "store.h5", folder / "begun.h5")
    whole = Journal.read(journal_location(Location.parse(folder / "store.h5")))
    begun = journal_location(Location.parse(folder / "begun.h5"))
    Journal.begin(begun, whole.fingerprint, whole.candidates, whole.contents).add([RowSpan(0, 4)], {})
    set_scalar(folder / "begun.h5", "complete", 0)
    training_store(folder / "train.h5", [TRAIN] * 6 + [VAL] * 2)


def train_base(folder: Path) -> None:
    """Add a training to what `make_base` made."""
    if not (folder / "done").exists():
        done = ranks(1, *_TRAIN.split(), "done", cwd=folder)
        assert done.returncode == 0, done.stderr
