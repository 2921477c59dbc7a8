"""Reads TensorFlow's checkpoints ("tensor bundles", format V2) without TensorFlow.

TensorFlow is no dependency, and nothing else here needs it.
`PREFIX.index` is a table: the empty key has the header, the name of each variable the position of its values.
`PREFIX.data-00000-of-00001` and so on hold the values, one tensor after the other.

Field numbers: tensor_bundle.proto in tensorflow/core/protobuf; tensor_shape.proto, versions.proto and types.proto in
tensorflow/core/framework.
"""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from flax_lite.checkpoints.formats.crc32c import masked_crc32c
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor
from flax_lite.checkpoints.formats.tf_table import read_table
from flax_lite.files import protobuf
from flax_lite.files.mapping import map_file
from flax_lite.files.reading import is_there, read_bytes

INDEX = ".index"
_HEADER_SHARDS, _HEADER_ENDIANNESS, _HEADER_VERSION = 1, 2, 3
_VERSION_MIN_CONSUMER = 2
_ENTRY_DTYPE, _ENTRY_SHAPE, _ENTRY_SHARD, _ENTRY_OFFSET, _ENTRY_SIZE, _ENTRY_CRC, _ENTRY_SLICES = range(1, 8)
_SHAPE_DIMENSION, _SHAPE_UNKNOWN_RANK, _DIMENSION_SIZE = 2, 3, 1
# DataType in types.proto. No parameter has another dtype: such variables (7 is string) are listed, but not read.
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool", 14: "bfloat16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
# kTensorBundleVersion in tensorflow/core/util/tensor_bundle/tensor_bundle.h.
_VERSION = 1
# TensorFlow's own limit is 254 axes, NumPy's 64; a model's parameters have two.
_MAX_AXES = 8
_MAX_INDEX_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Dtype, shape and position of the values of a variable."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc: int


def read_bundle(prefix: Path) -> dict[str, StoredTensor]:
    """Returns the tensors of a checkpoint by name, with slashes between the parts.

    Shards are mapped. Values are compared with their checksum whenever they are read.

    Args:
        prefix: path of the checkpoint without `.index`, as TensorFlow takes it.

    Raises:
        ValueError: if a file is missing, truncated or damaged. `StoredTensor.read` raises it if the values are damaged
            or have a dtype that no parameter has.
    """
    index = Path(f"{prefix}{INDEX}")
    if not is_there(index):
        raise ValueError(f"{index} does not exist; expected a TensorFlow checkpoint, PREFIX.index and PREFIX.data-*")
    data = read_bytes(index, _MAX_INDEX_BYTES)
    try:
        num_shards, entries = _read_index(memoryview(data))
    except ValueError as error:
        raise ValueError(f"{index} is not a complete TensorFlow index: {error}") from error
    shards = {shard: _map_shard(prefix, shard, num_shards) for shard in sorted({entry.shard for entry in entries})}
    for shard, (path, values) in shards.items():
        _check_positions(path, len(values), [entry for entry in entries if entry.shard == shard])
    return {entry.name: _stored(entry, *shards[entry.shard]) for entry in entries}


def _read_index(data: memoryview) -> tuple[int, list[_Entry]]:
    """Returns the number of shards, and the entries."""
    table = iter(read_table(data))
    key, value = next(table, (None, memoryview(b"")))
    if key != b"":
        raise ValueError("it has no header, so it is another kind of table")
    header = dict(protobuf.fields(value))
    if protobuf.integer(header.get(_HEADER_ENDIANNESS, 0), "byte order") != 0:
        raise ValueError("its values are big-endian; only little-endian checkpoints are read")
    version = dict(protobuf.fields(protobuf.message(header.get(_HEADER_VERSION, memoryview(b"")), "version")))
    needed = protobuf.integer(version.get(_VERSION_MIN_CONSUMER, 0), "version")
    if needed > _VERSION:
        raise ValueError(f"it needs a reader of version {needed}, this one has {_VERSION}")
    num_shards = protobuf.integer(header.get(_HEADER_SHARDS, 0), "number of shards")
    return num_shards, [_entry(_name(key), value, num_shards) for key, value in table]


def _name(key: bytes) -> str:
    # First byte of the keys of slices (tensorflow/core/util/saved_tensor_slice_util.cc, EncodeTensorNameSlice).
    if key.startswith(b"\0"):
        raise ValueError("it holds variables in slices (partitioned variables), which are not supported")
    return str(key, "utf-8")


