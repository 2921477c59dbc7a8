"""Tests of the messages about directories without supported weights."""

import json

import pytest

from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.checkpoints.sources.foreign import foreign_weights
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import saved

PICKLE = "is a pickle, which can run arbitrary code and is never opened: ask its author for safetensors, or convert it"
WEIGHTS = {
    "nothing": ([], ""),
    "PyTorch's": (["pytorch_model.bin"], f"pytorch_model.bin {PICKLE}"),
    "PyTorch's shards": (
        [*(f"pytorch_model-{number:05d}-of-00012.bin" for number in range(1, 13)), "pytorch_model.bin.index.json"],
        "pytorch_model-00001-of-00012.bin, .*, pytorch_model-00010-of-00012.bin and 2 more is a pickle",
    ),
    "of a training script": (["best.pt", "last.ckpt", "model.pth"], f"best.pt, last.ckpt, model.pth {PICKLE}"),
    "of pickle": (["model.pkl"], f"model.pkl {PICKLE}"),
    "rust-bert's": (["rust_model.ot"], "rust_model.ot is rust-bert's archive of libtorch, .* never opened: ask"),
    "TensorFlow's": (
        ["tf_model.h5"],
        "tf_model.h5 is in the format of Keras .*: load it with transformers 4 .from_tf=True.",
    ),
    "ONNX": (["model.onnx"], "model.onnx is an exported program, .*: use the model that it was exported from"),
    "OpenVINO": (["openvino_model.bin", "openvino_model.xml"], "openvino_model.xml is an exported program"),
    "llama.cpp's": (["bert.Q8_0.gguf"], "bert.Q8_0.gguf is quantized for llama.cpp"),
    "NumPy's": (["weights.npz"], "weights.npz is in NumPy's format"),
    "another name": (["pytorch_model.safetensors"], "pytorch_model.safetensors is not named like.*: rename it"),
    "a variant": (["model.fp16.safetensors"], "model.fp16.safetensors is not named like"),
    "a lone shard": (
        ["model-00001-of-00002.safetensors"],
        "00001-of-00002.safetensors is a shard, but its index model.safetensors.index.json does not exist",
    ),
    "a lone shard of Flax": (
        ["flax_model-00002-of-00002.msgpack"],
        "but its index flax_model.msgpack.index.json does not",
    ),
    "several": (
        ["pytorch_model.bin", "tf_model.h5", "model.onnx"],
        "bin is a pickle.*; tf_model.h5 is.*; model.onnx is",
    ),
    "the state of a run": (["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt"], ""),
    "other things": (["README.md", "vocab.txt", "tokenizer.json"], ""),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_other_weights_are_named_with_what_to_do(name, tmp_path):
    names, message = WEIGHTS[name]
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    (tmp_path / "model" / "model.safetensors").unlink()
    for each in names:
        (tmp_path / "model" / each).write_text("x")
    expected = "has neither model.safetensors nor flax_model.msgpack" + (f"; .*{message}" if message else "$")
    with pytest.raises(ValueError, match=expected):
        open_directory(tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ValueError, match=f"has no config.json: .*unknown{f'; .*{message}' if message else '$'}"):
        open_directory(tmp_path / "model")
    assert foreign_weights([]) == ""


def test_models_in_subdirectories_are_named(tmp_path):
    for step in (500, 1000):
        saved(tmp_path / "run" / f"checkpoint-{step}", "MaskedLM", tiny.bert())
    (tmp_path / "run" / "1_Pooling").mkdir()
    (tmp_path / "run" / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"; there is a model in checkpoint-1000, checkpoint-500: give that directory$"
    ):
        open_directory(tmp_path / "run")


ADAPTERS = {
    "without a base": ({}, "is an adapter .PEFT, LoRA., .*weights to add, not a model"),
    "of a base": (
        {"base_model_name_or_path": "bert-base-uncased"},
        "weights to add to 'bert-base-uncased', not a model",
    ),
    "with a list for a base": ({"base_model_name_or_path": [1]}, "weights to add, not a model"),
    "no JSON": ("{", "weights to add, not a model"),
}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_is_refused(name, merged, tmp_path):
    """If the directory has weights too, transformers ignores them and reads base model and adapter."""
    content, message = ADAPTERS[name]
    (tmp_path / "model").mkdir()
    if merged:
        saved(tmp_path / "model", "MaskedLM", tiny.bert())
    (tmp_path / "model" / "adapter_config.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    (tmp_path / "model" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"{message}.*merge_and_unload.*remove adapter_config.json"):
        open_directory(tmp_path / "model")
