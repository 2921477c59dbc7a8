"""Tests of broken and malicious model directories: each is one ValueError, uses little memory, and writes nothing."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as library

from flax_lite.checkpoints.formats.msgpack_file import write_msgpack
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor
from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import MaskedLM, SequenceClassification
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import edit, edit_config, flat, saved

KERNEL = "bert.encoder.layer.1.attention.self.query.weight"
MEGABYTE = 2**20


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A BERT masked LM as safetensors."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    return tmp_path / "model"


def refusal(directory: Path, model: Any = MaskedLM, **options: Any) -> str:
    """Returns the error message; checks that no file has changed."""
    before = {file: file.lstat().st_mtime_ns for file in directory.parent.rglob("*")}
    with pytest.raises(ValueError, match=directory.name) as caught:
        model.from_pretrained(directory, **options)
    assert {file: file.lstat().st_mtime_ns for file in directory.parent.rglob("*")} == before
    return str(caught.value)


def frugal_refusal(directory: Path, model: Any = MaskedLM) -> str:
    """Returns the error message; checks that at most 64 MB are used."""
    tracemalloc.start()
    try:
        message = refusal(directory, model)
        assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
    finally:
        tracemalloc.stop()
    return message


def with_value(value: float, dtype: str = "float32") -> Any:
    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = {name: array.astype(FLOATS[dtype]) for name, array in arrays.items()}
        arrays[KERNEL][2, 3:5] = value
        return arrays

    return change


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float16"), (np.inf, "bfloat16"), (-np.inf, "float32"), (np.nan, "float64")]
)
def test_values_that_are_not_finite_are_an_error_that_names_the_tensor(
    value: float, dtype: str, model_directory: Path
) -> None:
    edit(model_directory, with_value(value, dtype))
    message = refusal(model_directory)
    assert f"1 with values that are NaN or infinite:\n  {KERNEL}: 2 of 144 values are NaN or infinite\n" in message
    assert "ignore and allow_missing" in message


def test_damaged_tensor_can_be_ignored(model_directory: Path) -> None:
    edit(model_directory, with_value(np.nan))
    model = MaskedLM.from_pretrained(
        model_directory, ignore=(KERNEL,), allow_missing=("encoder/layers/1/attention/query/kernel",)
    )
    assert np.isfinite(np.asarray(flat(model)["encoder/layers/attention/query/kernel"])).all()


def test_every_tensor_of_a_diverged_run_is_listed(tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.albert(), format="flax")
    tensors = {
        name: StoredTensor(tensor.shape, "float32", lambda shape=tensor.shape: np.full(shape, np.nan, np.float32))
        for name, tensor in open_directory(tmp_path / "model").tensors.items()
    }
    write_msgpack(tmp_path / "model" / "flax_model.msgpack", tensors)
    assert f"{len(tensors)} with values that are NaN" in refusal(tmp_path / "model")


def test_signaling_nans_are_reported(tmp_path: Path) -> None:
    """Casting a signaling NaN raises a floating-point exception in NumPy, also when positions are compared."""
    saved(tmp_path / "model", "MaskedLM", tiny.distilbert(sinusoidal_positions=True))
    name = "distilbert.embeddings.position_embeddings.weight"
    signaling = np.full((16, 12), 0x7FA00000, np.uint32).view(np.float32)
    edit(tmp_path / "model", lambda arrays: {**arrays, name: signaling})
    assert f"{name}: 192 of 192 values are NaN" in refusal(tmp_path / "model", param_dtype=jnp.bfloat16)


def test_values_beyond_the_range_of_the_dtype_are_an_error(model_directory: Path) -> None:
    edit(model_directory, with_value(70000.0))
    assert f"{KERNEL}: 2 of 144 values are beyond the range of float16" in refusal(
        model_directory, param_dtype="float16"
    )
    MaskedLM.from_pretrained(model_directory, param_dtype="bfloat16")
    edit(model_directory, with_value(1e300, "float64"))
    assert f"{KERNEL}: 2 of 144 values are beyond the range of float32" in refusal(model_directory)
    assert ml_dtypes.finfo(ml_dtypes.bfloat16).max > 70000


CLAIMS: dict[str, dict[str, Any]] = {
    "a vocabulary of a terabyte": {"vocab_size": 2 * 10**9, "hidden_size": 120},
    "all sizes at their largest": {
        "vocab_size": 2**31 - 1,
        "hidden_size": 2**30,
        "num_attention_heads": 1,
        "intermediate_size": 2**31 - 1,
        "max_position_embeddings": 2**31 - 1,
    },
    "more layers than there are tensors": {"num_hidden_layers": 4096},
    "absurd number of labels": {"num_labels": 10**15},
    "absurd number of layers": {"num_hidden_layers": 10**15},
}


@pytest.mark.parametrize(
    ("claim", "file_format"),
    [*((claim, "safetensors") for claim in CLAIMS), ("all sizes at their largest", "flax")],
)
def test_config_that_claims_more_than_the_file_holds_is_refused_before_allocating(
    claim: str, file_format: str, tmp_path: Path
) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=file_format)
    edit_config(tmp_path / "model", **CLAIMS[claim])
    assert len(frugal_refusal(tmp_path / "model")) < 10_000


def test_size_of_a_new_head_is_bounded(tmp_path: Path) -> None:
    """The size of a head that is not in the file depends on config.json's number of labels only."""
    saved(tmp_path / "model", "Encoder", tiny.bert())
    edit_config(tmp_path / "model", num_labels=2**16)
    assert SequenceClassification.from_pretrained(tmp_path / "model").classifier.kernel.shape == (12, 2**16)
    edit_config(tmp_path / "model", num_labels=2**16 + 1)
    assert "num_labels=65537 must lie between" in frugal_refusal(tmp_path / "model", SequenceClassification)


