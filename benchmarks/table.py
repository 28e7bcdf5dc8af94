"""The result tables of `benchmarks/README.md`, written from the JSON records between two markers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import draw_bars, draw_readers
from benchmarks.runner import SCENARIOS

__all__ = ["BEGIN", "END", "README", "tables", "write_tables"]

README = Path(__file__).resolve().parent / "README.md"
BEGIN = "<!-- results: written by python -m benchmarks table; do not edit below -->"
END = "<!-- results: end -->"

_MEASURED_SIZES = ("laptop", "cluster")
"""Of `tiny` the speeds mean nothing."""


def write_tables(results: Path, readme: Path) -> int:
    """Replace what stands between the markers of `readme`; gives back the number of records.

    Raises:
        ValueError: the file has no markers, or there is no record.
    """
    found = [results / f"{name}.{size}.json" for size in _MEASURED_SIZES for name in SCENARIOS]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]
    if not records:
        raise ValueError(
            f"{results} must hold records of size {' or '.join(_MEASURED_SIZES)}; run python -m benchmarks"
        )
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} must hold the markers {BEGIN!r} and {END!r}")
    pictures = _draw(records, readme.parent / "results")
    readme.write_text(f"{head}{BEGIN}\n\n{pictures}\n{tables(records)}\n{END}{tail}", encoding="utf-8")
    return len(records)


def _draw(records: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Draw what can be drawn into `folder`; Markdown that shows it."""
    folder.mkdir(exist_ok=True)
    draw_bars(records, folder / "bars.png")
    lines = ["![how far every figure is from its bar](results/bars.png)", ""]
    for record in records:
        if record["benchmark"] == "loader" and not record["skipped"]:
            name = f"loader.{record['size']}.png"
            draw_readers(record, folder / name)
            lines += [f"![patches a second of every reader, {record['size']}](results/{name})", ""]
    return "\n".join(lines)


def tables(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of all records."""
    return "\n".join(_of(record) for record in records)


def _of(record: Mapping[str, Any]) -> str:
    host, bars = record["host"], {bar["figure"]: bar for bar in record["bars"]}
    lines = [
        f"### {record['benchmark']} ({record['size']})",
        "",
        record["question"],
        "",
        f"{record['started'][:10]}, commit {record['commit']}, {host['cores']} cores of {host['cpu']}, "
        f"{host['memory_bytes'] / 2**30:.0f} GiB; load {record['load_before'][0]:.1f} before, "
        f"{record['load_after'][0]:.1f} after.",
        *record["notes"],
        "",
    ]
    if record["skipped"]:
        return "\n".join([*lines, f"Skipped: {record['skipped']}", ""])
    lines += ["| figure | value | bar | |", "|---|---:|---|---|"]
    figures = sorted(record["figures"].items(), key=lambda item: item[0] not in bars)
    lines += [f"| {name} | {value:.4g} | {_bar(bars.get(name))} |" for name, value in figures]
    return "\n".join([*lines, ""])


def _bar(bar: Mapping[str, Any] | None) -> str:
    """Cells for what the contract asks and whether it is so."""
    if bar is None:
        return " | "
    aim = f" (aim {bar['aim']:g})" if bar["aim"] is not None else ""
    return f"{'>=' if bar['at_least'] else '<='} {bar['limit']:g}{aim} | {'met' if bar['met'] else '**not met**'}"
