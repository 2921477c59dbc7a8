"""Tests of the msgpack reader and writer, against flax.serialization and against broken files."""

import struct
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from flax import serialization, traverse_util

from flax_lite.checkpoints.formats import msgpack_file
from flax_lite.checkpoints.formats.msgpack_file import read_msgpack, write_msgpack
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor

TREE: dict[str, Any] = {
    "encoder": {"layer": {"0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}},
    "half": np.array([1.5, np.nan, np.inf], np.float16),
    "brain": np.array([[1.5], [2.5]], jnp.bfloat16),
    "double": np.array(3.0, np.float64),
    "empty": np.zeros((0, 4), np.float32),
    "long": np.arange(100_000, dtype=np.float32),
}
FLAT = traverse_util.flatten_dict(TREE, sep=".")


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor(array.shape, array.dtype.name, lambda: array)


def assert_identical(expected: np.ndarray, actual: np.ndarray) -> None:
    assert expected.dtype == actual.dtype
    assert expected.shape == actual.shape
    assert expected.tobytes() == actual.tobytes()


@pytest.fixture(params=["whole", "chunked"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores arrays whole, or splits every array above 7 bytes as Flax splits those above 1 GiB."""
    if request.param == "chunked":
        monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 7)
        monkeypatch.setattr(msgpack_file, "_CHUNK_BYTES", 7)


@pytest.mark.usefixtures("chunks")
def test_files_of_flax_are_read(tmp_path: Path) -> None:
    tree = {**TREE, "long": np.arange(100, dtype=np.float32)}
    (tmp_path / "file").write_bytes(serialization.to_bytes(tree))
    tensors = read_msgpack(tmp_path / "file")
    flat = traverse_util.flatten_dict(tree, sep=".")
    assert list(tensors) == list(flat)
    for name, array in flat.items():
        assert (tensors[name].shape, tensors[name].dtype) == (array.shape, array.dtype.name)
        assert_identical(array, tensors[name].read())


@pytest.mark.usefixtures("chunks")
def test_flax_reads_written_files(tmp_path: Path) -> None:
    flat = {**FLAT, "long": np.arange(100, dtype=np.float32)}
    write_msgpack(tmp_path / "file", {name: stored(array) for name, array in flat.items()})
    restored = serialization.msgpack_restore((tmp_path / "file").read_bytes())
    restored = traverse_util.flatten_dict(restored, sep=".")
    assert restored.keys() == flat.keys()
    for name, array in flat.items():
        assert_identical(array, restored[name])


def test_transposed_values_are_written_in_c_order(tmp_path: Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_msgpack(tmp_path / "file", {"kernel": stored(kernel.T)})
    assert_identical(np.ascontiguousarray(kernel.T), read_msgpack(tmp_path / "file")["kernel"].read())


def test_values_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    write_msgpack(tmp_path / "file", {"long": stored(FLAT["long"])})
    values = read_msgpack(tmp_path / "file")["long"].read()
    assert isinstance(values.base, np.memmap)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = serialization.to_bytes({"a": {"kernel": np.ones((2, 2), np.float32)}, "b": np.ones(1, np.float16)})
    for length in range(len(content)):
        (tmp_path / "file").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"empty|not a complete msgpack file"):
            read_msgpack(tmp_path / "file")


def packed(value: Any) -> bytes:
    return msgpack.packb(value)


def array(shape: Any, dtype: Any, values: Any, kind: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(kind, packed((shape, dtype, values)))


NESTED: dict[str, Any] = {}
for _ in range(40):
    NESTED = {"a": NESTED}
CHUNKED = "__msgpack_chunked_array__"
ONE = array((1,), "float32", bytes(4))
BROKEN = {
    "trailing bytes": (packed({"a": ONE}) + b"\0", "1 bytes follow"),
    "not a dictionary": (packed(ONE), "start with a dictionary"),
    "a number": (packed({"a": 3}), "a is 3"),
    "a list": (packed({"a": [1]}), "byte 0x91"),
    "numbered keys": (packed({1: ONE}), "a key is 1"),
    "duplicate key": (b"\x82" + 2 * (packed("a") + packed(ONE)), "'a' occurs twice"),
    "duplicate name": (packed({"a.b": ONE, "a": {"b": ONE}}), "a.b occurs twice"),
    "absurd key": (packed({"a" * 1025: ONE}), "a text at 4 has 1025 bytes"),
    "too many numbers": (packed({str(number): 0 for number in range(2**16)}), "more than 131072 values"),
    "too few values": (packed({"a": array((3,), "float32", bytes(8))}), r"shape \[3\] and float32 has 8 bytes"),
    "absurd shape": (packed({"a": array((2**40, 2**40), "float32", bytes(8))}), "has 8 bytes"),
    "negative size": (packed({"a": array((-1,), "float32", bytes(4))}), "byte 0xff"),
    "true as size": (packed({"a": array((True,), "float32", bytes(4))}), "has shape"),
    "no dtype": (packed({"a": array((1,), 4, bytes(4))}), "dtype 4"),
    "text as values": (packed({"a": array((1,), "float32", "abcd")}), "at the start of an array's values"),
    "no array": (packed({"a": msgpack.ExtType(1, packed([1]))}), "does not consist of shape"),
    "no shape": (packed({"a": array(1, "float32", bytes(4))}), "no shape"),
    "complex number": (packed({"a": msgpack.ExtType(2, packed((1.0, 2.0)))}), "extension type 2"),
    "wrong length": (
        b"\x81\xa1a" + struct.pack(">BBb", 0xC7, 99, 1) + packed(((1,), "float32", bytes(4))),
        "an array ends at 23, expected 105",
    ),
    "nested too deep": (packed(NESTED), "nested more than"),
    "absurd dictionary": (b"\xdf\xff\xff\xff\xff", "beyond the end of the file"),
    "bad text": (b"\x81\xa1\xff" + packed(ONE), "utf-8"),
    "chunks of two dtypes": (
        packed({"a": {CHUNKED: True, "shape": {"0": 2}, "chunks": {"0": ONE, "1": array((1,), "float16", bytes(2))}}}),
        "one dtype",
    ),
    "too few chunks": (packed({"a": {CHUNKED: True, "shape": {"0": 2}, "chunks": {"0": ONE}}}), "do not add up"),
    "chunks not numbered": (packed({"a": {CHUNKED: True, "shape": {"0": 1}, "chunks": {"1": ONE}}}), "not numbered"),
    "no chunks": (packed({"a": {CHUNKED: True, "shape": {"0": 1}}}), "not numbered"),
    "a number as chunk": (packed({"a": {CHUNKED: True, "shape": {"0": 1}, "chunks": {"0": ONE, "1": 1}}}), "one dtype"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused(name: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_msgpack(tmp_path / "file")


def test_unknown_dtype_is_left_to_the_reader(tmp_path: Path) -> None:
    """The dtype is checked where the tensor is used, because the tensor may be skipped."""
    (tmp_path / "file").write_bytes(packed({"a": array((2,), "int64", bytes(16))}))
    tensor = read_msgpack(tmp_path / "file")["a"]
    assert (tensor.shape, tensor.dtype) == ((2,), "int64")
    assert tensor.dtype not in FLOATS