def header_of(*entries: tuple[str, Any], metadata: Any = None) -> bytes:
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in entries)
    if metadata is not None:
        text = f'"__metadata__":{json.dumps(metadata)},{text}'
    return f"{{{text}}}".encode()


def tensor(start: int, end: int, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


HEADERS = {
    "overlapping": header_of(("a", tensor(0, 8)), ("b", tensor(4, 12))),
    "a gap": header_of(("a", tensor(0, 8)), ("b", tensor(12, 20))),
    "out of range": header_of(("a", tensor(8, 10**15, (10**15,)))),
    "beyond the end": header_of(("a", tensor(0, 64, (16,)))),
    "before the beginning": header_of(("a", tensor(8, 0))),
    "negative": header_of(("a", tensor(-8, 0))),
    "uncovered bytes": header_of(("a", tensor(0, 4, (1,)))),
    "too few bytes": header_of(("a", tensor(0, 16, (2**62, 2**62)))),
    "overflowing size": header_of(("a", tensor(0, 16, (2**63, 2**63, 4)))),
    "a negative size": header_of(("a", tensor(0, 16, (-4,)))),
    "fractions": header_of(("a", tensor(0, 16, (4.0,)))),
    "another dtype": header_of(("a", tensor(0, 16, (4,), "F31"))),
    "no dtype": header_of(("a", {"shape": [4], "data_offsets": [0, 16]})),
    "duplicate": header_of(("a", tensor(0, 16, (4,))), ("a", tensor(0, 16, (4,)))),
    "metadata that is no text": header_of(("a", tensor(0, 16, (4,))), metadata={"format": 3}),
    "deep metadata": header_of(("a", tensor(0, 16, (4,))), metadata=json.loads('{"a":' * 60 + "1" + "}" * 60)),
    "endless nesting": b'{"a":' * 10**5,
    "a list": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("name", HEADERS)
def test_broken_safetensors_are_refused(name: str, model_directory: Path) -> None:
    header = HEADERS[name]
    content = struct.pack("<Q", len(header)) + header + bytes(16)
    (model_directory / "model.safetensors").write_bytes(content)
    assert "model.safetensors is not a complete safetensors file" in frugal_refusal(model_directory)


@pytest.mark.parametrize("length", [2**24 + 1, 10**8, 2**63, 2**64 - 1])
def test_absurd_header_is_not_read(length: int, model_directory: Path) -> None:
    with (model_directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(10**9)
    assert f"its header has {length} bytes, expected at most" in frugal_refusal(model_directory)


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack"])
def test_pickle_under_another_name_is_refused(name: str, model_directory: Path) -> None:
    (model_directory / "model.safetensors").unlink()
    (model_directory / name).write_bytes(
        b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93."
    )
    assert f"{name} is not a complete" in frugal_refusal(model_directory)


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert "has no config.json" in frugal_refusal(tmp_path / "model")


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**6, '{"model_type": "bert", "x": ' + "[" * 999 + "]" * 999 + "}"]
)
def test_endless_nesting_is_refused(text: str, model_directory: Path) -> None:
    (model_directory / "config.json").write_text(text)
    assert "nested more than 64 deep" in frugal_refusal(model_directory)


def test_odd_tensor_names_are_unexpected(model_directory: Path) -> None:
    odd = {name: np.zeros(1, np.float32) for name in ("", ".", "..", "bert.", "../x", "a\nb", "__class__", "é" * 500)}
    edit(model_directory, lambda arrays: {**arrays, **odd})
    assert "8 in the file, but unknown to the model" in refusal(model_directory)


def test_unsupported_dtypes_are_refused_only_in_parameters(tmp_path: Path) -> None:
    saved(tmp_path / "model", "Encoder", tiny.bert())
    arrays = library.load_file(tmp_path / "model" / "model.safetensors")
    quantized = {name: array.astype(np.int8) for name, array in arrays.items()}
    library.save_file(
        {**arrays, "classifier.weight": np.zeros((2, 12), np.int8)}, tmp_path / "model" / "model.safetensors"
    )
    Encoder.from_pretrained(tmp_path / "model")
    library.save_file(quantized, tmp_path / "model" / "model.safetensors")
    assert f"{len(quantized)} not as expected" in refusal(tmp_path / "model", Encoder)
