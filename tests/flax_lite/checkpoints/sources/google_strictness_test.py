"""Tests of the messages about mismatching Google checkpoints, with the names in their files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_lite.checkpoints.sources.google import open_google
from flax_lite.models.heads import PreTraining, SequenceClassification
from tests.flax_lite.checkpoints.formats.tf_files import write_bundle
from tests.flax_lite.checkpoints.sources.google_files import ALBERT, BERT, CHECKPOINTS, FIXTURE, values
from tests.flax_lite.files.special import SPECIAL

QUERY = "bert/encoder/layer_1/attention/self/query/kernel"
SHAPES = {path.partition("/")[0]: shapes for path, (_, shapes) in CHECKPOINTS.items()}


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Copies one of the fixtures to where it may be changed."""
    return lambda name: Path(shutil.copytree(FIXTURE / name, tmp_path / name))


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Writes BERT's or ALBERT's fixture again with some variables changed; None removes one."""

    def change(name: str, scope: str = "", **changes: np.ndarray | None) -> Path:
        arrays = {each: values(each, shape) for each, shape in SHAPES[name].items()}
        arrays |= {key.replace("__", "/"): array for key, array in changes.items()}
        write_bundle(
            tmp_path / "model.ckpt", {scope + key: array for key, array in arrays.items() if array is not None}
        )
        shutil.copy(FIXTURE / name / f"{name}_config.json", tmp_path)
        return tmp_path

    return change


def refusal(path: Path, model: Any = PreTraining, **options: Any) -> str:
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.from_pretrained(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"num_hidden_layers": 18, "num_hidden_groups": 14}, "divide 18 layers in 14 groups in different ways"),
        ({"hidden_act": "tanh"}, "hidden_act='tanh' is not known"),
        ({"hidden_size": "six"}, "hidden_size"),
        ({"model_type": "gpt2"}, "'gpt2' is not supported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_configs_are_named(change: dict[str, Any], problem: str, copied: Callable[[str], Path]) -> None:
    directory = copied("albert")
    (directory / "albert_config.json").write_text(json.dumps({**ALBERT, **change}))
    with pytest.raises(
        ValueError, match=rf"albert_config\.json does not describe a supported ALBERT or BERT: .*{problem}"
    ):
        open_google(directory)


def test_missing_broken_and_ambiguous_configs_are_explained(copied: Callable[[str], Path]) -> None:
    directory = copied("albert")
    (directory / "bert_config.json").write_text(json.dumps(BERT))
    with pytest.raises(ValueError, match=r"albert_config\.json, bert_config\.json: keep only the one of model"):
        open_google(directory)
    (directory / "bert_config.json").unlink()
    (directory / "albert_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"albert_config\.json is not valid JSON"):
        open_google(directory)
    (directory / "albert_config.json").unlink()
    with pytest.raises(ValueError, match=r"but no albert_config\.json or bert_config\.json"):
        open_google(directory)


def test_checkpoint_of_keras_objects_is_refused(copied: Callable[[str], Path]) -> None:
    directory = copied("oddities")
    (directory / "bert_config.json").write_text(json.dumps(BERT))
    with pytest.raises(ValueError, match="TensorFlow 2 objects"):
        open_google(directory / "objects")


@pytest.mark.parametrize("scope", ["", "module/"])
def test_mismatches_are_named_as_in_the_file(scope: str, changed: Callable[..., Path]) -> None:
    changes: dict[str, np.ndarray | None] = {
        QUERY.replace("/", "__"): None,
        "bert__embeddings__word_embeddings": np.zeros((9, 6), np.float32),
        "bert__pooler__dense__bias": np.zeros(6, np.int64),
        "bert__encoder__layer_2__output__dense__bias": np.zeros(6, np.float32),
    }
    message = refusal(changed("bert", scope, **changes))
    for line in (
        f"1 missing from the file:\n  encoder/layers/1/attention/query/kernel ({QUERY})",
        f"1 in the file, but unknown to the model:\n  {scope}bert/encoder/layer_2/output/dense/bias [6]",
        f"{scope}bert/embeddings/word_embeddings is [9, 6], expected [11, 6] ([vocab_size",
        f"{scope}bert/pooler/dense/bias is int64, expected one of float16",
    ):
        assert line in message


def test_same_variable_with_and_without_the_scope_of_tf_hub_is_duplicate(changed: Callable[..., Path]) -> None:
    path = changed("bert", module__bert__pooler__dense__bias=np.zeros(6, np.float32))
    assert "1 in the file twice:\n  bert/pooler/dense/bias and module/bert/pooler/dense/bias" in refusal(path)


def test_state_of_every_optimizer_is_ignored(changed: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    kernel, zeros = "bert__pooler__dense__kernel", np.zeros((6, 6), np.float32)
    names = [
        f"{kernel}__{slot}" for slot in ("adam_m", "adam_v", "Adam", "Adam_1", "AdamWeightDecayOptimizer", "lamb_m")
    ]
    names += ["global_step", "beta1_power"]
    PreTraining.from_pretrained(changed("bert", **dict.fromkeys(names, zeros)))
    assert not caplog.records


def test_unknown_variables_are_refused_unless_ignored(changed: Callable[..., Path]) -> None:
    path = changed("bert", start_logits__dense__kernel=np.zeros((6, 1), np.float32))
    assert "start_logits/dense/kernel [6, 1]" in refusal(path)
    PreTraining.from_pretrained(path, ignore=("start_logits/*",))


def test_other_number_of_labels_is_refused_with_advice() -> None:
    message = refusal(FIXTURE / "bert_classifier", SequenceClassification, num_labels=5)
    assert "output_weights is [3, 6], expected [5, 6]; pass num_labels=3, or allow_missing=" in message


@pytest.mark.parametrize(("fixture", "other"), [("bert", "albert"), ("albert", "bert")])
def test_config_of_the_other_family_is_named(fixture: str, other: str, copied: Callable[[str], Path]) -> None:
    directory = copied(fixture)
    (directory / f"{fixture}_config.json").unlink()
    shutil.copy(FIXTURE / other / f"{other}_config.json", directory)
    names = {"albert": "Albert", "bert": "Bert"}
    assert f"named like {names[fixture]}'s, but config.json describes {names[other]}" in refusal(directory)


def test_incomplete_embedding_projection_is_refused(changed: Callable[..., Path]) -> None:
    message = refusal(changed("albert", bert__encoder__embedding_hidden_mapping_in__bias=None))
    assert "(bert/encoder/embedding_hidden_mapping_in/bias)" in message


def test_missing_embedding_projection_is_refused_if_widths_differ(changed: Callable[..., Path]) -> None:
    scope = "bert__encoder__embedding_hidden_mapping_in__"
    message = refusal(changed("albert", **{f"{scope}kernel": None, f"{scope}bias": None}))
    assert "2 missing from the file:\n  encoder/embeddings/projection/bias (bert/encoder/embedding_hidden" in message


def test_damaged_values_are_named(copied: Callable[[str], Path]) -> None:
    directory = copied("bert")
    shard = directory / "bert_model.ckpt.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="values of bert/embeddings/LayerNorm/beta do not match their checksum"):
        PreTraining.from_pretrained(directory)


def test_truncated_shard_is_named(copied: Callable[[str], Path]) -> None:
    shard = copied("bert") / "bert_model.ckpt.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"data-00000-of-00001 has 3584 bytes, but cls/\S+ starts at"):
        PreTraining.from_pretrained(shard.parent)


FILES = (
    "bert_config.json",
    "model.ckpt-7.index",
    "model.ckpt-7.data-00000-of-00001",
    "checkpoint",
)


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", FILES)
def test_special_files_are_refused(name: str, special: str, copied: Callable[[str], Path]) -> None:
    path = copied("bert_classifier")
    (path / "model.ckpt-8.index").touch()  # a second checkpoint, so that the file `checkpoint` is read
    assert open_google(path).tensors
    (path / name).unlink()
    SPECIAL[special][0](path / name)
    with pytest.raises(ValueError, match=str(path)):
        open_google(path)
