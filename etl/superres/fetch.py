"""The published weights that one command gets: in DSen2's architecture, retrained by UP42, licensed under GPL-3.

They are downloaded by pip, as part of the package `remote-sensing-processor`, and never become part of this project.
The 20 m file of L1C and that of L2A hold the same bytes.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from etl.exit_status import ExitStatus, JobError
from etl.files import replace_atomically
from etl.mpi import Comm, on_root
from etl.superres.settings import FetchSettings

__all__ = ["FILES", "PACKAGE", "fetch"]

PACKAGE = "remote-sensing-processor==0.1"

_WHEEL_SHA256 = "fdb006079405000ffde5640957ef3627f72be262387d2ab3f5ce0144eeb1686e"

_INSIDE = "remote_sensing_processor/sentinel2/superres/weights/"

FILES = {
    "l1c/l1c_dsen2_20m_s2_038_lr_1e-04.hdf5": "171592416b7d4bd8deee611aa9d07f693b5267e8bb101a8990d48416998ab5d7",
    "l1c/l1c_dsen2_60m_s2_038_lr_1e-04.hdf5": "21cd7ad53d07379412ef134909b59f489b1ac0a2932e3cebb54fb864dd52f37c",
    "l2a/l2a_dsen2_20m_s2_038_lr_1e-04.hdf5": "171592416b7d4bd8deee611aa9d07f693b5267e8bb101a8990d48416998ab5d7",
    "l2a/l2a_dsen2_60m_s2_038_lr_1e-04.hdf5": "bea06224f2865897a8ac6fbae7763852342459043c572c018c876a65a7fe3c58",
}
"""SHA-256 of each file, by where it is put."""

_LONGEST_S = 600


def fetch(settings: FetchSettings, comm: Comm) -> int:
    """Collective: get the weights that are not there yet, on rank 0, and return the exit status."""
    on_root(comm, lambda: _fetch(settings.out))
    return ExitStatus.DONE


def _fetch(out: Path) -> None:
    missing = [name for name, sha256 in FILES.items() if not _is(out / name, sha256)]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(Path(folder))
            for name in missing:
                _unpack(wheel, name, out)
    print(
        f"weights of DSen2, {len(missing)} fetched, {len(FILES) - len(missing)} there already -> {out}/l1c, {out}/l2a\n"
        f"from {PACKAGE}, licensed under GPL-3; use them with --upsample dsen2 --weights {out}/l2a"
    )


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(folder: Path) -> Path:
    """The package's wheel, checked.

    Raises:
        JobError: pip cannot get it, or it is not what it was.
    """
    options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        raise JobError(f"pip download {PACKAGE} must end within {_LONGEST_S} s; is the index in reach?") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise JobError(f"pip download {PACKAGE} failed: {said[-1] if said else 'no word'}")
    if not _is(wheels[0], _WHEEL_SHA256):
        raise JobError(f"{wheels[0].name} must have the SHA-256 {_WHEEL_SHA256}, and has another; nothing was written")
    return wheels[0]


def _unpack(wheel: Path, name: str, out: Path) -> None:
    path = out / name
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(_INSIDE + path.name)
    if hashlib.sha256(data).hexdigest() != FILES[name]:
        raise JobError(f"{path.name} must have the SHA-256 {FILES[name]}, and has another; it was not written")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path, concurrent=True) as temporary:
        temporary.write_bytes(data)
