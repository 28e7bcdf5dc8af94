"""Digests of the arrays of a store other than pixels, by which damage of them is found.

They are written just before `complete`, and hold only where it is 1. Each array is divided along its first axis into 64
parts of nearly equal length, with a digest each, so that a damaged value makes only the rows of its part suspect.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from etl.schema import COMPLETE, DIGEST_PARTS, DIGESTS, DataSet
from etl.store.interface import Backend
from etl.store.reader import StoreReader

__all__ = [
    "array_digests",
    "from_copy",
    "has_right_copy",
    "mark_complete",
    "read_arrays",
    "rows_of_parts",
    "stored_digests",
    "wrong_parts",
]

_READ_BYTES = 64 << 20
"""Bytes of arrays that are in memory at once, unless one array has more."""


def array_digests(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """XXH3-64 of the bytes of each part of an array, shape (part,)."""
    parts = np.array_split(values, DIGEST_PARTS)
    return np.array([xxhash.xxh3_64_intdigest(part.tobytes()) for part in parts], np.uint64)


def rows_of_parts(parts: npt.NDArray[np.bool_], rows: int) -> npt.NDArray[np.bool_]:
    """Whether each of `rows` rows lies in one of `parts`, shape (part,): shape (row,)."""
    length, longer = divmod(rows, DIGEST_PARTS)
    return np.repeat(parts, [length + (part < longer) for part in range(DIGEST_PARTS)])


def read_arrays(store: StoreReader, items: Sequence[DataSet]) -> Iterator[tuple[str, npt.NDArray[Any] | None]]:
    """Arrays other than pixels by name, in the order of `items`, few in memory at once; None if one is damaged."""
    names: list[str] = []
    size = 0
    for item in items:
        names.append(item.name)
        size += int(np.prod(item.shape)) * np.dtype(item.dtype).itemsize
        if size >= _READ_BYTES or item is items[-1]:
            yield from _read_each(store, names)
            names, size = [], 0


def _read_each(store: StoreReader, names: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[Any] | None]]:
    try:
        yield from store.read_anew(names).items()
    except ValueError:
        if len(names) == 1:
            yield names[0], None
            return
        for name in names:
            yield from _read_each(store, [name])


def stored_digests(store: StoreReader) -> dict[str, npt.NDArray[np.uint64]]:
    """The digests that a store holds, shape (part,), by array; none if it has none, or they cannot be read.

    If all are 0, as in an empty store, it has none: in a bucket an array that is lost is created again.
    """
    if DIGESTS not in store:
        return {}
    try:
        digests = store.read_anew((DIGESTS,))[DIGESTS]
    except ValueError:
        return {}
    arrays = store.schema.digested[: len(digests)] if digests.any() else ()
    return {item.name: digests[k] for k, item in enumerate(arrays)}


def wrong_parts(store: StoreReader) -> dict[str, npt.NDArray[np.bool_]]:
    """Parts of arrays that are not what was written, shape (part,), by array; only arrays that are damaged are there.

    Of an array that cannot be read these are all. An array of text of which only the second copy is damaged has none.
    """
    digests, wrong = stored_digests(store), {}
    for name, values in read_arrays(store, store.schema.digested):
        parts = np.full(DIGEST_PARTS, values is None)
        if values is not None and name in digests:
            parts = array_digests(values) != digests[name]
        if parts.any() or not has_right_copy(store, name, values):
            wrong[name] = parts
    return wrong


def has_right_copy(store: StoreReader, name: str, values: npt.NDArray[Any] | None) -> bool:
    """Whether the second copy of an array of text, if the store has one, holds its `values`."""
    if values is None or values.dtype.kind != "S":
        return True
    try:
        strings = store.read_strings(name)
    except ValueError:
        return False
    return strings is None or strings == [value.decode(errors="replace") for value in values.ravel().tolist()]


def from_copy(store: StoreReader, name: str) -> npt.NDArray[Any] | None:
    """The values of an array of text from its second copy; None if there is none with the right digests."""
    item = next(item for item in store.schema.digested if item.name == name)
    try:
        strings = store.read_strings(name) or ()
    except ValueError:
        return None
    values, digests = np.array([text.encode() for text in strings], item.dtype), stored_digests(store).get(name)
    is_right = digests is not None and values.shape == item.shape and np.array_equal(array_digests(values), digests)
    return values if is_right else None


def mark_complete(store: Backend) -> None:
    """Write the digests of all arrays other than pixels, then set `complete`.

    Raises:
        ValueError: one of them cannot be read.
        OSError: the store cannot be written.
    """
    digests = []
    with store.reader() as reader:
        for name, values in read_arrays(reader, reader.schema.digested) if DIGESTS in reader else ():
            if values is None:
                raise ValueError(f"{name} of {store.location} must be whole, and cannot be read")
            digests.append(array_digests(values))
    if digests:
        store.overwrite({DIGESTS: np.stack(digests)})
    store.overwrite({COMPLETE.name: np.ones((), np.uint8)})
