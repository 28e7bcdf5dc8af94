"""Suppress standard error while TensorFlow starts."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

__all__ = ["suppress_stderr"]


@contextlib.contextmanager
def suppress_stderr() -> Iterator[None]:
    """Hold back all bytes that this process writes to standard error; write them out if the block fails.

    TensorFlow's C++ libraries print to file descriptor 2 before any log level can be set, once in every process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryFile() as suppressed:
        # sys.stderr alone would not do: libraries write to the descriptor itself
        stderr = os.dup(2)
        os.dup2(suppressed.fileno(), 2)
        try:
            yield
        except BaseException:
            suppressed.seek(0)
            os.write(stderr, suppressed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
