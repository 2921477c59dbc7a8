"""Memory-mapped files; a module of its own, because flax_lite/files/reading.py is imported without NumPy."""

import os

import numpy as np

from flax_lite.files.reading import errors_as_value_error, open_file


def map_file(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the bytes of a file as a memory map: bytes that are not used are not read from disk.

    The file may be a link to any other file, because only numbers are read from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be mapped, or as `flax_lite.files.reading.open_file`.
    """
    with open_file(path, links_out=True) as file, errors_as_value_error(path):
        # An empty file cannot be mapped.
        return np.memmap(file, np.uint8, "r") if os.fstat(file.fileno()).st_size else np.empty(0, np.uint8)
