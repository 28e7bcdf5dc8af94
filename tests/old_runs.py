"""Runs that an older version left half done: where they are kept, and the archive that they were made from."""

import hashlib
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from commands import content, ranks

__all__ = [
    "EXPECTED", "EXTRACT", "TRAIN", "array_digests", "draw_archive", "expected", "file_digests", "json_digest", "pack",
    "scores_at_half", "unpack",
]  # fmt: skip

FIXTURES = Path(__file__).parent / "fixtures"
ARCHIVE = FIXTURES / "old_runs.tar.xz"
EXPECTED = FIXTURES / "old_runs.json"

EXTRACT = ("--keep-cloud", "--max-cloud-share", "0.5")
"""Flags of every extraction here: they decide which rows are rejected, so a resumed run must have them too."""

TRAIN = (
    "--store", "data/store.h5", "--bands", "all", "--batch", "1", "--epochs", "2", "--checkpoint-steps", "1",
    "--rate", "0.5", "--warmup", "0", "--deterministic", "--threads", "1",
)  # fmt: skip
"""Flags of every training here: four steps an epoch, on one thread, so that it always sums in one order."""


def draw_archive(folder: Path) -> None:
    """Draw the sample that the runs were begun with into `folder`/data: 3 tiles of 4 patches, one image cut short."""
    for command in (
        ("etl.sample", "--tile-px", "240", "--tiles", "3", "--seed", "1"),
        ("etl.catalogue", "--source", "data/labels", "--lists", "data/lists", "--out", "data/patches.parquet"),
    ):
        done = ranks(1, *command, cwd=folder)
        assert done.returncode == 0, done.stderr
    # The sample's cloudy patches have no split, and the others are all of split train.
    catalogue = folder / "data" / "patches.parquet"
    table = pq.read_table(catalogue)
    split = pa.array([("train", "val", "train", "train")[row % 4] for row in range(table.num_rows)], pa.string())
    place = table.schema.get_field_index("split")
    pq.write_table(table.set_column(place, table.schema.field("split"), split), catalogue)
    # Four rows are rejected because this image is broken, others because of their clouds.
    (image,) = (folder / "data" / "tiles").rglob("T34VDN_*_B05_20m.jp2")
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def unpack(folder: Path, *parts: str) -> None:
    """Unpack these of the old runs into `folder`: data (two stores with their journals), run, finished."""
    with tarfile.open(ARCHIVE) as archive:
        members = (member for member in archive if member.name.split("/")[0] in parts)
        # Python before 3.11.4 has no filters
        archive.extractall(folder, members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def pack(folder: Path, *names: str) -> None:
    """Pack what lies in `folder` under `names` into the archive of old runs, without owners and times."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with lzma.open(ARCHIVE, "wb", preset=9 | lzma.PRESET_EXTREME) as file, tarfile.open(fileobj=file, mode="w") as out:
        for name in names:
            out.add(folder / name, name, filter=plain)


def digest(data: bytes) -> str:
    """The first 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def array_digests(store: Path) -> dict[str, str]:
    """Type, shape and digest of every array of a store, by its name."""
    arrays = {name: np.ascontiguousarray(array) for name, array in content(store).items()}
    return {name: f"{a.dtype.str} {list(a.shape)} {digest(a.tobytes())}" for name, a in sorted(arrays.items())}


def file_digests(folder: Path) -> dict[str, str]:
    """Digest of every image below a folder, by its name."""
    return {path.name: digest(path.read_bytes()) for path in sorted(folder.rglob("*.jp2"))}


def json_digest(value: Any) -> str:
    """Digest of a value as JSON."""
    return digest(json.dumps(value, sort_keys=True).encode())


def scores_at_half(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores at threshold 0.5, those alone that the version of the fixtures gave.

    Thresholds have been tuned by another rule since, and other scores have been added.
    """
    of_class = ("name", "precision", "recall", "f1", "support", "average_precision", "threshold")
    found = {name: scores[name] for name in ("rows", "micro", "macro", "weighted", "mean_average_precision")}
    return found | {"classes": [{name: one[name] for name in of_class} for one in scores["classes"]]}


def expected() -> dict[str, Any]:
    """What the runs, brought to their end, have to give."""
    found: dict[str, Any] = json.loads(EXPECTED.read_text())
    return found
