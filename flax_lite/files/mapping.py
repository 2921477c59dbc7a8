"""Large files mapped into memory; apart from flax_lite/files/reading.py, for that needs no NumPy."""

import os

import numpy as np

from flax_lite.files.reading import one_error, open_file


def map_file(path: str | os.PathLike[str]) -> np.ndarray:
    """A file's bytes, mapped: what is not used is not read. A link may lead anywhere, for values are all it can give.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it cannot be mapped, or as `flax_lite.files.reading.open_file`.
    """
    with open_file(path, links_out=True) as file, one_error(path):
        # An empty file cannot be mapped.
        return np.memmap(file, np.uint8, "r") if os.fstat(file.fileno()).st_size else np.empty(0, np.uint8)
