"""A step compiled ahead for each shape of batch that comes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

Batch = Mapping[str, jax.Array]


class ByShape:
    """Calls a step of (first, batch, *constants), compiled once for each shape of batch, when it first comes.

    Args:
      compile_step: (first, batch, *constants), abstract or not, to the compiled step.
      first: shapes and shardings of what stands before the batch: a train state, or parameters.
      constants: what stands behind it.
    """

    def __init__(self, compile_step: Callable[..., Callable[..., Any]], first: Any, constants: tuple[Any, ...]) -> None:
        self._compile_step, self._first, self._constants = compile_step, first, constants
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def compile(self, batch: Batch) -> Callable[..., Any]:
        """The step for batches of this shape."""
        key = tuple(sorted((name, array.shape, str(array.dtype)) for name, array in batch.items()))
        if key not in self._compiled:
            self._compiled[key] = self._compile_step(self._first, batch, *self._constants)
        return self._compiled[key]

    def __call__(self, first: Any, batch: Batch) -> Any:
        """Takes the step."""
        return self.compile(batch)(first, batch, *self._constants)
