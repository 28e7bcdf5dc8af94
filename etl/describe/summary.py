"""What a store holds, as its descriptions tell it: patches, their places and times, labels, tiles, provenance."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.raster import to_degrees
from etl.schema import SPLITS, WRITTEN
from etl.store.reader import StoreReader

__all__ = ["Summary", "Tile", "summary_of"]

_COLUMNS = (
    "patch",
    "tile",
    "product",
    "baseline",
    "acquired",
    "epsg",
    "ulx",
    "uly",
    "split",
    "nodata_share",
    "cloud_share",
    "snow_share",
)
"""Columns of the store that descriptions hold."""

Ring = npt.NDArray[np.float64]
"""Corners of an area, counter-clockwise, the first one again at the end: (corner, 2), longitude and latitude."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """The patches of one tile."""

    name: str
    """MGRS tile, e.g. 33UUP."""

    epsg: int
    """EPSG code of its UTM zone."""

    bounds_m: tuple[float, float, float, float]
    """West, south, east and north of its patches, in metres of that zone."""

    ring: Ring
    """The same area in degrees."""

    rows: npt.NDArray[np.intp]
    """Rows of the store."""

    first: datetime
    """Time of its first acquisition, UTC."""

    last: datetime
    """Time of its last acquisition."""

    products: tuple[str, ...]
    """Names of the products that its patches were read from."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What the written rows of a store hold; all arrays in the order of `rows`."""

    rows: npt.NDArray[np.intp]
    """Rows of the store that are written."""

    columns: dict[str, list[Any]]
    """Columns of the catalogue and the results by name: text, numbers, times."""

    labels: list[list[str]]
    """Names of each patch's classes."""

    class_names: tuple[str, ...]
    """Names of all classes."""

    class_counts: dict[str, int]
    """Patches of each class, the most frequent first."""

    split_counts: dict[str, int]
    """Patches of each split."""

    rings: npt.NDArray[np.float64] | None
    """Footprints: (patch, 5, 2), longitude and latitude in degrees, counter-clockwise; None if they are not known."""

    tiles: tuple[Tile, ...]
    """The tiles, in order of name; none if the footprints are not known."""

    baselines: dict[str, int]
    """Patches of each processing baseline."""

    rejected: int
    """Rows that were rejected."""

    settings: dict[str, str]
    """Settings that the store was extracted with."""

    attributes: dict[str, Any]
    """Root attributes of the store."""

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east and north of all patches, in degrees; None if they are not known."""
        if self.rings is None:
            return None
        points = self.rings.reshape(-1, 2)
        west, south = points.min(axis=0).tolist()
        east, north = points.max(axis=0).tolist()
        return west, south, east, north

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """Times of the first and of the last acquisition; None if they are not known."""
        times = [time for time in self.columns["acquired"] if time is not None]
        return (min(times), max(times)) if times else None


def summary_of(store: StoreReader) -> Summary:
    """What a store holds; the footprints of image files, and of patches of another program, are not known.

    Raises:
        ValueError: it is not complete, no row of it is written, or a patch lies across the 180th meridian.
    """
    if not store.complete:
        raise ValueError(f"{store.location} must be complete; finish it with etl.extract --resume")
    store.require_written()
    rows = store.written
    held = store.columns
    columns = {name: _plain(held[name][rows]) for name in _COLUMNS if name in held}
    columns["acquired"] = [_time(seconds) for seconds in columns["acquired"]]
    columns["split"] = [SPLITS[number] for number in columns["split"]]
    classes, names = store.column("classes")[rows], store.schema.class_names
    found = Counter(dict(zip(names, classes.sum(axis=0, dtype=np.int64).tolist(), strict=True)))
    rings = _rings(store, rows) if store.schema.images is None else None
    if rings is not None and np.ptp(rings[..., 0], axis=1).max() > 180:
        raise ValueError(f"{store.location} must hold no patch across the 180th meridian, where footprints break")
    return Summary(
        rows,
        columns,
        [[names[k] for k in np.flatnonzero(row)] for row in classes],
        names,
        {name: count for name, count in found.most_common() if count},
        dict(Counter(columns["split"]).most_common()),
        rings,
        _tiles(store, rows, columns) if rings is not None else (),
        dict(sorted(Counter(columns["baseline"]).items())),
        int((store.column("state") != WRITTEN).sum()),
        store.settings,
        dict(store.attributes),
    )


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    """Values of a column as Python's own: text for bytes."""
    items = values.tolist()
    return [item.decode() for item in items] if values.dtype.kind == "S" else items


def _time(seconds: int) -> datetime | None:
    """A time in seconds since 1970, UTC; None of one that is not known."""
    return None if np.datetime64(seconds, "s") != np.datetime64(seconds, "s") else datetime.fromtimestamp(seconds, UTC)


def _corners(west: Any, south: Any, east: Any, north: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Eastings and northings of rectangles, each (rectangle, 5), counter-clockwise from the south-west."""
    return np.stack((west, east, east, west, west), -1), np.stack((south, south, north, north, south), -1)


def _rings(store: StoreReader, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Footprints of patches in degrees, (patch, 5, 2)."""
    epsg, ulx, uly = (store.column(name)[rows] for name in ("epsg", "ulx", "uly"))
    eastings, northings = _corners(ulx, uly - PATCH_M, ulx + PATCH_M, uly)
    out = np.empty((*eastings.shape, 2))
    for code in np.unique(epsg).tolist():
        of_zone = epsg == code
        out[of_zone] = to_degrees(code, eastings[of_zone], northings[of_zone])
    return out


def _tiles(store: StoreReader, rows: npt.NDArray[np.intp], columns: dict[str, list[Any]]) -> tuple[Tile, ...]:
    names, epsg = np.array(columns["tile"]), np.array(columns["epsg"])
    ulx, uly, acquired = np.array(columns["ulx"]), np.array(columns["uly"]), np.array(columns["acquired"])
    tiles = []
    for name in sorted(set(columns["tile"])):
        here = np.flatnonzero(names == name)
        bounds = (ulx[here].min(), uly[here].min() - PATCH_M, ulx[here].max() + PATCH_M, uly[here].max())
        west, south, east, north = map(float, bounds)
        code = int(epsg[here[0]])
        products = tuple(sorted({columns["product"][k] for k in here}))
        ring = to_degrees(code, *_corners(west, south, east, north))
        times = acquired[here]
        tiles.append(Tile(name, code, (west, south, east, north), ring, rows[here], times.min(), times.max(), products))
    return tuple(tiles)
