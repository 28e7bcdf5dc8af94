"""What a contact sheet shows, read from a store and its catalogue."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.catalogue.table import Catalogue, read_catalogue
from etl.labels import classes_of
from etl.preview.cells import FATES, Place, TileMap, fates_of, paint, tile_cells
from etl.preview.settings import CARD_COLUMNS, PreviewSettings
from etl.schema import SPLITS, WRITTEN
from etl.store.reader import StoreReader

__all__ = ["Card", "Detail", "Sheet", "choose", "read_sheet"]

_MOST_TILES = 4
_CELL_PX = 12
"""Side of a patch in a tile's picture."""
_READ_ROWS = 64
_RED_TO_BLUE = (2, 1, 0)
"""B04 B03 B02 among the bands of `data_10m`."""


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """One patch."""

    row: int
    """Row of the store."""

    tile: str
    """MGRS tile."""

    cell: tuple[int, int]
    """(row j, column i) on the tile; -1 where it is off its grid."""

    split: str
    """One of `SPLITS`."""

    labels: tuple[str, ...]
    """Its classes."""

    pixels: npt.NDArray[np.uint16]
    """B02 B03 B04 B08, shape (120, 120, 4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """Two bands of one patch as read, and all of it at 10 m."""

    number: int
    """Which of the cards, from 1: the one with most contrast in B01."""

    b12: npt.NDArray[np.uint16]
    """B12 as read, shape (60, 60)."""

    b01: npt.NDArray[np.uint16]
    """B01 as read, shape (20, 20)."""

    fine: npt.NDArray[np.uint16]
    """All twelve bands at 10 m, shape (120, 120, 12)."""

    method: str
    """How they were brought there."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Everything that is drawn."""

    title: str
    """Name of the store."""

    counts: dict[str, int]
    """Rows by what became of them, in words; of the one tile where only one is asked for."""

    tiles: int
    """Number of tiles in the store, or 1 where only one is asked for."""

    excluded: bool
    """Whether the patches left out are known."""

    cards: list[Card]
    """Patches shown, in store order."""

    maps: list[TileMap]
    """Tiles shown, in store order."""

    detail: Detail | None
    """None where the store has no `data_super`, or no patch."""


def choose(rows: npt.NDArray[np.intp], number: int, seed: int) -> npt.NDArray[np.intp]:
    """`number` of ascending `rows`, one at random from each of as many equal runs; all where they are fewer."""
    if len(rows) <= number:
        return rows
    bounds = np.linspace(0, len(rows), number + 1)
    inside = np.random.default_rng(seed).random(number)
    return rows[(bounds[:-1] + inside * np.diff(bounds)).astype(np.intp)]


def read_sheet(settings: PreviewSettings) -> Sheet:
    """What the contact sheet of a store shows.

    Raises:
        ValueError: the file is no store, or has no such tile.
        OSError: it cannot be read.
    """
    with StoreReader(settings.store) as store:
        columns = store.columns
        catalogue = _excluded(settings, store)
        every = list(dict.fromkeys(columns["tile"].tolist()))
        tiles = _tiles(settings, every, len(store.written))
        can_be_shown = np.isin(columns["tile"], tiles) & (columns["state"] == WRITTEN)
        rows = choose(np.flatnonzero(can_be_shown), settings.patches, settings.seed)
        cards = [_card(store, row) for row in rows.tolist()]
        maps = [_map(store, tile, catalogue) for tile in tiles]
        counts = _counts(columns, catalogue, tiles if settings.tile else every)
        detail = _detail(store, cards)
    return Sheet(
        settings.store.name, counts, 1 if settings.tile else len(every), catalogue is not None, cards, maps, detail
    )


