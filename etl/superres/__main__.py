"""`python -m etl.superres fetch | evaluate | convert`: gets weights, measures them, writes them in our own format."""

import sys
from collections.abc import Callable
from typing import Any

from etl.mpi import Comm, launch
from etl.settings import load
from etl.superres.convert import convert
from etl.superres.fetch import fetch
from etl.superres.run import evaluate
from etl.superres.settings import ConvertSettings, EvaluateSettings, FetchSettings

_COMMANDS: dict[str, tuple[type[Any], Callable[[Any, Comm], int], str | None]] = {
    "fetch": (FetchSettings, fetch, None),
    "evaluate": (EvaluateSettings, evaluate, "source"),
    "convert": (ConvertSettings, convert, "file"),
}
"""Settings, what runs, and the setting that may be given as a bare argument."""

_USAGE = f"usage: python -m etl.superres {{{','.join(_COMMANDS)}}} [-h] ..."


def _parse(argv: list[str]) -> tuple[Any, str]:
    """Settings of the command that the first argument names, and that name."""
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        about = "\n".join(f"  {key:9} {settings.__doc__}" for key, (settings, _, _) in _COMMANDS.items())
        sys.stdout.write(f"{_USAGE}\n\n{about}\n")
        raise SystemExit(0)
    if name not in _COMMANDS:
        sys.stderr.write(f"{_USAGE}\nerror: the first argument must be one of {', '.join(_COMMANDS)}, got {name!r}\n")
        raise SystemExit(2)
    settings, _, positional = _COMMANDS[name]
    return load(settings, f"etl.superres {name}", argv[1:], positional), name


if __name__ == "__main__":
    launch(lambda: _parse(sys.argv[1:]), lambda parsed, comm: _COMMANDS[parsed[1]][1](parsed[0], comm))
