"""Memory of the devices, as their runtime counts it."""

from collections.abc import Iterable
from typing import Any

import jax


def peak_bytes(devices: Iterable[Any] | None = None) -> int | None:
    """The most bytes that one of these devices has held since the process began; None where none of them counts.

    Args:
      devices: this process's own if None. CPUs keep no such count.
    """
    chosen = jax.local_devices() if devices is None else devices
    counts = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in chosen]
    return max((count for count in counts if count is not None), default=None)
