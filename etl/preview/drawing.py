"""The contact sheet as a picture: cards on the left, a map of each tile on the right, a strip of the finer grid below.

All lengths are px of a picture 1600 px wide and are scaled to the width asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from etl.bands import SUPER_BANDS, band_indices
from etl.files import replace_atomically
from etl.preview import colours
from etl.preview.cells import CELL_STATUS, TileMap
from etl.preview.class_names import caption_lines
from etl.preview.colours import Stretch, fit_stretch
from etl.preview.contact_sheet import BandDetail, Card, ContactSheet, ShownBands
from etl.preview.settings import CARD_COLUMNS

__all__ = ["draw_contact_sheet", "percent"]

_WIDTH, _MARGIN, _HEADER, _HEADING, _FOOTER = 1600, 40, 134, 34, 34
_SIDE, _PAIR_GAP, _CARD_GAP, _CARD_HEIGHT = 169, 4, 26, 246
_MAPS_LEFT, _MAPS_WIDTH, _MAP_GAP, _MAP_FOOT = 1160, 400, 12, 40
_LEGEND_GAP, _LEGEND_STEP = 4, 27
_LARGE_FROM_ROWS = 3
_MAX_MARKS = 28
_CAPTION_CHARACTERS, _CAPTION_LINES = 43, 2
_MAX_GRIDLINES = 40
# width of a mark of nodata, and height of the smallest one, in cells
_MARK_WIDTH, _LEAST_MARK = 0.5, 0.15
_PLACE_CHARACTERS = 34
_DPI = 100


@dataclass(frozen=True, slots=True)
class _Page:
    """A figure on which things are placed in px of the layout from its upper left corner."""

    figure: Figure
    height: float

    @property
    def scale(self) -> float:
        """Pixels of the picture for each pixel of the layout."""
        return float(self.figure.get_figwidth()) * _DPI / _WIDTH

    def text(self, x: float, y: float, words: str, size: float, **looks: Any) -> None:
        """Place words whose baseline starts at (x, y), `size` pixels tall."""
        looks = {"color": colours.TEXT, **looks}
        points = size * self.scale * 72 / _DPI  # a font's size is given in points, 72 an inch
        self.figure.text(x / _WIDTH, 1 - y / self.height, words, fontsize=points, va="baseline", **looks)

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Return empty axes without frame or ticks whose upper left corner is (x, y), in pixels of the layout."""
        # shares of the figure, counted from its lower left corner
        box = (x / _WIDTH, 1 - (y + height) / self.height, width / _WIDTH, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        return axes

    def image(self, x: float, y: float, side: float, pixels: npt.NDArray[Any], **looks: Any) -> Any:
        """Place a picture in a square of `side` pixels of the layout; returns its axes."""
        axes = self.axes(x, y, side, side)
        axes.imshow(pixels, interpolation="nearest", **looks)
        return axes

    def swatch(self, x: float, y: float, side: float, colour: str) -> None:
        """Place a square of one colour, its upper left corner at (x, y), in pixels of the layout."""
        box, size = (x / _WIDTH, 1 - (y + side) / self.height), (side / _WIDTH, side / self.height)
        looks: dict[str, Any] = {"facecolor": colour, "edgecolor": colours.MUTED, "linewidth": 0.5 * self.scale}
        mark = Rectangle(box, *size, transform=self.figure.transFigure, **looks)
        self.figure.add_artist(mark)


def draw_contact_sheet(sheet: ContactSheet, width: int, out: Path) -> None:
    """Write the contact sheet as a PNG of `width` pixels; it appears under its name when complete.

    Raises:
        OSError: it cannot be written.
    """
    rows = -(-len(sheet.cards) // CARD_COLUMNS)
    large = len(sheet.maps) == 1 and rows >= _LARGE_FROM_ROWS
    left = rows * _CARD_HEIGHT + (_HEADING + _SIDE + 20 if sheet.detail else 0)
    right = _maps_height(len(sheet.maps), large) + _LEGEND_GAP + _LEGEND_STEP * len(_legend(sheet))
    height = _HEADER + max(left, right) + _FOOTER
    figure = Figure(figsize=(width / _DPI, width / _DPI * height / _WIDTH), dpi=_DPI, facecolor=colours.PAPER)
    page = _Page(figure, height)
    _draw_header(page, sheet)
    stretch = None
    if sheet.cards:
        # one stretch for all cards, so that their brightness can be compared
        shown = sheet.shown
        stretch = fit_stretch(np.stack([card.pixels for card in sheet.cards]), shown.nodata, shown.saturated)
        for number, card in enumerate(sheet.cards, 1):
            _draw_card(page, number, card, stretch, shown)
        if sheet.detail is not None:
            pixels = stretch(sheet.cards[sheet.detail.number - 1].pixels)[..., shown.true_colour]
            _draw_detail(page, sheet.detail, _HEADER + rows * _CARD_HEIGHT, pixels)
    _draw_maps(page, sheet, large, stretch.take(sheet.shown.true_colour) if stretch else None)
    _draw_legend(page, sheet, _HEADER + _maps_height(len(sheet.maps), large) + _LEGEND_GAP)
    with mpl.rc_context({"font.family": "DejaVu Sans"}), replace_atomically(out, sync=False, concurrent=True) as path:
        figure.savefig(path, format="png", dpi=_DPI, facecolor=colours.PAPER)


def _draw_header(page: _Page, sheet: ContactSheet) -> None:
    counts = sheet.counts
    extracted = {name: counts[name] for name in ("train", "val", "test", "no split") if counts[name]}
    splits = ", ".join(f"{count:,} {name}" for name, count in extracted.items()) or "none written yet"
    some = f" ({len(sheet.maps)} shown)" if 1 < len(sheet.maps) < sheet.tiles else ""
    tiles = (
        f" from {sheet.tiles} tiles{some}"
        if sheet.tiles > 1
        else f" from tile {sheet.maps[0].tile}"
        if sheet.maps
        else ""
    )
    page.text(_MARGIN, 54, f"{sum(extracted.values()):,} patches{tiles}", 31, weight="bold")
    page.text(_MARGIN, 84, f"{sheet.title} · {splits}", 17, color=colours.MUTED)
    page.text(_MARGIN, _HEADER - 13, sheet.shown.words, 17, weight="bold")
    page.text(_MAPS_LEFT, _HEADER - 13, "State of each cell" if sheet.maps else "State of each row", 17, weight="bold")


def _draw_card(page: _Page, number: int, card: Card, stretch: Stretch, shown: ShownBands) -> None:
    row, column = divmod(number - 1, CARD_COLUMNS)
    x, y = _card_left(column), _HEADER + row * _CARD_HEIGHT
    brightness = stretch(card.pixels)
    page.image(x, y, _SIDE, brightness[..., shown.true_colour])
    if shown.false_colour:
        page.image(x + _SIDE + _PAIR_GAP, y, _SIDE, brightness[..., shown.false_colour])
    if card.nodata_share > 0:
        edge = withStroke(linewidth=2.4 * page.scale, foreground=colours.TEXT)
        words, looks = f"{percent(card.nodata_share)} nodata", {"color": "white", "path_effects": [edge]}
        page.text(x + 7, y + _SIDE - 9, words, 14, weight="bold", **looks)
    y += _SIDE + 19
    page.text(x, y, f"{number}", 14, weight="bold")
    page.text(x + 26, y, card.place[-_PLACE_CHARACTERS:], 14, color=colours.MUTED)
    if card.split != "none":
        right = x + 2 * _SIDE + _PAIR_GAP
        page.text(right, y, card.split, 14, color=colours.STATUS_COLOURS[card.split], weight="bold", ha="right")
    for k, line in enumerate(caption_lines(card.labels, _CAPTION_CHARACTERS, _CAPTION_LINES)):
        page.text(x, y + 19 + 18 * k, line, 15)


def percent(share: float) -> str:
    """A share above 0 in whole percent, never rounded to 0 % or to 100 %."""
    if share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _card_left(column: int) -> float:
    return _MARGIN + column * (2 * _SIDE + _PAIR_GAP + _CARD_GAP)


def _draw_detail(page: _Page, detail: BandDetail, top: float, brightness: npt.NDArray[np.float32]) -> None:
    """One patch: bands as read beside the same bands at 10 m, and a composite that only the 10 m grid allows.

    `brightness`: of the patch in true colour, shape (row, col, 3).
    """
    fine, method = detail.fine, f"10 m, {detail.method}" if detail.method else "10 m"
    b12, b01 = band_indices(SUPER_BANDS, ("B12", "B01"))
    infrared = fine[..., band_indices(SUPER_BANDS, ("B8A", "B11", "B04"))]
    # as read and at 10 m with the same stretch: what differs is detail
    grey_12, grey_01 = fit_stretch(detail.b12[..., None]), fit_stretch(detail.b01[..., None])
    pairs = [
        ((_grey(grey_12, detail.b12), "B12, 20 m as read"), (_grey(grey_12, fine[..., b12]), f"B12, {method}")),
        ((_grey(grey_01, detail.b01), "B01, 60 m as read"), (_grey(grey_01, fine[..., b01]), f"B01, {method}")),
        ((brightness, "B04 B03 B02"), (fit_stretch(infrared)(infrared), "B8A B11 B04, 10 m")),
    ]
    page.text(_MARGIN, top + _HEADING - 13, f"Patch {detail.number}: every band on the 10 m grid", 17, weight="bold")
    for column, pair in enumerate(pairs):
        for k, (pixels, words) in enumerate(pair):
            x = _card_left(column) + k * (_SIDE + _PAIR_GAP)
            page.image(x, top + _HEADING, _SIDE, pixels)
            page.text(x, top + _HEADING + _SIDE + 19, words, 14, color=colours.MUTED)


def _grey(stretch: Stretch, band: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return np.repeat(stretch(band[..., None]), 3, -1)


def _map_side(large: bool) -> float:
    """Side of a map; a large one is as wide as its column, its two pictures one above the other."""
    return _MAPS_WIDTH if large else (_MAPS_WIDTH - _MAP_GAP) / 2


def _maps_height(maps: int, large: bool) -> float:
    side = _map_side(large)
    return maps * ((2 * side + _MAP_GAP if large else side) + _MAP_FOOT)


def _draw_maps(page: _Page, sheet: ContactSheet, large: bool, stretch: Stretch | None) -> None:
    """Each tile in true colour with the numbers of its cards, its cells in the colours of their status, its name.

    `stretch`: that of the true colours; None if no patch is there to be shown in them.
    """
    side, colormap = _map_side(large), ListedColormap([colours.STATUS_COLOURS[name] for name in CELL_STATUS])
    for k, tile in enumerate(sheet.maps):
        y, (rows, columns) = _HEADER + _maps_height(k, large), tile.status.shape
        looks: dict[str, Any] = {"extent": (0, columns, rows, 0), "aspect": "equal"}
        if stretch is not None:
            axes = page.image(_MAPS_LEFT, y, side, stretch(tile.true_colour), **looks)
            for number, card in enumerate(sheet.cards, 1):
                if card.tile == tile.tile and card.cell[0] >= 0:
                    row, column = (cell - first for cell, first in zip(card.cell, tile.window.first, strict=True))
                    _mark(axes, number, (row, column), page.scale)
        corner = (_MAPS_LEFT, y + side + _MAP_GAP) if large else (_MAPS_LEFT + side + _MAP_GAP, y)
        looks |= {"cmap": colormap, "vmin": -0.5, "vmax": len(CELL_STATUS) - 0.5}
        axes = page.image(corner[0], corner[1], side, tile.status, **looks)
        _mark_nodata(axes, tile)
        # lines between more cells than that would cover them
        if max(rows, columns) <= _MAX_GRIDLINES:
            axes.hlines(np.arange(1, rows), 0, columns, color=colours.PAPER, linewidth=0.6 * page.scale)
            axes.vlines(np.arange(1, columns), 0, rows, color=colours.PAPER, linewidth=0.6 * page.scale)
        extracted, listed = int((tile.status >= CELL_STATUS.index("no split")).sum()), int((tile.status > 0).sum())
        below, right = _HEADER + _maps_height(k + 1, large) - _MAP_FOOT + 19, _MAPS_LEFT + _MAPS_WIDTH
        page.text(_MAPS_LEFT, below, tile.tile, 15, weight="bold")
        page.text(right, below, f"{extracted:,} of {listed:,} cells extracted", 14, color=colours.MUTED, ha="right")


def _mark_nodata(axes: Any, tile: TileMap) -> None:
    """Fill the middle of each cell from below up to the share of its pixels without data."""
    row, column = np.nonzero(tile.nodata_share)
    heights = np.maximum(tile.nodata_share[row, column], _LEAST_MARK)
    axes.bar(column + 0.5, -heights, _MARK_WIDTH, bottom=row + 1, color=colours.NODATA_COLOUR)


def _mark(axes: Any, number: int, cell: tuple[int, int], scale: float) -> None:
    """A card's number beside a box around its cell, which is never too small to see."""
    cells = max(axes.get_xlim()[1], axes.get_ylim()[0])
    edge = withStroke(linewidth=2.4 * scale, foreground=colours.TEXT)
    box = max(1.0, cells / _MAX_MARKS)
    y, x = cell[0] + 0.5, cell[1] + 0.5
    looks: dict[str, Any] = {"edgecolor": "white", "linewidth": 1.2 * scale, "path_effects": [edge]}
    axes.add_patch(Rectangle((x - box / 2, y - box / 2), box, box, fill=False, **looks))
    # near the right border the number would run out of the map
    side = -1 if x > 0.8 * axes.get_xlim()[1] else 1
    axes.annotate(
        str(number), (x + side * box / 2, y), (3 * side * scale, 0), textcoords="offset points", color="white",
        fontsize=9.5 * scale, weight="bold", va="center", ha="left" if side > 0 else "right", path_effects=[edge],
    )  # fmt: skip


def _legend(sheet: ContactSheet) -> list[tuple[str, str, int]]:
    """Lines of the legend: colour, words, number of patches."""
    extracted = CELL_STATUS[CELL_STATUS.index("no split") :]
    words = {name: name for name in CELL_STATUS} | {name: f"extracted: {name}" for name in extracted}
    words |= {"snow": "left out: snow", "cloud or shadow": "left out: cloud or shadow"}
    always = ("train", "val", "test", "rejected", *(("snow", "cloud or shadow") if sheet.excluded else ()))
    shown = [name for name in reversed(CELL_STATUS) if sheet.counts[name] or name in always]
    lines = [(colours.STATUS_COLOURS[name], words[name], sheet.counts[name]) for name in shown]
    nodata = (colours.NODATA_COLOUR, "of these with nodata: bar up to its share", sheet.with_nodata)
    return [*lines, nodata] if sheet.with_nodata else lines


def _draw_legend(page: _Page, sheet: ContactSheet, top: float) -> None:
    for k, (colour, words, count) in enumerate(_legend(sheet)):
        y = top + _LEGEND_STEP * k
        page.swatch(_MAPS_LEFT, y, 16, colour)
        page.text(_MAPS_LEFT + 27, y + 13.5, words, 15)
        page.text(_MAPS_LEFT + _MAPS_WIDTH, y + 13.5, f"{count:,}", 15, ha="right", color=colours.MUTED)
