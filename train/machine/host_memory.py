"""Host memory between steps: whether the C library keeps freed blocks or returns them to the system."""

import ctypes
import platform

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory for the calling thread's next allocation.

    XLA allocates a program's temporaries each time the program runs. By default large blocks are mapped page by page
    and unmapped when freed: 498,000 page faults per step of BERT-base (8 x 128, 1.9 GB of temporaries, two cores), a
    fifth of its 2.4 s. The setting does not reach blocks that other threads allocate, so programs have to run in the
    calling thread: `jax_cpu_enable_async_dispatch` off.

    Returns:
        Whether the C library accepted the setting; only glibc has it.
    """
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return mallopt(_MMAP_MAX, 0) == 1 and mallopt(_TRIM_THRESHOLD, -1) == 1


def give_back_freed_memory() -> None:
    """Returns the kept memory to the system once, for use between unrelated workloads."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
