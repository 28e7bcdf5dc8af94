"""Select the rows of a store to copy: by state, split, tile and label."""

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from etl.convert.settings import ConvertSettings
from etl.schema import REJECTED, SPLITS
from etl.store.reader import StoreReader

__all__ = ["select_rows_to_copy"]


def select_rows_to_copy(store: StoreReader, settings: ConvertSettings) -> npt.NDArray[np.intp]:
    """Numbers of the rows to copy, ascending, shape (row,).

    Raises:
        ValueError: a split, tile or label is unknown, or no written row is left.
    """
    columns = store.columns
    keep = (columns["state"] != REJECTED) | settings.keep_rejected
    if settings.split:
        wanted = _known("--split", settings.split.split(","), SPLITS)
        keep &= np.isin(columns["split"], [SPLITS.index(name) for name in wanted])
    if settings.tile:
        tiles = np.unique(columns["tile"])
        wanted = _known("--tile", settings.tile.split(","), [tile.decode() for tile in tiles])
        keep &= np.isin(columns["tile"], [name.encode() for name in wanted])
    if settings.label:
        names = store.schema.class_names
        wanted = _known("--label", settings.label.split(";"), names)
        keep &= columns["classes"][:, [names.index(name) for name in wanted]].any(1)
    if not keep[store.written].any():
        rows, match = ("only rejected rows", "match") if keep.any() else ("no row", "matches")
        raise ValueError(f"{rows} of {store.location} {match} --split, --tile and --label (of {len(keep)} rows)")
    return np.flatnonzero(keep)


def _known(flag: str, names: Iterable[str], known: Sequence[str]) -> list[str]:
    wanted = [name.strip() for name in names if name.strip()]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            some = f"{', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
            raise ValueError(f"{flag} must be of the store's ({some}), got {name!r}{hint}")
    return wanted
