"""The page: the picture alone as PNG, or with tables of the numbers as HTML."""

import io

import matplotlib as mpl

from etl.schema import SPLITS
from etl.stats.drawing import draw_statistics
from etl.stats.report import NODATA_BINS, QUANTILES, StatsReport
from etl.templates import png_data_uri, render_page

__all__ = ["render_statistics"]


def render_statistics(report: StatsReport, suffix: str) -> bytes:
    """Return the bytes of the page in the format that `suffix` names, .png or .html."""
    picture = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        draw_statistics(report).savefig(picture, format="png")
    if suffix.lower() == ".png":
        return picture.getvalue()
    # heading, index of the first group, names of the groups
    tables = (("By band and split", 0, SPLITS), ("By band and class", len(SPLITS), report.labels.classes))
    source = png_data_uri(picture.getvalue())
    nodata = () if report.nodata_patches is None else tuple(zip(SPLITS, report.nodata_patches.tolist(), strict=True))
    text = render_page(
        __package__, "stats.html.j2", report=report, tables=tables, levels=QUANTILES, picture=source,
        nodata=nodata, nodata_bins=NODATA_BINS,
    )  # fmt: skip
    return text.encode(errors="backslashreplace")
