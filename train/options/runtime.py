"""How a job's `execution` options reach the library and JAX."""

import os
from typing import TYPE_CHECKING

from train.options.schema import Values, group

if TYPE_CHECKING:
    from flax_lite.layers.execution import Execution


def execution(values: Values) -> "Execution":
    """Returns the library's execution config; its `auto` values are resolved on the device."""
    from flax_lite.layers.execution import Execution

    return Execution(**group(values, "execution"))


def settle_runtime(values: Values) -> None:
    """Sets what JAX reads only once, so it has to be called before the first computation.

    A CPU program then runs in the calling thread, where `train.machine.host_memory` can keep freed memory.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    flags = execution(values).xla_flags()
    missing = [flag for flag in flags if flag not in os.environ.get("XLA_FLAGS", "")]
    if missing:
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *missing]).strip()
