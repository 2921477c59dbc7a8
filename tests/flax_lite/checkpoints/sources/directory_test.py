"""Tests of model directories: precedence of formats, written files, and messages about unreadable directories."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as library

from flax_lite.checkpoints.checkpoint import TORCH
from flax_lite.checkpoints.sources import directory as directory_module
from flax_lite.checkpoints.sources.directory import open_directory, write_directory
from flax_lite.models.contents import all_parameters
from flax_lite.models.heads import MaskedLM
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import arrays, assert_same_parameters, saved, tiny_model
from tests.flax_lite.files.special import SPECIAL


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A masked LM in both formats."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=("safetensors", "flax"))
    return tmp_path / "model"


def test_safetensors_precedes_msgpack(model_directory: Path) -> None:
    checkpoint = open_directory(model_directory)
    assert (checkpoint.path.name, checkpoint.convention.name) == ("model.safetensors", "torch")
    checkpoint.path.unlink()
    checkpoint = open_directory(str(model_directory))
    assert (checkpoint.path.name, checkpoint.convention.name) == ("flax_model.msgpack", "flax")


def test_config_is_readable_and_names_the_class(model_directory: Path) -> None:
    values = json.loads((model_directory / "config.json").read_text())
    assert values["model_type"] == "bert"
    assert values["architectures"] == ["BertForMaskedLM"]
    assert values["hidden_size"] == 12


def test_writing_one_format_removes_older_weights(model_directory: Path) -> None:
    """Older weights in another format, or in shards or pickles, might be read instead of the new ones."""
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


def test_missing_directory_and_config_are_explained(model_directory: Path) -> None:
    with pytest.raises(ValueError, match="'bert-base-uncased' is not a directory"):
        open_directory("bert-base-uncased")
    (model_directory / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
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


# Each file that is read, and a format of the directory in which it is read.
READ = {
    "config.json": "safetensors",
    "model.safetensors": "safetensors",
    "flax_model.msgpack": "flax",
    "model.safetensors.index.json": "safetensors shards",
    "model-00002-of-00002.safetensors": "safetensors shards",
    "flax_model.msgpack.index.json": "flax shards",
    "beam_head.safetensors": "safetensors",
    "adapter_config.json": "safetensors",
}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", READ)
def test_special_files_are_refused(name: str, special: str, tmp_path: Path) -> None:
    directory, make = tmp_path / "model", SPECIAL[special][0]
    file_format, *shards = READ[name].split()
    saved(directory, "MaskedLM", tiny.bert(), format=file_format, max_shard_size="10KB" if shards else None)
    assert (directory / name).exists() or name in ("beam_head.safetensors", "adapter_config.json")
    (directory / name).unlink(missing_ok=True)
    make(directory / name)
    with pytest.raises(ValueError, match=str(directory)):
        open_directory(directory)


def test_links_out_are_allowed_for_weights_only(tmp_path: Path) -> None:
    """Only numbers are read from weights, but unknown keys of a config are written again."""
    directory = tmp_path / "model"
    saved(directory, "MaskedLM", tiny.bert())
    for name in ("model.safetensors", "config.json"):
        (directory / name).rename(tmp_path / name)
        (directory / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=r"config\.json is a link out of its directory"):
        open_directory(directory)
    (directory / "config.json").unlink()
    (tmp_path / "config.json").rename(directory / "config.json")
    assert open_directory(directory).tensors


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "mlx"}, {"format": "mlx", "by": "x"}])
def test_formats_with_pytorchs_names_are_read_as_such(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    """transformers 4.57 treats "mlx" like "pt" (modeling_utils.py, from_pretrained)."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    library.save_file(arrays(tmp_path / "model"), tmp_path / "model" / "model.safetensors", metadata)
    assert open_directory(tmp_path / "model").convention is TORCH
    assert_same_parameters(tiny_model("MaskedLM", tiny.bert()), MaskedLM.from_pretrained(tmp_path / "model"))


@pytest.mark.parametrize("at", ["load_config", "_opened"])
@pytest.mark.parametrize("saves", [1, 2])
def test_concurrent_reader_gets_one_model(at: str, saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process saves between the reads of config.json and of the weights, or after both."""
    left = [("two", 2), ("one", 1)][:saves]
    model = tmp_path / "model"
    read = getattr(directory_module, at)

    def then_saved(*args: object) -> object:
        found = read(*args)
        if left:
            save(model, *left.pop(0))
        return found

    save(model, "one", 1)
    monkeypatch.setattr(directory_module, at, then_saved)
    if saves == 2:
        with pytest.raises(ValueError, match=r"was replaced by another process twice.*try again"):
            open_directory(model)
        return
    checkpoint = open_directory(model)
    assert checkpoint.config.labels == ("two0", "two1")
    assert set(np.ravel(checkpoint.tensors["classifier.bias"].read())) == {2}


def save(directory: Path, name: str, value: float) -> None:
    config = tiny.bert(labels=(f"{name}0", f"{name}1"))
    params = {path: np.full(leaf.shape, value, np.float32) for path, leaf in all_parameters(config).items()}
    params = {path: leaf for path, leaf in params.items() if path.startswith(("encoder/", "classifier/"))}
    write_directory(directory, params, config, ("safetensors",))
