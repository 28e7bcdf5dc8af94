"""Content of a contact sheet, read from a store and its catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, NODATA, band_indices
from etl.catalogue.table import Catalogue, read_catalogue
from etl.preview.cells import CELL_STATUS, CellWindow, TileMap, cell_status_of, merge_cell_status, tile_cells
from etl.preview.colours import FALSE_COLOUR, TRUE_COLOUR
from etl.preview.settings import CARD_COLUMNS, PreviewSettings
from etl.schema import SPLITS, WRITTEN
from etl.store.reader import StoreReader

__all__ = ["BandDetail", "Card", "ContactSheet", "choose_spread", "read_contact_sheet"]

_MAX_TILES = 4
# side of a patch in a tile's picture
_CELL_PX = 12
# rows read at once: 7 MiB
_READ_ROWS = 64
_BANDS = {group.name: group.bands for group in GROUPS}


@dataclass(frozen=True, slots=True)
class ShownBands:
    """The pixel array whose patches are shown, and which of its bands in red, green and blue."""

    array: str
    """Name of the pixel array."""

    true_colour: list[int]
    """Index of each of the three bands of the first picture."""

    false_colour: list[int]
    """As `true_colour`, of the second picture; empty if there is none."""

    words: str
    """The bands, in words."""

    nodata: int | None
    """Pixel value without data; None if there is none."""

    saturated: int | None
    """Pixel value beyond the sensor's range; None if there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """One patch."""

    row: int
    """Row of the store."""

    tile: str
    """MGRS tile."""

    cell: tuple[int, int]
    """(row, column) on the tile; -1 if it is off the tile's grid."""

    split: str
    """One of `SPLITS`."""

    labels: tuple[str, ...]
    """Its classes."""

    pixels: npt.NDArray[Any]
    """Bands of `ShownBands.array`, shape (row, col, band): of Sentinel-2 B02 B03 B04 B08, (120, 120, 4)."""

    place: str
    """Where it lies, in words; of an image file its path."""

    nodata_share: float
    """Share of its pixels without data in at least one band, 0 to 1; NaN if the store does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class BandDetail:
    """Two bands of one patch as read, and all of it at 10 m."""

    number: int
    """Number of its card, from 1: the one with most contrast in B01."""

    b12: npt.NDArray[np.uint16]
    """B12 as read, shape (60, 60)."""

    b01: npt.NDArray[np.uint16]
    """B01 as read, shape (20, 20)."""

    fine: npt.NDArray[np.uint16]
    """All twelve bands at 10 m, shape (120, 120, 12)."""

    method: str
    """Method of upsampling, as the store names it."""


@dataclass(frozen=True, slots=True, eq=False)
class ContactSheet:
    """Everything that is drawn."""

    title: str
    """Name of the store."""

    counts: dict[str, int]
    """Number of rows by status; with --tile those of that tile."""

    tiles: int
    """Number of tiles in the store; 1 with --tile."""

    with_nodata: int
    """Number of written rows that lack data in some pixel; with --tile those of that tile."""

    excluded: bool
    """Whether the patches that were left out are known, from a catalogue."""

    cards: list[Card]
    """Patches shown, in store order."""

    maps: list[TileMap]
    """Tiles shown, in store order; empty for image files and stores of other programs."""

    shown: ShownBands
    """Bands that are shown of the cards."""

    detail: BandDetail | None
    """None if the store has no `data_super`, or no patch."""

    nothing_written: str
    """In words, that the store has no written row; empty if it has one."""

    incompleteness: str
    """In words, that the run that made the store has not finished; empty if it has."""


def choose_spread(rows: npt.NDArray[np.intp], number: int, seed: int) -> npt.NDArray[np.intp]:
    """Return `number` of `rows`, ascending, shape (row,): one at random from each of as many equal parts."""
    if len(rows) <= number:
        return rows
    # rows of a store are in the order of tiles, so equal parts are spread over the ground
    bounds = np.linspace(0, len(rows), number + 1)
    inside = np.random.default_rng(seed).random(number)
    return rows[(bounds[:-1] + inside * np.diff(bounds)).astype(np.intp)]


def read_contact_sheet(settings: PreviewSettings) -> ContactSheet:
    """Return what the contact sheet of a store shows: pixels of patches, maps of tiles, counts.

    Raises:
        ValueError: the file is no store, or has no such tile.
        OSError: it cannot be read.
    """
    with StoreReader(settings.store) as store:
        columns = store.columns
        excluded = _read_excluded(settings, store)
        all_tiles = list(dict.fromkeys(columns["tile"].tolist()))
        tiles = _choose_tiles(settings, all_tiles, len(store.written))
        candidates = np.isin(columns["tile"], tiles) & (columns["state"] == WRITTEN)
        rows = choose_spread(np.flatnonzero(candidates), settings.patches, settings.seed)
        shown = _choose_bands(store)
        cards = [_read_card(store, row, shown.array) for row in rows.tolist()]
        return ContactSheet(
            title=settings.store.name,
            counts=_count_status(columns, excluded, tiles if settings.tile else all_tiles),
            tiles=1 if settings.tile else len(all_tiles),
            with_nodata=_count_nodata(store, tiles if settings.tile else all_tiles),
            excluded=excluded is not None,
            cards=cards,
            maps=[_read_map(store, tile, excluded) for tile in tiles if store.schema.images is None],
            shown=shown,
            detail=_read_detail(store, cards),
            nothing_written=store.nothing_written,
            incompleteness=store.incompleteness,
        )


def _choose_tiles(settings: PreviewSettings, tiles: list[bytes], written: int) -> list[bytes]:
    """The tile of --tile, or as many of the store's tiles as there are rows of cards beside their maps."""
    if not settings.tile:
        number = min(_MAX_TILES, -(-min(settings.patches, written) // CARD_COLUMNS))
        return [tiles[k] for k in choose_spread(np.arange(len(tiles)), max(number, 1), settings.seed).tolist()]
    tile = settings.tile.removeprefix("T").encode()
    if tile not in tiles:
        some = ", ".join(name.decode() for name in tiles[:8]) + (", ..." if len(tiles) > 8 else "")
        raise ValueError(f"--tile must be one of the store's {len(tiles)} tiles ({some}), got {settings.tile}")
    return [tile]


def _read_excluded(settings: PreviewSettings, store: StoreReader) -> Catalogue | None:
    """Patches that the catalogue lists but extraction left out; None if there is no catalogue."""
    path = settings.catalogue or Path(store.settings.get("catalogue", ""))
    if not path.is_file():
        if settings.catalogue is not None:
            raise ValueError(f"--catalogue must be a file made by etl.catalogue, got {path}, which is not there")
        return None
    catalogue = read_catalogue(path)
    return catalogue.take(~np.isin(catalogue.patch, store.columns["patch"]) & (catalogue.snow | catalogue.cloud))


def _choose_bands(store: StoreReader) -> ShownBands:
    """Bands of `data_10m`, or those of the one array of another store."""
    item, images = store.schema.pixels[0], store.schema.images
    bands, true_colour = _BANDS["10m"], band_indices(_BANDS["10m"], TRUE_COLOUR)
    if images is not None:
        bands, true_colour = images.bands, images.true_colour
    false_colour = band_indices(bands, FALSE_COLOUR) if set(FALSE_COLOUR) <= set(bands) else []
    words = "True colour (B04 B03 B02) and false colour (B08 B04 B03), 1200 m a side"
    if images is not None:
        names = [" ".join(bands[k] for k in colour) for colour in (true_colour, false_colour) if colour]
        words = f"{' and '.join(names)}, {images.size_px[0]} x {images.size_px[1]} pixels"
    return ShownBands(item.name, true_colour, false_colour, words, item.nodata, item.saturated)


def _read_card(store: StoreReader, row: int, array: str) -> Card:
    columns = store.columns
    tile = columns["tile"][row].decode()
    cell_row, cell_col = tile_cells(tile, columns["ulx"][[row]], columns["uly"][[row]])[0].tolist()
    names = store.schema.class_names
    labels = tuple(names[k] for k in np.flatnonzero(columns["classes"][row]).tolist())
    split = SPLITS[min(int(columns["split"][row]), len(SPLITS) - 1)]
    place = (
        f"{tile} · row {cell_row}, column {cell_col}" if store.schema.images is None else columns["patch"][row].decode()
    )
    pixels, share = store.read(array, np.array([row]))[0], float(_nodata_share(store)[row])
    return Card(row, tile, (cell_row, cell_col), split, labels, pixels, place, share)


def _nodata_share(store: StoreReader) -> npt.NDArray[np.float32]:
    """Share of each row's pixels without data, shape (patch,); NaN in a store of schema version 1, which has none."""
    columns = store.columns
    return columns["nodata_share"] if "nodata_share" in columns else np.full(len(columns["state"]), np.nan, np.float32)


def _count_nodata(store: StoreReader, tiles: list[bytes]) -> int:
    """Number of written rows of these tiles that lack data in some pixel."""
    lacking = np.isin(store.columns["tile"], tiles) & (_nodata_share(store) > 0)
    return int((lacking & (store.columns["state"] == WRITTEN)).sum())


def _read_map(store: StoreReader, tile: bytes, excluded: Catalogue | None) -> TileMap:
    columns = store.columns
    name, rows = tile.decode(), np.flatnonzero(columns["tile"] == tile)
    cells = tile_cells(name, columns["ulx"][rows], columns["uly"][rows])
    state, split = columns["state"][rows], columns["split"][rows]
    layers = [(cells, cell_status_of(state, split))]
    if excluded is not None:
        on_tile = excluded.take(excluded.tile == tile)
        status = np.where(on_tile.snow, CELL_STATUS.index("snow"), CELL_STATUS.index("cloud or shadow"))
        layers.append((tile_cells(name, on_tile.ulx, on_tile.uly), status.astype(np.uint8)))
    window = CellWindow.around(np.concatenate([layer_cells for layer_cells, _ in layers]))
    drawn = (state == WRITTEN) & (cells >= 0).all(1)
    true_colour = _read_true_colour(store, window, rows[drawn], cells[drawn])
    nodata = np.zeros(window.shape, np.float32)
    row, column = (cells[drawn] - window.first).T
    np.maximum.at(nodata, (row, column), np.nan_to_num(_nodata_share(store)[rows[drawn]]))
    return TileMap(name, window, merge_cell_status(window, layers), true_colour, nodata)


def _read_true_colour(
    store: StoreReader, window: CellWindow, rows: npt.NDArray[np.intp], cells: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint16]:
    """A tile in true colour, uint16, shape (row, column, 3); each patch becomes 12 x 12 means of 10 x 10 pixels."""
    out = np.zeros((*window.shape, _CELL_PX, _CELL_PX, 3), np.uint16)
    red_to_blue = band_indices(_BANDS["10m"], TRUE_COLOUR)
    step = 120 // _CELL_PX
    for start in range(0, len(rows), _READ_ROWS):
        batch = store.read("data_10m", rows[start : start + _READ_ROWS])
        blocks = batch.reshape(len(batch), _CELL_PX, step, _CELL_PX, step, -1)
        row, column = (cells[start : start + _READ_ROWS] - window.first).T
        out[row, column] = blocks[..., red_to_blue].mean((2, 4)).astype(np.uint16)
    return out.transpose(0, 2, 1, 3, 4).reshape(window.shape[0] * _CELL_PX, window.shape[1] * _CELL_PX, 3)


def _count_status(
    columns: Mapping[str, npt.NDArray[Any]], excluded: Catalogue | None, tiles: list[bytes]
) -> dict[str, int]:
    """Number of rows of these tiles by status."""
    rows = np.isin(columns["tile"], tiles)
    status = cell_status_of(columns["state"][rows], columns["split"][rows])
    counts = dict(zip(CELL_STATUS, np.bincount(status, minlength=len(CELL_STATUS)).tolist(), strict=True))
    if excluded is not None:
        on_tiles = np.isin(excluded.tile, tiles)
        counts["snow"] += int((on_tiles & excluded.snow).sum())
        counts["cloud or shadow"] += int((on_tiles & excluded.cloud & ~excluded.snow).sum())
    return counts


def _read_detail(store: StoreReader, cards: list[Card]) -> BandDetail | None:
    if not store.schema.upsampled or not cards:
        return None
    rows = np.array([card.row for card in cards])
    b12 = store.read("data_20m", rows)[..., _BANDS["20m"].index("B12")]
    b01 = store.read("data_60m", rows)[..., _BANDS["60m"].index("B01")]
    # the patch with the highest contrast, in which a finer grid shows most; nodata beside pixels is no contrast
    valid = [pixels[pixels != NODATA] for pixels in b01]
    contrast = [float(np.subtract(*np.percentile(pixels, (90, 10)))) if len(pixels) else -1.0 for pixels in valid]
    best = int(np.argmax(contrast))
    method = str(store.attributes.get("upsample", ""))
    return BandDetail(best + 1, b12[best], b01[best], store.read("data_super", rows[[best]])[0], method)
