"""The page: the picture alone as PNG, or with tables of the numbers as HTML."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from etl.schema import SPLITS
from etl.stats.answer import SHARES, Answer
from etl.stats.draw import draw

__all__ = ["write_page"]

_STYLE = """body{font:14px/1.4 "DejaVu Sans",sans-serif;margin:2em auto;max-width:1500px;
color:#1f2a33;background:#fbfaf7}
img{width:100%}table{border-collapse:collapse;margin:1em 0}td,th{padding:2px 10px;text-align:right}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}tr:nth-child(even){background:#f0eee8}"""


def write_page(answer: Answer, path: Path) -> None:
    """Write the page in the format that the suffix of `path` names.

    Raises:
        OSError: it cannot be written.
    """
    picture = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        draw(answer).savefig(picture, format="png")
    if path.suffix.lower() == ".png":
        path.write_bytes(picture.getvalue())
        return
    shown = base64.b64encode(picture.getvalue()).decode()
    title = html.escape(f"Statistics of {answer.store}")
    parts = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f'<h1>{title}</h1><img alt="{title}" src="data:image/png;base64,{shown}">',
        "<h2>By band and split</h2>",
        _table(answer, [(split, k) for k, split in enumerate(SPLITS)]),
        "<h2>By band and class</h2>",
        _table(answer, [(name, len(SPLITS) + k) for k, name in enumerate(answer.labels.classes)]),
    )
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _table(answer: Answer, groups: Sequence[tuple[str, int]]) -> str:
    """Reflectance of each group and band that has pixels."""
    heads = (
        "",
        "band",
        *(f"{100 * share:.0f} %" for share in SHARES),
        "mean",
        "deviation",
        "valid",
        "nodata",
        "saturated",
    )
    rows = [_row(heads, "th")]
    for name, group in groups:
        for b in np.flatnonzero(answer.pixels[:, group].any(0)).tolist():
            numbers = (*answer.percentiles[group, b], answer.mean[group, b], answer.deviation[group, b])
            told = ["" if np.isnan(value) else f"{value / 1e4:.4f}" for value in numbers]
            counts = [f"{count:,}" for count in answer.pixels[:, group, b].tolist()]
            rows.append(_row((name, answer.bands[b], *told, *counts), "td"))
    return f"<table>{''.join(rows)}</table>"


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
