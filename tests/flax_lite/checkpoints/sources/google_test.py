"""Tests of Google's checkpoints: paths, the mapping of every variable, and the configuration.

The expected mapping is written by hand from google-research's modeling.py and its scripts' `tf.matmul(...,
transpose_b=True)`. For the fixtures that transformers 4.57 can load (`load_tf_weights_in_albert` and
`load_tf_weights_in_bert`, with TensorFlow 2.21), the logits agreed within 1.2e-7.
"""

import functools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_lite.checkpoints.sources.google import is_google, open_google
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import MaskedLM, PreTraining, QuestionAnswering, SequenceClassification
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import assert_same_parameters, flat, saved
from tests.flax_lite.checkpoints.formats.tf_files import write_bundle
from tests.flax_lite.checkpoints.sources.google_files import ALBERT, CHECKPOINTS, FIXTURE, values

EMBEDDINGS = {
    "embeddings/word/embedding": "bert/embeddings/word_embeddings",
    "embeddings/position/embedding": "bert/embeddings/position_embeddings",
    "embeddings/token_type/embedding": "bert/embeddings/token_type_embeddings",
    "embeddings/layer_norm/scale": "bert/embeddings/LayerNorm/gamma",
    "embeddings/layer_norm/bias": "bert/embeddings/LayerNorm/beta",
    "pooler/kernel": "bert/pooler/dense/kernel",
    "pooler/bias": "bert/pooler/dense/bias",
}
PROJECTION = {
    "embeddings/projection/kernel": "bert/encoder/embedding_hidden_mapping_in/kernel",
    "embeddings/projection/bias": "bert/encoder/embedding_hidden_mapping_in/bias",
}
LAYER_NORMS = {
    "albert": {"attention/layer_norm": "LayerNorm", "feed_forward/layer_norm": "LayerNorm_1"},
    "bert": {"attention/layer_norm": "attention/output/LayerNorm", "feed_forward/layer_norm": "output/LayerNorm"},
}
DENSES = {
    "albert": {
        "attention/query": "attention_1/self/query",
        "attention/key": "attention_1/self/key",
        "attention/value": "attention_1/self/value",
        "attention/output": "attention_1/output/dense",
        "feed_forward/intermediate": "ffn_1/intermediate/dense",
        "feed_forward/output": "ffn_1/intermediate/output/dense",
    },
    "bert": {
        "attention/query": "attention/self/query",
        "attention/key": "attention/self/key",
        "attention/value": "attention/self/value",
        "attention/output": "attention/output/dense",
        "feed_forward/intermediate": "intermediate/dense",
        "feed_forward/output": "output/dense",
    },
}
MASKED_LM = {
    "masked_lm_head/dense/kernel": "cls/predictions/transform/dense/kernel",
    "masked_lm_head/dense/bias": "cls/predictions/transform/dense/bias",
    "masked_lm_head/layer_norm/scale": "cls/predictions/transform/LayerNorm/gamma",
    "masked_lm_head/layer_norm/bias": "cls/predictions/transform/LayerNorm/beta",
    "masked_lm_head/bias": "cls/predictions/output_bias",
}


def layer(family: str) -> dict[str, str]:
    """Returns the variables of one layer, by the paths of its parameters."""
    kernels = {f"{path}/{leaf}": f"{scope}/{leaf}" for path, scope in DENSES[family].items() for leaf in KERNEL_BIAS}
    norms = LAYER_NORMS[family].items()
    scales = {f"{path}/scale": f"{scope}/gamma" for path, scope in norms}
    return kernels | scales | {f"{path}/bias": f"{scope}/beta" for path, scope in norms}


KERNEL_BIAS = ("kernel", "bias")
ALBERT_LAYER = "bert/encoder/transformer/group_{}/inner_group_{}"
# Scopes of the layers of each fixture, in the order of the stack; a single layer is not stacked.
LAYERS = {
    "albert": [ALBERT_LAYER.format(0, 0)],
    "albert_hub": [ALBERT_LAYER.format(group, inner) for group in (0, 1) for inner in (0, 1)],
    "albert_squad": [ALBERT_LAYER.format(0, 0)],
    "bert": ["bert/encoder/layer_0", "bert/encoder/layer_1"],
    "bert_classifier": ["bert/encoder/layer_0", "bert/encoder/layer_1"],
}
SHAPES = {path.partition("/")[0]: shapes for path, (_, shapes) in CHECKPOINTS.items()}


