"""Tensors in a file, with shape and dtype known before the values are read."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

# The dtypes that a stored parameter may have; JAX registers bfloat16 with NumPy.
FLOATS = {name: np.dtype(getattr(jnp, name)) for name in ("float16", "bfloat16", "float32", "float64")}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor that can be read.

    Attributes:
        shape: sizes of the axes.
        dtype: NumPy's name; the file format's name for a dtype not in `FLOATS`.
        read: returns the values, which may be a view of the mapped file.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    @property
    def num_bytes(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * FLOATS[self.dtype].itemsize

    def contiguous_bytes(self) -> np.ndarray:
        """Returns the values in C order, as bytes.

        Raises:
            ValueError: if `read` returns another shape or dtype than declared.
        """
        values = np.ascontiguousarray(self.read()).reshape(self.shape)
        if values.dtype.name != self.dtype:
            raise ValueError(f"a tensor of {values.dtype.name} was declared as {self.dtype}")
        return values.reshape(-1).view(np.uint8)


Tensors = Mapping[str, StoredTensor]
