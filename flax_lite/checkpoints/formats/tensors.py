"""A tensor in a file: its shape and dtype are known before its values are read."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

# The dtypes a parameter may have in a file; NumPy knows bfloat16 by way of JAX.
FLOATS = {name: np.dtype(getattr(jnp, name)) for name in ("float16", "bfloat16", "float32", "float64")}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor that can be read.

    Attributes:
        shape: its axes.
        dtype: NumPy's name, or the file format's own where it is not one of `FLOATS`.
        read: gives the values; they may be a view of the file.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    @property
    def num_bytes(self) -> int:
        """Size of the values."""
        return math.prod(self.shape) * FLOATS[self.dtype].itemsize

    def contiguous_bytes(self) -> np.ndarray:
        """The values in C order, as bytes.

        Raises:
            ValueError: if what `read` gives has another shape or dtype.
        """
        values = np.ascontiguousarray(self.read()).reshape(self.shape)
        if values.dtype.name != self.dtype:
            raise ValueError(f"a tensor of {values.dtype.name} was announced as {self.dtype}")
        return values.reshape(-1).view(np.uint8)


Tensors = Mapping[str, StoredTensor]
