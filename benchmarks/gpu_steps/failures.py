"""Why a worker has no numbers. Imports nothing that an environment of PyTorch alone would not have."""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

FAILED = "failed"
# JAX's status and PyTorch's class.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError")


def guarded(function: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the function returns, or under FAILED a line that says why it returned nothing."""
    try:
        return function()
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        ended = any(name in said for name in _OUT_OF_MEMORY)
        return {FAILED: "out of memory" if ended else said.splitlines()[0]}
