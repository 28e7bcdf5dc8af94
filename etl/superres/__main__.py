"""`python -m etl.superres fetch | evaluate | convert`: get weights, measure them, rewrite them in a plain format."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from etl.exit_status import ExitStatus
from etl.mpi import Comm, launch, on_root
from etl.settings import load_settings
from etl.superres.convert import convert_weights
from etl.superres.fetch import fetch_weights
from etl.superres.run import evaluate_networks
from etl.superres.settings import ConvertWeightsSettings, FetchWeightsSettings, SuperresSettings


class _Command(NamedTuple):
    settings: type[Any]
    run: Callable[[Any], None]
    positional: str | None
    """The setting that may be given without its flag."""


_COMMANDS = {
    "fetch": _Command(FetchWeightsSettings, fetch_weights, None),
    "evaluate": _Command(SuperresSettings, evaluate_networks, "source"),
    "convert": _Command(ConvertWeightsSettings, convert_weights, "file"),
}

_USAGE = f"usage: python -m etl.superres {{{','.join(_COMMANDS)}}} [-h] ..."


def _parse(argv: list[str]) -> tuple[Any, str]:
    """Settings of the command that the first argument names, and that name."""
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        about = "\n".join(f"  {key:9} {command.settings.__doc__}" for key, command in _COMMANDS.items())
        sys.stdout.write(f"{_USAGE}\n\n{about}\n")
        raise SystemExit(0)
    if name not in _COMMANDS:
        sys.stderr.write(f"{_USAGE}\nerror: the first argument must be one of {', '.join(_COMMANDS)}, got {name!r}\n")
        raise SystemExit(2)
    command = _COMMANDS[name]
    return load_settings(command.settings, f"etl.superres {name}", argv[1:], command.positional), name


def _run(parsed: tuple[Any, str], comm: Comm) -> int:
    """Collective: run the command on rank 0; other ranks have nothing to do."""
    settings, name = parsed
    on_root(comm, lambda: _COMMANDS[name].run(settings))
    return ExitStatus.DONE


if __name__ == "__main__":
    launch(lambda: _parse(sys.argv[1:]), _run)
