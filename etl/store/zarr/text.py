"""Text in a Zarr store: each array twice, as strings and as bytes, so that every reader of Zarr finds one it can read.

`patch` has the data type `string`, of variable length; `utf8/patch` has uint8 and one more axis, of the length of the
longest text: UTF-8, padded with zeros. This package reads the bytes. Stores of version 0.2 and before have neither, but
`null_terminated_bytes`, which zarr-python alone reads.

Source: Zarr extensions, data type `string` and codec `vlen-utf8`; Zarr version 3 specification, core data types.
"""

from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import DataSet

__all__ = ["UTF8", "TextArray", "as_strings", "as_utf8", "utf8_twin"]

UTF8 = "utf8/"
"""Group of the arrays of bytes, each by the name of its array of strings."""


@dataclass(frozen=True, slots=True)
class TextArray:
    """An array of text as this package sees it: dtype bytes, whatever lies on the disk."""

    strings: Any
    """The array of strings, open in zarr-python: for its shape, dimensions and attributes."""

    utf8: Any
    """The array of bytes, open in zarr-python: for its values."""

    shards = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return tuple(self.strings.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Null-padded bytes, of the length of the longest text."""
        return np.dtype(f"S{self.utf8.shape[-1]}")

    @property
    def attrs(self) -> Any:
        """Attributes of the array of strings."""
        return self.strings.attrs

    @property
    def metadata(self) -> Any:
        """Metadata of the array of strings."""
        return self.strings.metadata

    def __getitem__(self, whole: EllipsisType) -> npt.NDArray[np.bytes_]:
        """All values, in the array's own shape."""
        return np.ascontiguousarray(self.utf8[whole]).view(self.dtype)[..., 0]


def utf8_twin(item: DataSet) -> DataSet:
    """The array of bytes beside an array of text, whose dtype is bytes."""
    length, name = np.dtype(item.dtype).itemsize, item.name.rpartition("/")[2]
    attributes: dict[str, object] = {"long_name": f"{item.name} as UTF-8, padded with zeros"}
    return DataSet(UTF8 + item.name, (*item.dims, f"{name}_byte"), (*item.shape, length), "|u1", attributes)


def as_utf8(values: npt.NDArray[np.bytes_], length: int) -> npt.NDArray[np.uint8]:
    """Text of dtype bytes as uint8, with one more axis of `length`."""
    return values.astype(f"S{length}", order="C").view(np.uint8).reshape(*values.shape, length)


def as_strings(values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.object_]:
    """Text of dtype bytes as Python strings; bytes that are not UTF-8 are replaced."""
    out = np.empty(values.size, object)
    out[:] = [value.decode(errors="replace") for value in values.ravel().tolist()]
    return out.reshape(values.shape)
