"""Reads and writes safetensors files without a second copy of the model in memory."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors
from flax_lite.files.mapping import map_file
from flax_lite.files.strict_json import MAX_BYTES, parse_json

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_CODES = {name: code for code, name in _DTYPES.items()}


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], str | None]:
    """Returns the tensors of a file by name, and the format in its metadata ("pt", "flax", ...) or None.

    The file is mapped, and the values are views of it, read when they are used.

    Raises:
        ValueError: if it is not a complete safetensors file.
    """
    data = map_file(path)
    try:
        header, start = _read_header(data)
        # The library checks lengths, offsets, overlaps and coverage against the size of the file.
        with safetensors.safe_open(path, framework="numpy"):
            pass
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error
    metadata = header.pop("__metadata__", None) or {}
    return {name: _stored(entry, data, start) for name, entry in header.items()}, metadata.get("format")


def _read_header(data: np.ndarray) -> tuple[dict[str, Any], int]:
    """Returns the header and the offset of the values.

    Stricter than the library, which accepts headers of up to 100 MB, and duplicate names (the last one counts).
    """
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > MAX_BYTES:
        raise ValueError(f"its header has {length} bytes, expected at most {MAX_BYTES}")
    return parse_json(data[8 : 8 + length].tobytes()), 8 + length


def _stored(entry: Mapping[str, Any], data: np.ndarray, start: int) -> StoredTensor:
    shape, code = tuple(entry["shape"]), str(entry["dtype"])
    dtype = _DTYPES.get(code, code)
    begin, end = entry["data_offsets"]
    return StoredTensor(shape, dtype, lambda: data[start + begin : start + end].view(dtype).reshape(shape))


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes a file with one tensor in memory at a time.

    Not safetensors.numpy.save_file: it needs all tensors contiguous at once, which for transposed kernels is a second
    copy of the model.
    """
    # The format allows no gaps; with the widest dtypes first every tensor is aligned.
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
