"""Settings of every command: frozen dataclasses filled from flags, `pipeline.toml` and defaults, in that order.

A command declares its settings once, as a dataclass whose fields are made by `setting`; the flags, their help and the
keys of its `[table]` in `pipeline.toml` follow from it. An unknown key or flag is an error that names the nearest one.
"""

import argparse
import dataclasses
import difflib
import logging
import math
import re
import sys
import tomllib
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["SETTINGS_FILE", "load_settings", "require_at_least", "require_within", "setting", "settings_record"]

SETTINGS_FILE = Path("pipeline.toml")
"""File that holds settings of all commands, in the current folder; it may be absent."""

T = TypeVar("T")


def setting(default: Any, text: str, unit: str = "", choices: Sequence[str] = ()) -> Any:
    """A dataclass field with help text and unit.

    Its type is bool, int, float, str or Path, or a kind of path with a class method `parse`; or one of them or None; or
    `tuple[Path, ...]`, whose flag can be given several times.
    """
    return dataclasses.field(default=default, metadata={"help": text, "unit": unit, "choices": tuple(choices)})


def settings_record(settings: Any) -> dict[str, str]:
    """Value of every setting as text, by name, for records and attributes of stores."""
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    values |= {name: ", ".join(map(str, value)) for name, value in values.items() if isinstance(value, tuple)}
    return {name: value.to_record() if hasattr(value, "to_record") else str(value) for name, value in values.items()}


def require_at_least(settings: object, **least: float) -> None:
    """Check that each setting named is at least the number given for it, in the setting's own unit.

    Raises:
        ValueError: one is less; names its flag.
    """
    for name, value in least.items():
        if not getattr(settings, name) >= value:  # nor is NaN
            raise ValueError(f"--{name.replace('_', '-')} must be at least {value}, got {getattr(settings, name)}")


def require_within(settings: object, **bounds: tuple[float, float]) -> None:
    """Check that each setting named lies in [least, most], both in the setting's own unit; NaN does not.

    Raises:
        ValueError: one does not; names its flag.
    """
    for name, (least, most) in bounds.items():
        if not least <= (value := getattr(settings, name)) <= most:
            raise ValueError(f"--{name.replace('_', '-')} must lie in [{least}, {most}], got {value}")


def load_settings(cls: type[T], command: str, argv: Sequence[str] | None = None, positional: str | None = None) -> T:
    """Settings of a command such as `etl.extract`: a flag beats `pipeline.toml`, which beats the default.

    The command's table in the file is named like its last part, here `[extract]`. Every command also has `--verbose`,
    which lets its package log details. `positional` names the field that may also be given without its flag. The help
    text is the docstring of `cls`. Bad arguments, a bad file and a `ValueError` of `__post_init__` end the program with
    status 2 and a line on stderr, as argparse does.
    """
    table = _table(command)
    parser = _parser(cls, command, positional)
    given, unknown = parser.parse_known_args(_joined(sys.argv[1:] if argv is None else argv))
    if unknown:
        hint = _nearest(unknown[0].split("=")[0], parser._option_string_actions)
        parser.error(f"unknown argument {unknown[0]!r}{hint}")
    if vars(given).pop("verbose"):
        logging.getLogger(command.partition(".")[0]).setLevel(logging.DEBUG)
    # no flag has a default of its own: None tells that it was not given, and the file decides
    given_values = ((key, value) for key, value in vars(given).items() if value is not None)
    flags = {key: tuple(value) if isinstance(value, list) else value for key, value in given_values}
    try:
        settings = cls(**{**_from_file(cls, table), **flags})
        _require_usable(settings)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return settings


