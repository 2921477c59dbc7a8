"""From a job's options to how its model is computed, and to what JAX has to know before it starts."""

import os
from typing import TYPE_CHECKING

from train.options.schema import Values, group

if TYPE_CHECKING:
    from flax_lite.layers.execution import Execution


def execution(values: Values) -> "Execution":
    """How the model is computed; where an option leaves it open, the device decides."""
    from flax_lite.layers.execution import Execution

    options = group(values, "execution")
    unroll = options.pop("unroll", None)
    return Execution(**options, unroll="auto" if unroll is None else unroll)


def settle_runtime(values: Values) -> None:
    """Sets what only JAX's start can change; call it before the first computation.

    Programs of the CPU run in the thread that starts them, where memory can be kept (`train.machine.host_memory`).
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    flags = execution(values).xla_flags()
    missing = [flag for flag in flags if flag not in os.environ.get("XLA_FLAGS", "")]
    if missing:
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *missing]).strip()