def _entry(name: str, value: memoryview, num_shards: int) -> _Entry:
    fields = dict(protobuf.fields(value))
    if _ENTRY_SLICES in fields:
        raise ValueError(f"{name} is stored in slices (a partitioned variable), which are not supported")
    numbers = {
        field: protobuf.integer(fields.get(field, 0), f"{what} of {name}")
        for field, what in (
            (_ENTRY_DTYPE, "dtype"),
            (_ENTRY_SHARD, "shard"),
            (_ENTRY_OFFSET, "offset"),
            (_ENTRY_SIZE, "size"),
        )
    }
    shape = _shape(name, protobuf.message(fields.get(_ENTRY_SHAPE, memoryview(b"")), f"shape of {name}"))
    code, size = numbers[_ENTRY_DTYPE], numbers[_ENTRY_SIZE]
    dtype = _DTYPES.get(code, f"of TensorFlow's type {code}")
    if code in _DTYPES and math.prod(shape) * _itemsize(dtype) != size:
        raise ValueError(f"{name} has shape {list(shape)} and {dtype}, but {size} bytes")
    if numbers[_ENTRY_SHARD] >= num_shards:
        raise ValueError(f"{name} is in shard {numbers[_ENTRY_SHARD]} of {num_shards}, counted from 0")
    crc = protobuf.message(fields.get(_ENTRY_CRC, memoryview(b"")), f"checksum of {name}")
    shard, offset = numbers[_ENTRY_SHARD], numbers[_ENTRY_OFFSET]
    return _Entry(name, dtype, shape, shard, offset, size, int.from_bytes(crc, "little"))


def _shape(name: str, value: memoryview) -> tuple[int, ...]:
    sizes = []
    for number, field in protobuf.fields(value):
        if number == _SHAPE_UNKNOWN_RANK and field:
            raise ValueError(f"{name} has no shape")
        if number == _SHAPE_DIMENSION:
            dimension = dict(protobuf.fields(protobuf.message(field, f"shape of {name}")))
            sizes.append(protobuf.integer(dimension.get(_DIMENSION_SIZE, 0), f"shape of {name}"))
        if len(sizes) > _MAX_AXES or (sizes and sizes[-1] >= 2**63):
            raise ValueError(f"{name} has a negative size, or more than {_MAX_AXES} axes")
    return tuple(sizes)


def _itemsize(dtype: str) -> int:
    return (FLOATS[dtype] if dtype in FLOATS else np.dtype(dtype)).itemsize


def _map_shard(prefix: Path, shard: int, num_shards: int) -> tuple[Path, np.ndarray]:
    path = Path(f"{prefix}.data-{shard:05d}-of-{num_shards:05d}")
    if not is_there(path):
        raise ValueError(
            f"{path} does not exist, but {prefix}{INDEX} has tensors in it; copy it to the directory of the index"
        )
    return path, np.asarray(map_file(path))


def _check_positions(path: Path, num_bytes: int, entries: Iterable[_Entry]) -> None:
    """Raises ValueError if tensors overlap, or reach beyond the end of their shard."""
    previous = None
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.size)):
        if entry.offset + entry.size > num_bytes:
            raise ValueError(
                f"{path} has {num_bytes} bytes, but {entry.name} starts at {entry.offset} and has {entry.size}: "
                "truncated, or not the shard that belongs to the index"
            )
        if previous is not None and entry.offset < previous.offset + previous.size:
            raise ValueError(f"{path}: {previous.name} and {entry.name} overlap: the index is damaged")
        previous = entry


def _stored(entry: _Entry, path: Path, shard: np.ndarray) -> StoredTensor:
    values = shard[entry.offset : entry.offset + entry.size]

    def read() -> np.ndarray:
        if entry.dtype not in FLOATS:
            raise ValueError(f"{entry.name} in {path} is {entry.dtype}, expected one of {', '.join(FLOATS)}")
        if masked_crc32c(values) != entry.masked_crc:
            raise ValueError(f"{path}: the values of {entry.name} do not match their checksum: damaged, copy it again")
        return values.view(FLOATS[entry.dtype]).reshape(entry.shape)

    return StoredTensor(entry.shape, entry.dtype, read)
