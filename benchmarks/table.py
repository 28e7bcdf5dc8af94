"""Make Markdown from the JSON records: the table of bars in `benchmarks/README.md`, and pages of figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import bar_cells, bar_table
from benchmarks.runner import SCENARIOS

__all__ = ["BEGIN", "END", "README", "figure_pages", "read_records", "write_tables"]

README = Path(__file__).resolve().parent / "README.md"
BEGIN = "<!-- bars: written by python -m benchmarks table; do not edit -->"
END = "<!-- bars: end -->"

_MEASURED_SIZES = ("laptop", "cluster")
"""Sizes at which speeds mean something; `tiny` is only for tests."""


def read_records(results: Path) -> dict[str, dict[str, Any]]:
    """All records of measured sizes in `results`, by `<scenario>.<size>`.

    Raises:
        ValueError: there is no such record.
    """
    paths = [results / f"{name}.{size}.json" for size in _MEASURED_SIZES for name in SCENARIOS]
    existing = [path for path in paths if path.exists()]
    if not existing:
        raise ValueError(
            f"{results} must hold records of size {' or '.join(_MEASURED_SIZES)}; run python -m benchmarks"
        )
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in existing}


def write_tables(results: Path, readme: Path) -> int:
    """Replace the table of bars in `readme` and the pictures beside it; returns the number of records.

    Raises:
        ValueError: the file has no markers, or there is no record.
    """
    records = list(read_records(results).values())
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} must hold the markers {BEGIN!r} and {END!r}")
    _draw(records, readme.parent / "results")
    readme.write_text(f"{head}{BEGIN}\n\n{bar_table(records)}\n\n{END}{tail}", encoding="utf-8")
    return len(records)


def _draw(records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the bars of all records, and the readers of each loader record, into `folder`."""
    # imported here, because building the site draws no pictures and matplotlib takes seconds to import
    from benchmarks.plot import draw_bars, draw_readers

    folder.mkdir(exist_ok=True)
    draw_bars(records, folder / "bars.png")
    for record in records:
        if record["benchmark"] == "loader" and not record["skipped"]:
            draw_readers(record, folder / f"loader.{record['size']}.png")


def figure_pages(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Markdown pages by name: one per record with all its figures, and the page "figures", which lists them."""
    return {name: _page(record) for name, record in records.items()} | {"figures": _index(records)}


def _index(records: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Raw figures",
        "",
        "All figures of all records of `python -m benchmarks`. In the names, `ours` is this project; `median`, `min` "
        "and `max` are over the repeats; `2_ranks` means two MPI processes; `others_cpu_share` is the share of the "
        "machine that other programs used.",
        "",
        "| record | question | measured | commit |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [{name}]({name}.md) | {record['question']} | {record['started'][:10]} | `{record['commit']}` |"
        for name, record in records.items()
    ]
    lines += ["", "Each figure divided by its bar; to the right of the line the bar is met:", ""]
    return "\n".join([*lines, "![each figure divided by its bar](../../benchmarks/results/bars.png)", ""])


def _page(record: Mapping[str, Any]) -> str:
    host, bars = record["host"], record["bars"]
    lines = [
        "---",
        "search: {exclude: true}",
        "---",
        "",
        f"# Figures of {record['benchmark']} ({record['size']})",
        "",
        record["question"],
        "",
        f"Measured on {record['started'][:10]} at commit `{record['commit']}`, on {host['cores']} cores of "
        f"{host['cpu']} with {host['memory_bytes'] / 2**30:.0f} GiB of memory. Load average "
        f"{record['load_before'][0]:.1f} before, {record['load_after'][0]:.1f} after.",
        "",
        *(f"- {note}" for note in record["notes"]),
        "",
    ]
    if record["skipped"]:
        return "\n".join([*lines, f"Skipped: {record['skipped']}", ""])
    if bars:
        lines += ["## Figures with a bar", "", "| figure | value | bar | met |", "|---|---:|---|---|"]
        lines += [f"| {bar['figure']} | {bar['value']:.4g} | {' | '.join(bar_cells(bar))} |" for bar in bars]
        lines.append("")
    with_bar = {bar["figure"] for bar in bars}
    lines += ["## Other figures", "", "| figure | value |", "|---|---:|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in record["figures"].items() if name not in with_bar]
    about = {key: record[key] for key in ("data", "layout", "ranks", "versions") if record[key]}
    return "\n".join([*lines, "", "## Data, layout, versions", "", "```json", json.dumps(about, indent=1), "```", ""])
