"""`python store_fuzz_worker.py FOLDER`: read stores by every reader; for the tests that damage them.

One line of JSON comes in for each turn: the path of a store. One goes out: by reader, the digest of each array, or the
kind of the exception and its words. The process of its own shows a crash of a C library, and a hang.
"""

import contextlib
import hashlib
import io
import json
import logging
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from store_readers import READERS

import etl
from etl.exit_status import JobError

_TAKEN = ("reader", "open_store", "train", "preview", "convert", "stats", "verify")
_WATCHED: list[str] = []
"""Paths that Python opened in this turn."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes):
        name = arguments[0]
        _WATCHED.append(name if isinstance(name, str) else name.decode(errors="replace"))


def _outcome(reader: str, path: Path, folder: Path) -> dict[str, str]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if path.suffix == ".json":
                with etl.open_store(path, all_rows=True) as ds:
                    found = {str(name): np.asarray(array.values).tobytes() for name, array in ds.data_vars.items()}
            else:
                found = READERS[reader](path, folder)
        return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in found.items()}
    except (JobError, ValueError, OSError) as error:
        return {"refused": str(error)} if str(error) else {"wrong": repr(error)}
    except BaseException:
        return {"wrong": traceback.format_exc()[-1500:]}


def main() -> None:
    """Answer until there are no more lines."""
    folder = Path(sys.argv[1])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.addaudithook(_audit)
    answer = sys.stdout
    for line in sys.stdin:
        path = Path(json.loads(line))
        _WATCHED.clear()
        readers = ("open_store",) if path.suffix == ".json" else _TAKEN
        found = {reader: _outcome(reader, path, folder) for reader in readers}
        opened = sorted(set(_WATCHED))
        answer.write(json.dumps({"found": found, "opened": opened}) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
