"""The page: the picture alone as PNG, or with tables of the numbers as HTML."""

import io
from collections.abc import Iterable, Iterator

import matplotlib as mpl
import numpy as np

from etl.schema import SPLITS
from etl.stats.drawing import draw_statistics
from etl.stats.report import QUANTILES, StatsReport
from etl.templates import png_data_uri, render_page

__all__ = ["render_statistics"]

_HEAD = (
    "", "band", *(f"{100 * level:.0f} %" for level in QUANTILES), "mean", "deviation", "valid", "nodata", "saturated"
)  # fmt: skip


def render_statistics(report: StatsReport, suffix: str) -> bytes:
    """Return the bytes of the page in the format that `suffix` names, .png or .html."""
    picture = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        draw_statistics(report).savefig(picture, format="png")
    if suffix.lower() == ".png":
        return picture.getvalue()
    tables = (
        ("By band and split", _rows(report, enumerate(SPLITS))),
        ("By band and class", _rows(report, enumerate(report.labels.classes, len(SPLITS)))),
    )
    text = render_page(
        __package__,
        "stats.html.j2",
        title=f"Statistics of {report.store}",
        picture=png_data_uri(picture.getvalue()),
        head=_HEAD,
        tables=tables,
    )
    return text.encode()


def _rows(report: StatsReport, groups: Iterable[tuple[int, str]]) -> Iterator[tuple[str, ...]]:
    """Reflectance of each group and band that has pixels, as text; `groups` are (index, name)."""
    for group, name in groups:
        for b in np.flatnonzero(report.pixels[:, group].any(0)).tolist():
            numbers = (*report.percentiles[group, b], report.mean[group, b], report.std[group, b])
            reflectance = ("" if np.isnan(value) else f"{value / 1e4:.4f}" for value in numbers)
            counts = (f"{count:,}" for count in report.pixels[:, group, b].tolist())
            yield name, report.bands[b], *reflectance, *counts