def _joined(arguments: Iterable[str]) -> list[str]:
    """`--area=-9,38,1,40` for `--area -9,38,1,40`: argparse takes for a flag what begins with a dash, but numbers."""
    joined = list[str]()
    for argument in arguments:
        if joined and joined[-1].startswith("--") and re.fullmatch(r"-[0-9.]+(,[-0-9.]+)+", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _require_usable(settings: Any) -> None:
    """Raise a ValueError if a number is infinite or no number or has over 64 bits, or if a text holds a NUL."""
    for item in dataclasses.fields(settings):
        name, value = f"--{item.name.replace('_', '-')}", getattr(settings, item.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must have at most 64 bits, got a number of {value.bit_length()}")
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError(f"{name} must not hold the character NUL, got {str(value)!r}")


def _table(command: str) -> str:
    """Name of a command's table: extract for etl.extract, superres-fetch for `etl.superres fetch`."""
    return command.rsplit(".", 1)[-1].replace(" ", "-")


def _parser(cls: type[Any], command: str, positional: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=cls.__doc__,
        epilog=f"Settings can also be given in the table [{_table(command)}] of {SETTINGS_FILE} in the current folder.",
        allow_abbrev=False,  # an abbreviation would break once a new flag begins alike
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="log details, such as what was passed over, and why"
    )
    kinds = _kinds(cls)
    for item in dataclasses.fields(cls):
        kind, text = kinds[item.name], _help(item)
        parse = getattr(kind, "parse", kind)
        flag = "--" + item.name.replace("_", "-")
        if item.name == positional:
            parser.add_argument(item.name, nargs="?", type=parse, default=None, help=text)
        elif kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif isinstance(item.default, tuple):
            parser.add_argument(flag, action="append", type=parse, default=None, help=text, metavar="PATH")
        else:
            choices = item.metadata["choices"] or None
            metavar = None if choices else {int: "N", float: "X", str: "TEXT"}.get(kind, "PATH")
            parser.add_argument(flag, type=parse, choices=choices, default=None, help=text, metavar=metavar)
    return parser


def _help(item: "dataclasses.Field[Any]") -> str:
    unit = f", {item.metadata['unit']}" if item.metadata["unit"] else ""
    shown = {"None": "none", "True": "on", "False": "off", "()": "none"}.get(str(item.default), item.default)
    return f"{item.metadata['help']} (default: {shown}{unit if item.default is not None else ''})".replace("%", "%%")


def _kinds(cls: type[Any]) -> dict[str, type[Any]]:
    """The plain type of each field, in an annotation such as `int` or `int | None`."""
    hints = typing.get_type_hints(cls).items()
    return {name: next((k for k in typing.get_args(hint) if k is not type(None)), hint) for name, hint in hints}


def _from_file(cls: type[Any], table: str) -> dict[str, Any]:
    """Values of the table, checked against the class's fields and types; none where the file is absent."""
    if not SETTINGS_FILE.is_file():
        return {}
    try:
        tables = tomllib.loads(SETTINGS_FILE.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{SETTINGS_FILE} must be valid TOML, in UTF-8: {error}") from None
    # other tables are of other commands: only one with nearly this name is a slip
    near = difflib.get_close_matches(table, tables, n=1, cutoff=0.8)
    if near and table not in tables:
        raise ValueError(f"{SETTINGS_FILE}: no command has a table [{near[0]}]; did you mean [{table}]?")
    entries = tables.get(table, {})
    if not isinstance(entries, dict):
        raise ValueError(f"{SETTINGS_FILE}: {table} must be a table, [{table}], got {entries!r}")
    kinds, known = _kinds(cls), {item.name: item for item in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in entries.items():
        if key not in known:
            raise ValueError(f"{SETTINGS_FILE}: table [{table}] has no setting {key!r}{_nearest(key, known)}")
        where, choices = f"{SETTINGS_FILE}: [{table}] {key}", known[key].metadata["choices"]
        if isinstance(known[key].default, tuple):
            items = value if isinstance(value, list) else [value]
            values[key] = tuple(_converted(where, item, kinds[key], choices) for item in items)
        else:
            values[key] = _converted(where, value, kinds[key], choices)
    return values


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; the known ones are {', '.join(known)}"


def _converted(name: str, value: object, kind: type[Any], choices: Sequence[str]) -> object:
    accepted: Any = {bool: bool, int: int, float: int | float}.get(kind, str)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind, "a path")
    # bool is a subclass of int: true must not pass for 1
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be {words}, got {value!r}")
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    try:
        return getattr(kind, "parse", kind)(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None
