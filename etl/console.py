"""Console scripts: `etl-extract` runs what `python -m etl.extract` runs, and so for every command of both packages."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from etl.exit_status import ExitStatus

__all__ = ["main"]

_EXTRAS = {"etl": "extract", "trainer": "train"}
_LATE = {f"trainer.{name}": "tensorflow" for name in ("run", "evaluate", "predict", "map", "export")}
"""What a command imports only once ranks have begun to work, where it is too late for a short message."""


def main() -> None:
    """Run the command that the script is named after, and end the process with its exit status.

    The command runs as module `__main__`: the trainer forks its supervisor in that module before h5py starts MPI.
    """
    module = Path(sys.argv[0]).name.replace("-", ".", 1)
    late = _LATE.get(module)
    if late is not None and find_spec(late) is None:
        _missing(module, late)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        needed = (error.name or "").partition(".")[0]
        if needed in ("", *_EXTRAS):  # a fault of this project, not of the installation
            raise
        _missing(module, needed)


def _missing(module: str, needed: str) -> None:
    package, _, command = module.partition(".")
    sys.stderr.write(
        f"{package}-{command} needs the package {needed}, which is not installed: "
        f'pip install "sentinel-etl[{_EXTRAS[package]}]"\n'
    )
    sys.exit(ExitStatus.BAD_INPUT)
