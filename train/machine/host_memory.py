"""Memory of the host between steps: kept by the process, not given back to the system and asked for again."""

import ctypes
import platform

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Has the C library keep what is freed, for the calling thread's next allocation.

    XLA allocates a program's temporaries at each of its runs. Large blocks come from the system page by page and go
    back to it: 498,000 page faults in a step of BERT-base (8 x 128, 1.9 GB of temporaries, two cores), a fifth of its
    2.4 s. Blocks that other threads allocate still do, so a computation has to run in the thread that asks for it:
    `jax_cpu_enable_async_dispatch` off.

    Returns:
        Whether the C library took the setting; only glibc has it.
    """
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return mallopt(_MMAP_MAX, 0) == 1 and mallopt(_TRIM_THRESHOLD, -1) == 1


def give_back_freed_memory() -> None:
    """Gives what is kept to the system, once: between works that have little in common."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
