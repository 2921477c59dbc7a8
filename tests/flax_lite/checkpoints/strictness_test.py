"""Tests of strict loading: mismatches between a checkpoint and a model, and their messages."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_lite.architecture import registry
from flax_lite.families import bert
from flax_lite.models.heads import MaskedLM, PreTraining, SequenceClassification
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import Arrays, edit, edit_config, saved, tiny_model

KERNEL = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A BERT masked LM as safetensors."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    return tmp_path / "model"


def without(*names: str) -> Any:
    return lambda arrays: {name: array for name, array in arrays.items() if name not in names}


def plus(**extra: np.ndarray) -> Any:
    return lambda arrays: {**arrays, **{name.replace("__", "."): array for name, array in extra.items()}}


def refusal(directory: Path, model: Any = MaskedLM, **options: Any) -> str:
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.from_pretrained(directory, **options)
    return str(caught.value)


def test_missing_parameter_is_named_as_in_model_and_file(model_directory: Path) -> None:
    edit(model_directory, without(KERNEL))
    message = refusal(model_directory)
    assert f"1 missing from the file:\n  encoder/layers/1/attention/query/kernel ({KERNEL})" in message
    assert "allow_missing" in message


def test_unexpected_tensor_is_refused(model_directory: Path) -> None:
    edit(model_directory, plus(bert__encoder__layer__3__extra__weight=np.zeros((2, 3), np.float32)))
    assert "1 in the file, but unknown to the model:\n  bert.encoder.layer.3.extra.weight [2, 3]" in refusal(
        model_directory
    )


@pytest.mark.parametrize("other", [KERNEL.removeprefix("bert."), "bert.embeddings.LayerNorm.gamma"])
def test_duplicate_tensor_is_refused(other: str, model_directory: Path) -> None:
    edit(model_directory, lambda arrays: {**arrays, other: next(iter(arrays.values()))})
    message = refusal(model_directory)
    assert re.search(rf"1 in the file twice:\n  .*{re.escape(other)}", message)


def test_wrong_shape_is_refused(model_directory: Path) -> None:
    edit(model_directory, lambda arrays: {**arrays, KERNEL: arrays[KERNEL][:5]})
    assert f"1 not as expected:\n  {KERNEL} is [5, 12], expected [12, 12]" in refusal(model_directory)


def test_wrong_dtype_is_refused(model_directory: Path) -> None:
    edit(model_directory, lambda arrays: {**arrays, KERNEL: arrays[KERNEL].astype(np.int8)})
    assert f"{KERNEL} is I8, expected one of float16, bfloat16, float32, float64" in refusal(model_directory)


def test_wrong_vocabulary_is_refused(model_directory: Path) -> None:
    edit_config(model_directory, vocab_size=50)
    message = refusal(model_directory)
    assert "embeddings.word_embeddings.weight is [41, 12], expected [50, 12] ([vocab_size" in message
    assert "predictions.bias is [41], expected [50]" in message


def test_fewer_layers_than_the_file_holds_are_refused(model_directory: Path) -> None:
    edit_config(model_directory, num_hidden_layers=2)
    assert "16 in the file, but unknown to the model:\n  bert.encoder.layer.2." in refusal(model_directory)


def test_everything_is_listed_at_once(model_directory: Path) -> None:
    def change(arrays: Arrays) -> Arrays:
        changed = {**arrays, "bert.extra": np.zeros(1, np.float32), KERNEL: arrays[KERNEL][:5]}
        changed["embeddings.LayerNorm.bias"] = arrays["bert.embeddings.LayerNorm.bias"]
        return without("bert.embeddings.position_embeddings.weight")(changed)

    edit(model_directory, change)
    message = refusal(model_directory)
    for heading in ("1 missing from the file", "unknown to the model", "in the file twice", "not as expected"):
        assert heading in message


@pytest.mark.parametrize(
    ("head", "actual", "claimed"),
    [
        ("Encoder", "albert", "bert"),
        ("Encoder", "bert", "distilbert"),
        ("Encoder", "distilbert", "albert"),
        ("MaskedLM", "bert", "albert"),
        ("MaskedLM", "distilbert", "bert"),
        ("MaskedLM", "albert", "distilbert"),
    ],
)
def test_wrong_family_is_named(head: str, actual: str, claimed: str, tmp_path: Path) -> None:
    saved(tmp_path / "actual", head, tiny.FAMILIES[actual]())
    saved(tmp_path / "claimed", head, tiny.FAMILIES[claimed]())
    (tmp_path / "claimed" / "model.safetensors").write_bytes((tmp_path / "actual" / "model.safetensors").read_bytes())
    names = {"albert": "Albert", "bert": "Bert", "distilbert": "DistilBert"}
    message = refusal(tmp_path / "claimed", tiny.MODELS[head])
    assert f"named like {names[actual]}'s, but config.json describes {names[claimed]}" in message


def test_task_that_the_family_lacks_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.distilbert())
    with pytest.raises(ValueError, match="distilbert has no sentence task"):
        PreTraining.from_pretrained(tmp_path / "model")


def test_half_a_head_is_refused(model_directory: Path) -> None:
    """A head with some initialized parameters would be useless."""
    edit(model_directory, without("cls.predictions.transform.dense.weight"))
    edit_config(model_directory, architectures=None)
    assert "masked_lm_head/dense/kernel (cls.predictions.transform.dense.weight)" in refusal(model_directory)


def test_half_a_pooler_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model", "Encoder", tiny.bert())
    edit(tmp_path / "model", without("pooler.dense.bias"))
    assert "encoder/pooler/bias (bert.pooler.dense.bias)" in refusal(tmp_path / "model", SequenceClassification)


@pytest.mark.parametrize("part", ["bert.pooler.dense.weight", "classifier.weight", "classifier.bias"])
def test_nothing_may_be_missing_if_architectures_names_the_task(part: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", "SequenceClassification", tiny.bert())
    edit(tmp_path / "model", without(part))
    assert f"({part})" in refusal(tmp_path / "model", SequenceClassification)


def test_other_number_of_labels_is_refused_with_advice(tmp_path: Path) -> None:
    saved(tmp_path / "model", "SequenceClassification", tiny.bert(labels=("a", "b", "c")))
    message = refusal(tmp_path / "model", SequenceClassification, num_labels=5)
    assert "classifier.weight is [3, 12], expected [5, 12]; pass num_labels=3, or allow_missing=" in message


def test_untied_weights_in_a_tied_model_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert(tie_word_embeddings=False))
    edit_config(tmp_path / "model", tie_word_embeddings=True)
    assert "set its tie_word_embeddings to false" in refusal(tmp_path / "model")


def test_tied_weights_in_an_untied_model_are_refused(model_directory: Path) -> None:
    edit_config(model_directory, tie_word_embeddings=False)
    assert "masked_lm_head/decoder/kernel (cls.predictions.decoder.weight)" in refusal(model_directory)


@pytest.mark.parametrize("name", ["safetensors", "flax"])
def test_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=name)
    (weights,) = (file for file in (tmp_path / "model").iterdir() if file.name != "config.json")
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"{weights.name} is not a complete"):
        MaskedLM.from_pretrained(tmp_path / "model")


def test_format_of_another_library_is_refused(model_directory: Path) -> None:
    edit(model_directory, dict, metadata={"format": "tf"})
    with pytest.raises(ValueError, match="has the format 'tf' in its metadata, expected 'pt', 'mlx' or 'flax'"):
        MaskedLM.from_pretrained(model_directory)


def test_string_instead_of_patterns_is_refused(model_directory: Path) -> None:
    with pytest.raises(ValueError, match=r"allow_missing=\('classifier/\*',\)"):
        MaskedLM.from_pretrained(model_directory, allow_missing="classifier/*")


def test_parameter_without_a_row_is_refused(model_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(row for row in bert.FAMILY.weights.encoder if row.path != "embeddings/word/embedding")
    broken = dataclasses.replace(bert.FAMILY.weights, encoder=rows)
    monkeypatch.setitem(registry._FAMILIES, "bert", dataclasses.replace(bert.FAMILY, weights=broken))
    with pytest.raises(ValueError, match="no row for encoder/embeddings/word/embedding"):
        MaskedLM.from_pretrained(model_directory)
    with pytest.raises(ValueError, match="no row for encoder/embeddings/word/embedding"):
        tiny_model("MaskedLM", tiny.bert()).save_pretrained(model_directory)
