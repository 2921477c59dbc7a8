"""The peak memory of a repeated computation: arrays and temporaries, without compiler and libraries."""

import gc
from collections.abc import Callable
from pathlib import Path

import jax

from train.machine.host_memory import give_back_freed_memory
from train.run.pace import peak_bytes

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5): resets the peak of the resident set to its present size
_RUNS = 2


def peak_memory(run: Callable[[], object]) -> int | None:
    """Returns the peak in bytes; None if the system does not report it.

    On accelerators it is their runtime's count since the process started. On a CPU it is the bytes of all arrays after
    a first run, which compiles, plus the rise of the resident set's peak (VmHWM) over its present size during two more
    runs. The compiler's remaining memory, half a GB, is in neither; memory that it freed goes back to the system first.
    """
    run()
    if (counted := peak_bytes()) is not None:
        run()
        return counted
    gc.collect()
    give_back_freed_memory()
    arrays = sum(array.nbytes for array in jax.live_arrays())
    before = _read("VmRSS")
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:
        return None
    for _ in range(_RUNS):
        run()
    peak = _read("VmHWM")
    return None if peak is None or before is None else arrays + max(0, peak - before)


def _read(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 if name in lines else None
