"""Reading and writing safetensors files."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from flax_lite.checkpoints.tensors import FLOATS, StoredTensor, Tensors

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_CODES = {name: code for code, name in _DTYPES.items()}


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], str | None]:
    """The tensors of a file, by name, and the format that its metadata names ("pt", "flax", ...), if any.

    Raises:
        ValueError: if it is not a whole safetensors file.
    """
    try:
        # The library checks the header against the size of the file: lengths, offsets, overlaps, coverage.
        file = safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (the handle is no mapping)
        header = file.get_slice(name)
        dtype = header.get_dtype()
        read = _reader(file, name)
        tensors[name] = StoredTensor(tuple(header.get_shape()), _DTYPES.get(str(dtype), str(dtype)), read)
    return tensors, (file.metadata() or {}).get("format")


def _reader(file: Any, name: str) -> Callable[[], np.ndarray]:
    return lambda: file.get_tensor(name)


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes a file, one tensor in memory at a time.

    The library's own writer wants all of them contiguous at once, which for transposed kernels is a second copy of the
    model.
    """
    # The format wants no gaps; wide dtypes first keep every tensor aligned.
    order = sorted(tensors, key=lambda name: (-FLOATS[tensors[name].dtype].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.num_bytes
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in order:
            file.write(tensors[name].contiguous_bytes().data)
