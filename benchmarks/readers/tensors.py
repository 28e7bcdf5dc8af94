"""Access to the memory of a TensorFlow tensor without the copy that `Tensor.numpy()` makes."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["tensor_memory"]


def tensor_memory(tensor: Any) -> npt.NDArray[np.uint16]:
    """The memory of an eager tensor as a uint16 array, which must not be changed."""
    return np.asarray(memoryview(tensor))
