"""Tests of model directories: which file is read, what is written, and what is said of one that cannot be read."""

import json
from pathlib import Path

import pytest

from flax_lite.checkpoints.sources.directory import open_directory
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import saved, tiny_model


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A masked LM in both formats."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=("safetensors", "flax"))
    return tmp_path / "model"


def test_safetensors_is_read_before_msgpack(model_directory: Path) -> None:
    checkpoint = open_directory(model_directory)
    assert (checkpoint.path.name, checkpoint.dialect.name) == ("model.safetensors", "torch")
    checkpoint.path.unlink()
    checkpoint = open_directory(str(model_directory))
    assert (checkpoint.path.name, checkpoint.dialect.name) == ("flax_model.msgpack", "flax")


def test_config_is_readable_and_names_the_class(model_directory: Path) -> None:
    values = json.loads((model_directory / "config.json").read_text())
    assert values["model_type"] == "bert"
    assert values["architectures"] == ["BertForMaskedLM"]
    assert values["hidden_size"] == 12


def test_writing_one_format_leaves_no_older_weights(model_directory: Path) -> None:
    """Older weights in the other format, or a sharded or pickled copy, would be read instead of the new ones."""
    for name in ("pytorch_model.bin", "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (model_directory / name).write_text("old")
    (model_directory / "tokenizer.json").write_text("{}")
    saved(model_directory, "MaskedLM", tiny.bert(), format="flax")
    assert {file.name for file in model_directory.iterdir()} == {"config.json", "flax_model.msgpack", "tokenizer.json"}


@pytest.mark.parametrize(
    ("wrong", "message"), [("torch", "format torch"), ((), "format is empty"), ("", "format is empty")]
)
def test_unknown_format_is_refused(wrong: str | tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{message}.*choose from safetensors, flax"):
        tiny_model("MaskedLM", tiny.bert()).save_pretrained(tmp_path / "model", format=wrong)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds neither model.safetensors nor flax_model.msgpack$"),
        (("pytorch_model.bin",), "pytorch_model.bin is a pickle.*never opened"),
        (("tf_model.h5",), "of what it holds, tf_model.h5 cannot be read"),
        (
            ("model-00001-of-00002.safetensors",),
            "model-00001-of-00002.safetensors is a shard, but model.safetensors.index",
        ),
        (("flax_model-00002-of-00002.msgpack",), "is a shard, but flax_model.msgpack.index.json, .*, is not there"),
    ],
)
def test_unreadable_weights_are_explained(names: tuple[str, ...], message: str, model_directory: Path) -> None:
    (model_directory / "model.safetensors").unlink()
    (model_directory / "flax_model.msgpack").unlink()
    for name in names:
        (model_directory / name).write_text("x")
    with pytest.raises(ValueError, match=message):
        open_directory(model_directory)


def test_missing_directory_and_config_are_explained(model_directory: Path) -> None:
    with pytest.raises(ValueError, match="'bert-base-uncased' is no directory"):
        open_directory("bert-base-uncased")
    (model_directory / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        open_directory(model_directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'model_type': 'bert'}", "not valid JSON"),
        ('{"model_type": "bert"', "not valid JSON"),
        ("[]", "expected an object"),
        ("{}", "names no model_type"),
        ('{"model_type": "gpt2"}', "'gpt2' is not supported"),
    ],
)
def test_broken_config_is_one_clear_message(text: str, message: str, model_directory: Path) -> None:
    (model_directory / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_directory(model_directory)
