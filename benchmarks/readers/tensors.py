"""What a tensor of TensorFlow holds, looked at where it lies: `Tensor.numpy()` would copy it."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["looked_at"]


def looked_at(tensor: Any) -> npt.NDArray[np.uint16]:
    """The memory of an eager tensor as an array; not to be written to."""
    return np.asarray(memoryview(tensor))
