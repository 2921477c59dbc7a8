"""Runs a model over rows, for scores and predictions outside of training."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from train.tasks.rows import RowSet


def run_rows(
    step: Callable[..., dict[str, jax.Array]], params: Any, rows: RowSet, tokens: int
) -> list[dict[str, np.ndarray]]:
    """What an evaluation step keeps of each batch, on the default device.

    Args:
        step: (params, batch) -> arrays, jitted here: compiled once for each length.
        params: of the model.
        rows: every one of them is read once.
        tokens: in a batch, padding included.
    """
    jitted = jax.jit(step)
    return [jax.device_get(jitted(params, batch)) for batch in rows.all_batches(tokens)]
