"""Compare a store with its catalogue: same patches in the same order, with the same labels, splits and corners."""

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.catalogue.finder import same_acquisition
from etl.catalogue.names import parse_product
from etl.catalogue.table import Catalogue, read_catalogue
from etl.schema import SPLITS, WRITTEN
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge

__all__ = ["check_catalogue"]

_EQUAL = {
    "split": ("split",),
    "place": ("tile", "epsg", "ulx", "uly"),
    "acquired": ("acquired",),
    "pairs": ("s1_name",),
}
"""Columns that must be equal, by the name of their check."""


def check_catalogue(store: StoreReader, given: Path | None) -> list[Check]:
    """Results of the checks against the catalogue `given`, or the one that the store was made from if None.

    Columns are compared exactly: corners in metres, sensing times in seconds.

    Raises:
        ValueError: the catalogue given does not exist, or the file is not a catalogue.
        OSError: the file cannot be opened.
    """
    if given is not None and not given.is_file():
        raise ValueError(f"--catalogue must be a file made by etl.catalogue, got {given}, which is not there")
    recorded = store.settings.get("catalogue", "")
    path = given or Path(recorded)
    if not path.is_file():
        why = f"{recorded}, which the store was made from, is not here" if recorded else "the store does not say which"
        return [Check("catalogue", None, f"{why}; name one with --catalogue")]
    store.forget()  # what other checks have read
    # the run left out those that it was not told to keep
    has_sentinel1 = bool(store.schema.sentinel1_bytes)
    keep_snow, keep_cloud = (store.settings.get(f"keep_{name}") == "True" for name in ("snow", "cloud"))
    catalogue = read_catalogue(path, keep_snow, keep_cloud, has_sentinel1)
    rows = min(store.schema.rows, len(catalogue))
    same = np.asarray(store.column("patch")[:rows] == catalogue.patch[:rows])
    store.forget("patch")
    return [
        _patches(store, catalogue, same),
        _labels(store, catalogue, same),
        *(_equal(store, catalogue, same, check) for check in _EQUAL if check != "pairs" or has_sentinel1),
        _products(store, catalogue, same),
        _problems(store, catalogue, same),
    ]


# `same` below: whether row k is the same patch in both, shape (patch,), bool, over the rows that both have.


def _patches(store: StoreReader, catalogue: Catalogue, same: npt.NDArray[np.bool_]) -> Check:
    faults, rows, listed = Faults(), store.schema.rows, len(catalogue)
    if rows != listed:
        faults.add(f"the store must have the {listed} rows that the catalogue keeps, got {rows}")
    others = np.flatnonzero(~same).tolist()
    faults.extend(f"{store.row_name(k)} must be {catalogue.patch[k].decode(errors='replace')}" for k in others)
    return judge("patches", f"{rows} rows, the same patches as in the catalogue, in the same order", faults)


def _labels(store: StoreReader, catalogue: Catalogue, same: npt.NDArray[np.bool_]) -> Check:
    names, got = catalogue.class_names, store.schema.class_names
    if len(names) != len(got):
        return Check("labels", False, f"the store must have the catalogue's {len(names)} classes, got {len(got)}")
    faults = Faults()
    faults.extend(f"class {k} must be {name}, got {got[k]}" for k, name in enumerate(names) if got[k] != name)
    stored, listed = store.column("classes")[: len(same)], catalogue.classes[: len(same)]
    store.forget("classes")
    differs = np.zeros(len(same), np.bool_)
    for k in range(len(names)):  # class by class, because an array of all differences is as large as the labels
        differs |= stored[:, k] != listed[:, k]
    for row in np.flatnonzero(same & differs).tolist():
        wrong = np.flatnonzero(stored[row] != listed[row]).tolist()
        texts = [f"{names[k]} is {stored[row, k]}, must be {listed[row, k]}" for k in wrong]
        faults.add(f"{store.row_name(row)}: {', '.join(texts[:3])}{', ...' if len(texts) > 3 else ''}")
    return judge("labels", f"{int(listed.sum())} labels of {len(same)} rows", faults)


def _equal(store: StoreReader, catalogue: Catalogue, same: npt.NDArray[np.bool_], check: str) -> Check:
    """Compare the columns of `check`."""
    faults = Faults()
    for name in _EQUAL[check]:
        stored, listed = store.column(name)[: len(same)], getattr(catalogue, name)[: len(same)]
        if name == "acquired":
            listed = listed.astype("datetime64[s]").astype(np.int64)
        unknown = (stored != stored) & (listed != listed)  # NaN: a corner that is unknown in both
        for row in np.flatnonzero(same & (stored != listed) & ~unknown).tolist():
            got, must = (_as_text(name, values[row]) for values in (stored, listed))
            faults.add(f"{store.row_name(row)}: {name} is {got}, must be {must}")
        store.forget(name)
    return judge(check, f"{', '.join(_EQUAL[check])} of {len(same)} rows", faults)


def _as_text(name: str, value: object) -> str:
    if name == "split" and isinstance(value, np.uint8):
        return SPLITS[value] if value < len(SPLITS) else str(value)
    if name == "acquired" and isinstance(value, np.int64):
        return str(value.astype("datetime64[s]"))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _products(store: StoreReader, catalogue: Catalogue, same: npt.NDArray[np.bool_]) -> Check:
    """Check that each row was read from the product it is listed under, or from another of the same acquisition."""
    faults, rows = Faults(), len(same)
    stored, listed = store.column("product")[:rows], catalogue.product[:rows]
    store.forget("product")
    changes = np.append(True, (stored[1:] != stored[:-1]) | (listed[1:] != listed[:-1]))[:rows]
    starts = np.flatnonzero(changes).tolist()  # neighbours mostly have one pair of products
    pairs = set[tuple[str, str]]()
    for first, stop in pairwise([*starts, rows]):
        of_run = first + np.flatnonzero(same[first:stop])
        if not len(of_run):
            continue
        read_from, wanted = (name.decode(errors="replace") for name in (stored[first], listed[first]))
        pairs.add((read_from, wanted))
        if not _match(read_from, wanted):
            faults.extend(f"{store.row_name(k)}: read from {read_from}, listed under {wanted}" for k in of_run.tolist())
    return judge("products", f"{len(pairs)} products, each shows the acquisition that the catalogue names", faults)


@lru_cache
def _match(read_from: str, listed: str) -> bool:
    try:
        return read_from == listed or same_acquisition(parse_product(read_from), parse_product(listed))
    except ValueError:
        return False


def _problems(store: StoreReader, catalogue: Catalogue, same: npt.NDArray[np.bool_]) -> Check:
    """Check that no row is written that the catalogue marks with a problem."""
    wrong, state, faults = catalogue.problem[: len(same)] != "", store.column("state")[: len(same)], Faults()
    written = np.flatnonzero(same & wrong & (state == WRITTEN)).tolist()
    faults.extend(f"{store.row_name(row)} must be rejected: {catalogue.problem[row]}" for row in written)
    good = f"{int(wrong.sum())} patches whose catalogue entry is wrong; none of them is written"
    return judge("problems", good, faults)
