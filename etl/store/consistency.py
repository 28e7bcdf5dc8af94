"""Check, once a store is opened, that its arrays fit together and that what it says of itself can be true.

No pixel is read, and of the columns only the small ones. A store of another data set need not have all arrays; those
that it has must fit.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.pixel_groups import IMAGES, MOST_DB, NATIVE_GROUPS, SENTINEL1, STEPS_PER_DB, UPSAMPLED_GROUP
from etl.schema import COMPLETE, REJECTED, SPLITS, STATS, UNWRITTEN, WRITTEN, DataSet, Schema

if TYPE_CHECKING:
    from etl.store.reader import StoreReader

__all__ = ["require_consistent"]

_PIXELS = (*(f"data_{group.name}" for group in (*NATIVE_GROUPS, UPSAMPLED_GROUP)), IMAGES, SENTINEL1)

_SCHEMA = Schema(0, sentinel1_bytes=1)

_COLUMNS = {item.name: item for item in (*_SCHEMA.identity, *_SCHEMA.results, COMPLETE)}
"""Arrays of one value for each patch, and `complete`: number of dimensions and dtype; text may be of any length."""

_PIXEL_DTYPES = (np.dtype("<u2"), np.dtype("|u1"))

_SMALL = ("state", "split")
"""Columns that the checks of values read, one byte a row each."""


def require_consistent(store: "StoreReader") -> None:
    """Check ranks, dtypes and lengths of the arrays of a store; of one that says complete also states and statistics.

    Raises:
        ValueError: they do not fit.
    """
    arrays = {name: (store.shape(name), store.dtype(name)) for name in store.names}
    for faults in (_misshapen(arrays), _unequal(arrays), _untrue(store)):
        problem = next(faults, None)
        if problem is not None:
            raise ValueError(f"store {store.location} is damaged or forged: {problem}; python -m etl.verify says more")


def _misshapen(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Iterator[str]:
    """What is wrong with the rank or dtype of arrays."""
    for name, (shape, dtype) in arrays.items():
        of = name.rpartition("/")[2]
        if name in _COLUMNS:
            rank, fits = len(_COLUMNS[name].dims), _has_dtype(dtype, _COLUMNS[name])
        elif name in _PIXELS:
            rank, fits = 4, dtype == np.dtype("<f4") if name == SENTINEL1 else dtype in _PIXEL_DTYPES
        elif name.startswith("stats/") and of in STATS:
            rank, fits = 3, dtype == np.dtype("<u8")
        elif name == "class" or name.startswith("band_"):
            rank, fits = 1, dtype.kind in "SO"
        else:
            continue
        if len(shape) != rank or not fits:
            yield f"{name} must have {rank} dimensions and its own type, got {shape} of {dtype}"


def _has_dtype(dtype: np.dtype[Any], item: DataSet) -> bool:
    return dtype.kind == "S" if item.dtype.startswith("S") else dtype == np.dtype(item.dtype)


def _unequal(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Iterator[str]:
    """What is wrong with the lengths of arrays that share a dimension."""
    lengths: dict[str, tuple[str, int]] = {}
    for name, (shape, _) in arrays.items():
        for dim, length in zip(_dimensions(name), shape, strict=False):
            first, expected = lengths.setdefault(dim, (name, length))
            if length != expected:
                yield f"{name} must have {expected} along {dim}, as {first} has, got {length}"


def _dimensions(name: str) -> tuple[str, ...]:
    """Dimensions of an array whose lengths are compared."""
    if name in _COLUMNS:
        return _COLUMNS[name].dims
    if name in _PIXELS:
        group = name.removeprefix("data_")
        return "patch", f"rows of {name}", f"columns of {name}", f"band_{group}"
    if name.startswith("stats/data_") and name.rpartition("/")[2] in STATS:
        return "split", "band_" + name.split("/")[1].removeprefix("data_"), "word"
    return (name,) if name == "class" or name.startswith("band_") else ()


def _untrue(store: "StoreReader") -> Iterator[str]:
    """What a store that says complete says of itself, and cannot be true."""
    if any(name not in store for name in (*_SMALL, "complete")) or not store.complete:
        return
    state, split = store.column("state"), store.column("split")
    for name, most in (("state", REJECTED), ("split", len(SPLITS) - 1)):
        if len(state) and (largest := int(store.column(name).max())) > most:
            yield f"{name} must be at most {most}, got {largest}"
    if missing := int((state == UNWRITTEN).sum()):
        yield (
            f"it says that it is complete, but {missing} of {len(state)} rows are not written; complete it with "
            "etl.extract --resume"
        )
    rows = np.bincount(split[state == WRITTEN], minlength=len(SPLITS))[: len(SPLITS)]
    for name in [name for name in _PIXELS if name in store and f"stats/{name}/count" in store]:
        yield from _misfitting_statistics(store, name, rows)


def _misfitting_statistics(store: "StoreReader", name: str, rows: Any) -> Iterator[str]:
    """What is wrong with the statistics of one pixel array; `rows`: written ones of each split, shape (split,)."""
    sums = store.statistics(name)
    shape, dtype = store.shape(name), store.dtype(name)
    expected = rows.astype(object)[:, None] * (shape[1] * shape[2])
    counted, total, squares, nodata, saturated = (sums[statistic] for statistic in STATS)
    largest = MOST_DB * STEPS_PER_DB if name == SENTINEL1 else int(np.iinfo(dtype).max)
    if counted.shape != (len(SPLITS), shape[3]):
        yield f"stats/{name} must be of {len(SPLITS)} splits and {shape[3]} bands, got {counted.shape}"
    elif (counted + nodata + saturated != expected).any():
        yield f"stats/{name} must count every pixel of the {int(rows.sum())} written rows, and does not"
    elif (abs(total) > counted * largest).any() or (squares * counted < total * total).any():
        yield f"stats/{name} holds sums that no pixels have"
