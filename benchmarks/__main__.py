"""`python -m benchmarks`: measure, and write the table of bars; `--help` explains each setting."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import compare
from benchmarks.peers import make_peers
from benchmarks.projection.command import project
from benchmarks.runner import RESULTS, SCENARIOS, print_answer, run_scenario
from benchmarks.setup import SIZES, Setup, default_cache
from benchmarks.table import README, write_tables
from etl.output import escape_output

__all__ = ["main"]

_OTHERS = ("table", "peers")
"""Names on the command line that are not scenarios."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and memory. Each scenario answers one question and writes one JSON record. `table` "
        "writes the table of bars in benchmarks/README.md from the records. `peers` installs the other readers that "
        "archive and loader compare with. `compare A.json B.json` prints which figures got worse. `project` prints "
        "hours and bytes of all jobs on a cluster; `project --help` explains it.",
        allow_abbrev=False,
    )
    parser.add_argument("scenario", nargs="*", help=f"{', '.join(SCENARIOS)}, table or peers (default: all scenarios)")
    text = "amount of data; tiny (default) is quick, but does not measure speed"
    parser.add_argument("--size", choices=SIZES, default="tiny", help=text)
    parser.add_argument(
        "--out", type=Path, default=RESULTS, metavar="DIR", help=f"folder for the records (default: {RESULTS})"
    )
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="repeats of each measurement (default: the scenario's)"
    )
    text = "most extra repeats, to replace those that other programs disturbed (default: as --repeats; tiny: none)"
    parser.add_argument("--spare", type=int, metavar="N", help=text)
    scratch = Path(tempfile.gettempdir())
    text = f"folder in which stores are written and then removed; its disk is measured (default: {scratch})"
    parser.add_argument("--scratch", type=Path, default=scratch, metavar="DIR", help=text)
    text = f"folder that keeps the input data between runs (default: {default_cache()})"
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR", help=text)
    text = "command that starts a program on several ranks (default: %(default)s)"
    parser.add_argument("--launcher", default="mpirun -n {ranks}", metavar="LINE", help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    escape_output()
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["compare"]:
        return _compare(given[1:])
    if given[:1] == ["project"]:
        return project(given[1:])
    parser = _parser()
    asked = parser.parse_args(given)
    unknown = [name for name in asked.scenario if name not in (*SCENARIOS, *_OTHERS)]
    if unknown:
        parser.error(f"scenario must be one of {', '.join((*SCENARIOS, *_OTHERS))}, got {', '.join(unknown)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        setup = Setup(
            asked.size, asked.scratch.resolve(), asked.cache.resolve(), asked.repeats, asked.spare, asked.launcher
        )
    except ValueError as error:
        parser.error(str(error))
    problems = make_peers(setup.cache) if "peers" in asked.scenario else []
    for problem in problems:
        logging.getLogger("benchmarks").error("could not install the packages of reader %s", problem)
    failed = _measure(asked, setup) or bool(problems)
    if "table" in asked.scenario and not failed:
        try:
            count = write_tables(asked.out, README)
        except ValueError as error:
            parser.error(str(error))
        logging.getLogger("benchmarks").info("%s: bars of %d records", README, count)
    return 1 if failed else 0


def _compare(given: Sequence[str]) -> int:
    """Print which figures got worse between two records; returns 1 if any did."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare",
        description="Print which figures got worse by 5 % or more.",
        allow_abbrev=False,
    )
    for name in ("before", "after"):
        parser.add_argument(name, type=Path, metavar=f"{name.upper()}.json", help="record of python -m benchmarks")
    asked = parser.parse_args(given)
    try:
        worse = compare(asked.before, asked.after)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write("\n".join([*worse, ""]) if worse else "nothing got worse by 5 % or more\n")
    return 1 if worse else 0


def _measure(asked: argparse.Namespace, setup: Setup) -> bool:
    """Run the scenarios; returns whether one failed."""
    failed = False
    chosen = [name for name in asked.scenario if name not in _OTHERS]
    for name in chosen or ([] if asked.scenario else SCENARIOS):
        try:
            print_answer(run_scenario(name, setup, asked.out))
        except RuntimeError as error:
            logging.getLogger("benchmarks").error("%s failed: %s", name, error)
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
