"""Fetch published weights: in DSen2's architecture, retrained by UP42, licensed under GPL-3.

They are downloaded by pip, as part of the package `remote-sensing-processor`, and never become part of this project.
The 20 m file of L1C and that of L2A hold the same bytes.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from etl.exit_status import JobError
from etl.files import replace_atomically
from etl.superres.settings import FetchWeightsSettings

__all__ = ["PUBLISHED_FILES", "fetch_weights"]

_PACKAGE = "remote-sensing-processor==0.1"

_WHEEL_SHA256 = "fdb006079405000ffde5640957ef3627f72be262387d2ab3f5ce0144eeb1686e"

_WEIGHTS_IN_WHEEL = "remote_sensing_processor/sentinel2/superres/weights/"

PUBLISHED_FILES = {
    "l1c/l1c_dsen2_20m_s2_038_lr_1e-04.hdf5": "171592416b7d4bd8deee611aa9d07f693b5267e8bb101a8990d48416998ab5d7",
    "l1c/l1c_dsen2_60m_s2_038_lr_1e-04.hdf5": "21cd7ad53d07379412ef134909b59f489b1ac0a2932e3cebb54fb864dd52f37c",
    "l2a/l2a_dsen2_20m_s2_038_lr_1e-04.hdf5": "171592416b7d4bd8deee611aa9d07f693b5267e8bb101a8990d48416998ab5d7",
    "l2a/l2a_dsen2_60m_s2_038_lr_1e-04.hdf5": "bea06224f2865897a8ac6fbae7763852342459043c572c018c876a65a7fe3c58",
}
"""SHA-256 of each file, by its path below the folder written to."""

_TIMEOUT_S = 600


def fetch_weights(settings: FetchWeightsSettings) -> None:
    """Download the weights that are not in the folder yet.

    Raises:
        JobError: pip cannot download them, or a file has another SHA-256.
    """
    out = settings.out
    missing = [name for name, sha256 in PUBLISHED_FILES.items() if not _has_digest(out / name, sha256)]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(Path(folder))
            for name in missing:
                _unpack(wheel, name, out)
    present = len(PUBLISHED_FILES) - len(missing)
    print(
        f"weights of DSen2, {len(missing)} fetched, {present} there already -> {out}/l1c, {out}/l2a\n"
        f"from {_PACKAGE}, licensed under GPL-3; use them with --upsample dsen2 --weights {out}/l2a"
    )


def _has_digest(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(folder: Path) -> Path:
    """Return the path of the package's wheel, checked.

    Raises:
        JobError: pip cannot get it, or its digest is another.
    """
    # by pip, which knows the index and the proxies of this machine
    options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, _PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise JobError(
            f"pip download {_PACKAGE} did not end within {_TIMEOUT_S} s; can this machine reach the package index?"
        ) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise JobError(f"pip download {_PACKAGE} failed: {output[-1] if output else 'no message'}")
    if not _has_digest(wheels[0], _WHEEL_SHA256):
        raise JobError(f"{wheels[0].name} must have the SHA-256 {_WHEEL_SHA256}, and has another; nothing was written")
    return wheels[0]


def _unpack(wheel: Path, name: str, out: Path) -> None:
    path = out / name
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(_WEIGHTS_IN_WHEEL + path.name)
    if hashlib.sha256(data).hexdigest() != PUBLISHED_FILES[name]:
        raise JobError(
            f"{path.name} must have the SHA-256 {PUBLISHED_FILES[name]}, and has another; it was not written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # other jobs that share the folder may fetch at the same time
    with replace_atomically(path, concurrent=True) as temporary:
        temporary.write_bytes(data)
