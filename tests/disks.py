"""Small file systems for tests of a disk that is full or may not be written."""

import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

__all__ = ["disk", "file_size_limit", "resize"]


@contextmanager
def disk(folder, size):
    """A file system of its own; the test is skipped where none may be mounted."""
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        for _ in range(50):  # ranks outlive mpirun by a moment
            if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder, size):
    """Give the file system at `folder` another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


@contextmanager
def file_size_limit(size):
    """No file may grow beyond `size` bytes: a true error of writing, EFBIG, which root meets too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
