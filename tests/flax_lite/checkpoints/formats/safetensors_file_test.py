"""Tests of the safetensors reader and writer, against the safetensors library and against broken files."""

import json
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as library

from flax_lite.checkpoints.formats.safetensors_file import read_safetensors, write_safetensors
from flax_lite.checkpoints.formats.tensors import StoredTensor

ARRAYS = {
    "half": np.array([1.5, np.nan, np.inf], np.float16),
    "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "brain": np.array([[1.5], [2.5]], jnp.bfloat16),
    "double": np.array(3.0, np.float64),
    "empty": np.zeros((0, 4), np.float32),
}


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor(array.shape, array.dtype.name, lambda: array)


def assert_identical(expected: np.ndarray, actual: np.ndarray) -> None:
    assert (expected.dtype, expected.shape) == (actual.dtype, actual.shape)
    assert expected.tobytes() == actual.tobytes()


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    library.save_file(ARRAYS, tmp_path / "file", {"format": "pt"})
    tensors, file_format = read_safetensors(tmp_path / "file")
    assert file_format == "pt"
    assert tensors.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (tensors[name].shape, tensors[name].dtype) == (array.shape, array.dtype.name)
        assert_identical(array, tensors[name].read())


def test_library_reads_written_files(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", {name: stored(array) for name, array in ARRAYS.items()}, {"format": "pt"})
    restored = library.load_file(tmp_path / "file")
    assert restored.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert_identical(array, restored[name])
    assert read_safetensors(tmp_path / "file")[1] == "pt"


def test_tensors_are_aligned_and_transposed_values_written_in_c_order(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", {name: stored(array.T) for name, array in ARRAYS.items()}, {})
    content = (tmp_path / "file").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert (8 + length) % 8 == 0
    for name, array in ARRAYS.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0
    assert_identical(np.ascontiguousarray(ARRAYS["kernel"].T), library.load_file(tmp_path / "file")["kernel"])


def test_values_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    library.save_file(ARRAYS, tmp_path / "file")
    assert isinstance(read_safetensors(tmp_path / "file")[0]["kernel"].read().base, np.memmap)


def test_format_is_none_without_metadata(tmp_path: Path) -> None:
    library.save_file(ARRAYS, tmp_path / "file")
    assert read_safetensors(tmp_path / "file")[1] is None


def test_values_of_another_dtype_than_declared_are_refused(tmp_path: Path) -> None:
    wrong = StoredTensor((2,), "float16", lambda: np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="float32 was declared as float16"):
        write_safetensors(tmp_path / "file", {"wrong": wrong}, {})


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    library.save_file({"kernel": ARRAYS["kernel"]}, tmp_path / "whole", {"format": "pt"})
    content = (tmp_path / "whole").read_bytes()
    for length in range(len(content)):
        (tmp_path / "file").write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a complete safetensors file"):
            read_safetensors(tmp_path / "file")


@pytest.mark.parametrize("content", [b"\x80\x04}q\x00.", b"\xff" * 64])
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        read_safetensors(tmp_path / "file")


def test_unsupported_dtypes_keep_their_name_in_the_format(tmp_path: Path) -> None:
    library.save_file({"ids": np.arange(3)}, tmp_path / "file")
    assert read_safetensors(tmp_path / "file")[0]["ids"].dtype == "I64"