def expected_encoder(fixture: str) -> dict[str, np.ndarray]:
    """Returns the encoder's parameters by path, computed as those of the fixture."""

    def value(name: str) -> np.ndarray:
        return values(name, SHAPES[fixture][name])

    scopes, family = LAYERS[fixture], fixture.partition("_")[0]
    projection = PROJECTION if fixture in ("albert", "albert_hub") else {}
    parameters = {path: value(name) for path, name in (EMBEDDINGS | projection).items()}
    for path, name in layer(family).items():
        rows = [value(f"{scope}/{name}") for scope in scopes]
        parameters[f"layers/{path}" if len(rows) > 1 else f"layer/{path}"] = np.stack(rows) if rows[1:] else rows[0]
    if fixture == "albert_squad":
        parameters["embeddings/projection/kernel"] = np.eye(6, dtype=np.float32)
        parameters["embeddings/projection/bias"] = np.zeros(6, np.float32)
    return parameters


def expected_model(fixture: str, head: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"encoder/{path}": value for path, value in expected_encoder(fixture).items()} | head


def assert_parameters(model: Any, expected: dict[str, np.ndarray]) -> None:
    actual = flat(model)
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(actual[path], value, err_msg=path)


def output(name: str, scope: str, count: int) -> dict[str, np.ndarray]:
    """Returns the parameters of an output layer, whose weights are [out, in] in the file."""
    return {
        f"{name}/kernel": values(f"{scope}output_weights", (count, 6)).T,
        f"{name}/bias": values(f"{scope}output_bias", (count,)),
    }


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Copies one of the fixtures to where it may be changed."""
    return lambda name: Path(shutil.copytree(FIXTURE / name, tmp_path / name))


@pytest.mark.parametrize("fixture", ["albert", "albert_hub", "bert"])
def test_pretrained_checkpoint_fills_every_parameter(fixture: str, caplog: pytest.LogCaptureFixture) -> None:
    """With optimizer state, the scope `module/` of TF-Hub, groups and shards: nothing is initialized, no warning."""
    model = PreTraining.from_pretrained(FIXTURE / fixture)
    head = {path: values(name, SHAPES[fixture][name]) for path, name in MASKED_LM.items()}
    assert_parameters(model, expected_model(fixture, head | output("sentence_head", "cls/seq_relationship/", 2)))
    assert lines(caplog) == []


def test_classifier_fills_every_parameter_and_sets_the_number_of_labels(caplog: pytest.LogCaptureFixture) -> None:
    model = SequenceClassification.from_pretrained(FIXTURE / "bert_classifier")
    assert model.config.num_labels == 3
    assert_parameters(model, expected_model("bert_classifier", output("classifier", "", 3)))
    assert lines(caplog) == []


def test_span_head_fills_every_parameter_but_the_omitted_projection(caplog: pytest.LogCaptureFixture) -> None:
    """If E = D, Google's code has no embedding projection; it is loaded as an identity."""
    model = QuestionAnswering.from_pretrained(FIXTURE / "albert_squad")
    expected = expected_model("albert_squad", output("qa_outputs", "cls/squad/", 2))
    assert_parameters(model, {path: value for path, value in expected.items() if "pooler" not in path})
    assert lines(caplog) == [
        f"QuestionAnswering from {FIXTURE}/albert_squad/model.ckpt-3.index: skipped bert/pooler/dense"
    ]


def test_span_head_of_bert_is_read(tmp_path: Path) -> None:
    """run_squad.py of BERT and of ALBERT have the same names."""
    span = {"cls/squad/output_weights": (2, 6), "cls/squad/output_bias": (2,)}
    write_bundle(
        tmp_path / "model.ckpt", {name: values(name, shape) for name, shape in (SHAPES["bert"] | span).items()}
    )
    shutil.copy(FIXTURE / "bert/bert_config.json", tmp_path)
    parameters = flat(QuestionAnswering.from_pretrained(tmp_path))
    for path, value in output("qa_outputs", "cls/squad/", 2).items():
        np.testing.assert_array_equal(parameters[path], value)


def test_skipped_heads_are_named_as_in_the_file(caplog: pytest.LogCaptureFixture) -> None:
    assert_parameters(Encoder.from_pretrained(FIXTURE / "bert"), expected_encoder("bert"))
    Encoder.from_pretrained(FIXTURE / "bert_classifier")
    skipped = [line.partition("skipped ")[2] for line in lines(caplog)]
    assert skipped == ["cls/predictions, cls/seq_relationship", "output_bias, output_weights"]


def test_new_head_is_initialized(caplog: pytest.LogCaptureFixture) -> None:
    model = SequenceClassification.from_pretrained(FIXTURE / "albert", num_labels=5)
    assert flat(model)["classifier/kernel"].shape == (6, 5)
    (line,) = lines(caplog)
    assert line.endswith("skipped cls/predictions, cls/seq_relationship; initialized classifier: train it before use")


