"""Silence while TensorFlow starts: its libraries greet on stderr, on every rank, before any level can be set."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what this process writes to stderr; what is wrong is raised, and which device was found is recorded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with Path(os.devnull).open("wb") as nowhere, os.fdopen(os.dup(2), "wb") as kept:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept.fileno(), 2)