def _tiles(settings: PreviewSettings, every: list[bytes], written: int) -> list[bytes]:
    if not settings.tile:
        number = min(_MOST_TILES, -(-min(settings.patches, written) // CARD_COLUMNS))
        return [every[k] for k in choose(np.arange(len(every)), max(number, 1), settings.seed).tolist()]
    wanted = settings.tile.removeprefix("T").encode()
    if wanted not in every:
        some = ", ".join(tile.decode() for tile in every[:8]) + (", ..." if len(every) > 8 else "")
        raise ValueError(f"--tile must be one of the store's {len(every)} tiles ({some}), got {settings.tile}")
    return [wanted]


def _excluded(settings: PreviewSettings, store: StoreReader) -> Catalogue | None:
    """Patches that the catalogue lists and the store has left out; None where there is no catalogue."""
    try:
        made_with = dict(json.loads(store.attributes.get("settings", "{}")))
    except (ValueError, TypeError):
        made_with = {}
    path = settings.catalogue or Path(made_with.get("catalogue", ""))
    if not path.is_file():
        if settings.catalogue is not None:
            raise ValueError(f"--catalogue must be a file made by etl.catalogue, got {path}, which is not there")
        return None
    catalogue = read_catalogue(path)
    return catalogue.take(~np.isin(catalogue.patch, store.columns["patch"]) & (catalogue.snow | catalogue.cloud))


def _pixels(store: StoreReader, name: str, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint16]:
    return store.read(name, rows)


def _card(store: StoreReader, row: int) -> Card:
    columns = store.columns
    tile = columns["tile"][row].decode()
    j, i = tile_cells(tile, columns["ulx"][[row]], columns["uly"][[row]])[0].tolist()
    names = classes_of(columns["classes"].shape[1])
    labels = tuple(names[k] for k in np.flatnonzero(columns["classes"][row]).tolist())
    split = SPLITS[min(int(columns["split"][row]), len(SPLITS) - 1)]
    return Card(row, tile, (j, i), split, labels, _pixels(store, "data_10m", np.array([row]))[0])


def _map(store: StoreReader, tile: bytes, left_out: Catalogue | None) -> TileMap:
    columns = store.columns
    name, inside = tile.decode(), np.flatnonzero(columns["tile"] == tile)
    cells = tile_cells(name, columns["ulx"][inside], columns["uly"][inside])
    state, split = columns["state"][inside], columns["split"][inside]
    layers = [(cells, fates_of(state, split))]
    if left_out is not None:
        more = left_out.take(left_out.tile == tile)
        fates = np.where(more.snow, FATES.index("snow"), FATES.index("cloud or shadow")).astype(np.uint8)
        layers.append((tile_cells(name, more.ulx, more.uly), fates))
    place = Place.around(np.concatenate([held for held, _ in layers]))
    seen = (state == WRITTEN) & (cells >= 0).all(1)
    return TileMap(name, place, paint(place, layers), _picture(store, place, inside[seen], cells[seen]))


def _picture(
    store: StoreReader, place: Place, rows: npt.NDArray[np.intp], cells: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint16]:
    """A tile in true colour from its patches, each 12 x 12 means of 10 x 10 pixels."""
    out = np.zeros((*place.shape, _CELL_PX, _CELL_PX, 3), np.uint16)
    step = 120 // _CELL_PX
    for start in range(0, len(rows), _READ_ROWS):
        part = rows[start : start + _READ_ROWS]
        means = (
            _pixels(store, "data_10m", part)
            .reshape(len(part), _CELL_PX, step, _CELL_PX, step, 4)[..., _RED_TO_BLUE]
            .mean((2, 4))
        )
        j, i = (cells[start : start + _READ_ROWS] - place.first).T
        out[j, i] = means.astype(np.uint16)
    return out.transpose(0, 2, 1, 3, 4).reshape(place.shape[0] * _CELL_PX, place.shape[1] * _CELL_PX, 3)


def _counts(columns: Mapping[str, npt.NDArray[Any]], left_out: Catalogue | None, tiles: list[bytes]) -> dict[str, int]:
    inside = np.isin(columns["tile"], tiles)
    fates = np.bincount(fates_of(columns["state"][inside], columns["split"][inside]), minlength=len(FATES))
    if left_out is not None:
        more = np.isin(left_out.tile, tiles)
        fates[FATES.index("snow")] += int((more & left_out.snow).sum())
        fates[FATES.index("cloud or shadow")] += int((more & left_out.cloud & ~left_out.snow).sum())
    return dict(zip(FATES, fates.tolist(), strict=True))


def _detail(store: StoreReader, cards: list[Card]) -> Detail | None:
    if not store.schema.upsampled or not cards:
        return None
    b12, b01 = GROUPS[1].bands.index("B12"), GROUPS[2].bands.index("B01")
    shown = np.array([card.row for card in cards])
    pairs = zip(_pixels(store, "data_20m", shown), _pixels(store, "data_60m", shown), strict=True)
    bands = [(middle[..., b12], coarse[..., b01]) for middle, coarse in pairs]
    spread = [float(np.subtract(*np.percentile(coarse, (90, 10)))) for _, coarse in bands]
    best = int(np.argmax(spread))
    method = str(store.attributes.get("upsample", ""))
    return Detail(best + 1, *bands[best], _pixels(store, "data_super", shown[[best]])[0], method)