@pytest.mark.parametrize("fixture", ["albert_hub", "bert"])
def test_round_trip_through_hugging_faces_format(fixture: str, tmp_path: Path) -> None:
    model = PreTraining.from_pretrained(FIXTURE / fixture)
    model.save_pretrained(tmp_path / "again")
    again = PreTraining.from_pretrained(tmp_path / "again")
    assert_same_parameters(model, again)
    assert again.config.replace(architectures=()) == model.config


@functools.cache
def from_directory(name: str) -> MaskedLM:
    return MaskedLM.from_pretrained(FIXTURE / name)


@pytest.mark.parametrize(
    "path",
    [
        "albert/model.ckpt-best",
        "albert/model.ckpt-best.index",
        "albert/model.ckpt-best.data-00000-of-00001",
        "albert_hub/variables",
        "albert_hub/variables/variables",
    ],
)
def test_directory_prefix_and_file_refer_to_the_checkpoint(path: str) -> None:
    assert is_google(FIXTURE / path)
    assert isinstance(open_google(FIXTURE / path).config, AlbertConfig)
    assert_same_parameters(from_directory(path.partition("/")[0]), MaskedLM.from_pretrained(FIXTURE / path))


def test_other_directories_are_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path / "model", "Encoder", tiny.bert())
    for path in (
        tmp_path,
        tmp_path / "model",
        tmp_path / "model/config.json",
        tmp_path / "missing",
        FIXTURE / "albert/m",
    ):
        assert not is_google(path)
        with pytest.raises(ValueError, match="has no TensorFlow checkpoint"):
            open_google(path)


def test_safetensors_take_precedence(copied: Callable[[str], Path]) -> None:
    directory = copied("bert")
    model = saved(directory, "Encoder", tiny.bert())
    assert_same_parameters(model, Encoder.from_pretrained(directory))


def test_latest_of_several_checkpoints_is_opened(copied: Callable[[str], Path]) -> None:
    directory = copied("bert_classifier")
    for file in (FIXTURE / "bert").glob("bert_model.ckpt.*"):
        shutil.copy(file, directory)
    assert open_google(directory).path.name == "model.ckpt-7.index"
    (directory / "checkpoint").write_text('model_checkpoint_path: "/another/machine/bert_model.ckpt"\n')
    assert open_google(directory).path.name == "bert_model.ckpt.index"
    for note in ('model_checkpoint_path: "model.ckpt-8"\n', "nonsense", "model_checkpoint_path: ../x\n"):
        (directory / "checkpoint").write_text(note)
        with pytest.raises(ValueError, match=r"has 2 TensorFlow checkpoints \(bert_model\.ckpt, model\.ckpt-7\); name"):
            open_google(directory)


@pytest.mark.parametrize(("given", "read"), [("gelu", "gelu_new"), ("relu", "relu"), (None, "gelu_new")])
def test_gelu_of_albert_is_the_tanh_approximation(given: str | None, read: str, copied: Callable[[str], Path]) -> None:
    """`gelu` in google-research/albert, modeling.py, is the tanh approximation; Chinese models have relu."""
    directory = copied("albert")
    values = {**ALBERT, "hidden_act": given} if given else {k: v for k, v in ALBERT.items() if k != "hidden_act"}
    (directory / "albert_config.json").write_text(json.dumps(values))
    assert open_google(directory).config.hidden_act == read


def test_gelu_of_bert_is_exact() -> None:
    config = open_google(FIXTURE / "bert").config
    assert isinstance(config, BertConfig)
    assert config.hidden_act == "gelu"


def test_config_of_hugging_face_is_read_unchanged(copied: Callable[[str], Path]) -> None:
    directory = copied("albert")
    (directory / "albert_config.json").unlink()
    text = json.dumps({**ALBERT, "model_type": "albert", "id2label": {"0": "a", "1": "b", "2": "c"}})
    (directory / "config.json").write_text(text)
    model = PreTraining.from_pretrained(directory)
    assert model.config.hidden_act == "gelu"
    assert model.config.labels == ("a", "b", "c")


def test_config_of_google_is_read_and_unused_keys_are_kept() -> None:
    config = open_google(FIXTURE / "albert_hub").config
    assert config == AlbertConfig(
        vocab_size=11,
        embedding_size=4,
        hidden_size=6,
        num_hidden_layers=3,
        num_hidden_groups=2,
        inner_group_num=2,
        num_attention_heads=2,
        intermediate_size=10,
        max_position_embeddings=5,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    )
    unused = ("net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor")
    assert config.extra == {key: ALBERT[key] for key in unused}
