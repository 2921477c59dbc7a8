"""from_pretrained and save_pretrained: round trips, and checkpoints that load although they differ from the model."""

import json
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.layers.execution import Execution
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import MaskedLM, MultipleChoice, SequenceClassification, TokenClassification
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import (
    Arrays,
    arrays,
    assert_same_parameters,
    edit,
    edit_config,
    flat,
    saved,
    tiny_model,
)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.name for record in caplog.records} <= {"flax_lite"}
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("family", "head", "file_format"),
    # Covers every row of every weight table, which the formats share; convert_test.py has a slow test of all pairs.
    [
        ("albert", "Encoder", "safetensors"),
        ("albert", "PreTraining", "flax"),
        ("albert", "SequenceClassification", "flax"),
        ("albert", "QuestionAnswering", "safetensors"),
        ("albert", "MultipleChoice", "flax"),
        ("bert", "Encoder", "flax"),
        ("bert", "PreTraining", "safetensors"),
        ("bert", "QuestionAnswering", "flax"),
        ("bert", "TokenClassification", "safetensors"),
        ("distilbert", "Encoder", "safetensors"),
        ("distilbert", "MaskedLM", "flax"),
        ("distilbert", "SequenceClassification", "safetensors"),
        ("distilbert", "QuestionAnswering", "flax"),
    ],
)
def test_round_trip_keeps_every_bit(
    family: str, head: str, file_format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny.FAMILIES[family](**({"num_hidden_groups": 2, "inner_group_num": 2} if family == "albert" else {}))
    model = saved(tmp_path / "model", head, config, format=file_format)
    loaded = tiny.MODELS[head].from_pretrained(tmp_path / "model")
    assert_same_parameters(model, loaded)
    assert loaded.config.replace(architectures=()) == config
    assert lines(caplog) == []


@pytest.mark.compat
def test_loaded_model_computes_the_same_with_the_given_execution(tmp_path: Path) -> None:
    config = tiny.bert()
    model = saved(tmp_path / "model", "MaskedLM", config)
    loaded = MaskedLM.from_pretrained(tmp_path / "model", execution=Execution(remat="full", unroll=0))
    assert loaded.execution.remat == "full"
    ids = tiny.token_ids(config)
    np.testing.assert_allclose(tiny.call(loaded, ids).logits, tiny.call(model, ids).logits, atol=1e-6)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_param_dtype_is_float32_unless_given(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    half = MaskedLM.from_pretrained(tmp_path / "model", param_dtype=name)
    assert {leaf.dtype for leaf in flat(half).values()} == {jnp.dtype(name)}
    half.save_pretrained(tmp_path / "half", format=("safetensors", "flax"))
    assert_same_parameters(half, MaskedLM.from_pretrained(tmp_path / "half", param_dtype=name))
    whole = MaskedLM.from_pretrained(tmp_path / "half")
    assert {leaf.dtype for leaf in flat(whole).values()} == {jnp.dtype("float32")}
    for path, leaf in flat(half).items():
        np.testing.assert_array_equal(np.asarray(leaf).astype(np.float32), flat(whole)[path])


def test_unknown_config_keys_are_kept_except_the_dtype(tmp_path: Path) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    edit_config(tmp_path / "model", custom={"a": [1]}, torch_dtype="float16", dtype="float16")
    MaskedLM.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "again")
    values = json.loads((tmp_path / "again" / "config.json").read_text())
    assert values["custom"] == {"a": [1]}
    assert not {"dtype", "torch_dtype"} & values.keys()


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_base_checkpoint_into_task_model_and_back(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny.FAMILIES[family]()
    base = saved(tmp_path / "base", "Encoder", config)
    assert not any(name.startswith(f"{family}.") for name in arrays(tmp_path / "base"))
    task = SequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    assert_same_parameters(base, task.encoder)
    (line,) = lines(caplog)
    assert "initialized classifier" in line
    task.save_pretrained(tmp_path / "task")
    caplog.clear()
    assert_same_parameters(base, Encoder.from_pretrained(tmp_path / "task"))
    (line,) = lines(caplog)
    assert "skipped classifier" in line


def test_other_head_is_skipped_and_new_one_initialized_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "model", "PreTraining", tiny.albert())
    loaded = SequenceClassification.from_pretrained(tmp_path / "model", num_labels=3)
    (line,) = lines(caplog)
    assert line.startswith("SequenceClassification from ")
    assert ": skipped predictions, sop_classifier.classifier; " in line
    assert line.endswith("initialized classifier: train it before use")
    kernel, bias = (np.asarray(flat(loaded)[f"classifier/{leaf}"]) for leaf in ("kernel", "bias"))
    assert np.abs(kernel).max() <= 2 * 0.02
    assert not bias.any()


def test_initial_values_depend_on_rngs(tmp_path: Path) -> None:
    saved(tmp_path / "model", "Encoder", tiny.bert())
    kernels = [
        flat(SequenceClassification.from_pretrained(tmp_path / "model", rngs=rngs))["classifier/kernel"]
        for rngs in (None, nnx.Rngs(0), nnx.Rngs(1))
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


def test_missing_pooler_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    Encoder.from_pretrained(tmp_path / "model")
    assert sum("has no pooler" in line for line in lines(caplog)) == 1


def test_encoder_without_pooler_is_saved_as_incomplete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_model("MaskedLM", tiny.bert())
    task.encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.from_pretrained(tmp_path / "model")
    assert loaded.has_pooler
    assert any("has no pooler" in line for line in lines(caplog))


@pytest.mark.parametrize("model", [TokenClassification, MultipleChoice])
def test_head_of_another_task_with_the_same_name_is_skipped(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The `classifier` of token classification or multiple choice is not that of sequence classification."""
    saved(tmp_path / "model", "SequenceClassification", tiny.bert(labels=("only",)))
    loaded = model.from_pretrained(tmp_path / "model")
    assert np.abs(np.asarray(flat(loaded)["classifier/kernel"])).max() <= 2 * 0.02
    assert any("skipped" in line and "initialized classifier" in line for line in lines(caplog))


def test_head_of_an_unknown_class_is_loaded_by_its_name(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "SequenceClassification", tiny.bert())
    edit_config(tmp_path / "model", architectures=["SomebodysBertClassifier"])
    assert_same_parameters(model, SequenceClassification.from_pretrained(tmp_path / "model"))


def test_allowed_missing_is_initialized_and_the_rest_of_the_stack_is_loaded(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "MaskedLM", tiny.bert())
    gone = ".layer.1.attention.self.query."
    edit(tmp_path / "model", lambda all_: {name: array for name, array in all_.items() if gone not in name})
    loaded = MaskedLM.from_pretrained(tmp_path / "model", allow_missing=("encoder/layers/1/*",))
    before, after = (np.asarray(flat(each)["encoder/layers/attention/query/kernel"]) for each in (model, loaded))
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert 0 < np.abs(after[1]).max() <= 2 * 0.02
    assert_same_parameters(model, loaded, but=("encoder/layers/attention/query/",))


def test_allowed_missing_covers_a_head_of_another_size(tmp_path: Path) -> None:
    saved(tmp_path / "model", "SequenceClassification", tiny.bert())
    loaded = SequenceClassification.from_pretrained(
        tmp_path / "model", id2label={0: "a", 1: "b", 2: "c"}, allow_missing=("classifier/*",)
    )
    assert loaded.config.labels == ("a", "b", "c")
    assert loaded.classifier.kernel.shape == (12, 3)


def test_contradicting_labels_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model", "Encoder", tiny.bert())
    with pytest.raises(ValueError, match="num_labels=3, but id2label names 1"):
        SequenceClassification.from_pretrained(tmp_path / "model", num_labels=3, id2label={0: "a"})


def test_same_number_of_labels_keeps_their_names(tmp_path: Path) -> None:
    saved(tmp_path / "model", "SequenceClassification", tiny.bert(labels=("bad", "good")))
    assert SequenceClassification.from_pretrained(tmp_path / "model", num_labels=2).config.labels == ("bad", "good")


def test_ignored_tensors_are_skipped(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "MaskedLM", tiny.bert())
    edit(tmp_path / "model", lambda all_: {**all_, "bert.encoder.adapter.0.weight": np.zeros(3, np.float32)})
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "model", ignore=("*.adapter.*",)))


def test_legacy_names_buffers_and_tied_copies_are_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = saved(tmp_path / "model", "MaskedLM", tiny.bert())

    def change(all_: Arrays) -> Arrays:
        old = {name: name for name in all_}
        for name in all_:
            if "LayerNorm" in name:
                old[name] = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        changed = {old[name]: array for name, array in all_.items()}
        changed["bert.embeddings.position_ids"] = np.arange(16)[None]
        changed["cls.predictions.decoder.weight"] = all_["bert.embeddings.word_embeddings.weight"]
        return changed

    edit(tmp_path / "model", change)
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "model"))
    assert lines(caplog) == []


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_tied_copy_stands_in_for_the_word_embeddings(family: str, tmp_path: Path) -> None:
    """Files that store shared tensors once may keep the decoder's name."""
    model = saved(tmp_path / "model", "MaskedLM", tiny.FAMILIES[family]())
    decoders = {"albert": "predictions.decoder", "bert": "cls.predictions.decoder", "distilbert": "vocab_projector"}
    word = f"{family}.embeddings.word_embeddings.weight"
    edit(
        tmp_path / "model",
        lambda all_: {(f"{decoders[family]}.weight" if name == word else name): array for name, array in all_.items()},
    )
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "model"))


def test_tied_copy_in_flax_orientation_is_accepted(tmp_path: Path) -> None:
    """Flax-named safetensors hold the decoder as [E, V]."""
    model = saved(tmp_path / "model", "MaskedLM", tiny.albert())
    endings = {
        "LayerNorm.weight": "LayerNorm.scale",
        "layer_norm.weight": "layer_norm.scale",
        "embeddings.weight": "embeddings.embedding",
    }

    def change(all_: Arrays) -> Arrays:
        changed = {}
        for name, array in all_.items():
            ending = next((ending for ending in endings if name.endswith(ending)), None)
            if ending is not None:
                changed[name.removesuffix(ending) + endings[ending]] = array
            elif name.endswith(".weight"):
                changed[name.replace(".weight", ".kernel")] = array.T
            elif name != "predictions.decoder.bias":
                changed[name] = array
        changed["predictions.decoder.kernel"] = changed["albert.embeddings.word_embeddings.embedding"].T
        return changed

    edit(tmp_path / "model", change, metadata={"format": "flax"})
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "model"))


@pytest.mark.parametrize(("family", "module"), [("albert", "predictions"), ("bert", "cls.predictions")])
def test_decoder_bias_is_written_and_wins_where_it_differs(
    family: str, module: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "model", "MaskedLM", tiny.FAMILIES[family]())
    written = arrays(tmp_path / "model")
    np.testing.assert_array_equal(written[f"{module}.bias"], written[f"{module}.decoder.bias"])
    other = np.arange(41, dtype=np.float32)
    edit(tmp_path / "model", lambda all_: {**all_, f"{module}.decoder.bias": other})
    np.testing.assert_array_equal(flat(MaskedLM.from_pretrained(tmp_path / "model"))["masked_lm_head/bias"], other)
    (line,) = lines(caplog)
    assert f"{module}.bias and {module}.decoder.bias differ" in line
    caplog.clear()
    for absent, value in ((f"{module}.bias", other), (f"{module}.decoder.bias", written[f"{module}.bias"])):
        both = {**written, f"{module}.decoder.bias": other}
        edit(tmp_path / "model", lambda _, both=both, absent=absent: {n: a for n, a in both.items() if n != absent})
        np.testing.assert_array_equal(flat(MaskedLM.from_pretrained(tmp_path / "model"))["masked_lm_head/bias"], value)
    assert lines(caplog) == []


def test_sinusoidal_table_is_written_for_torch_only(tmp_path: Path) -> None:
    config = tiny.distilbert(sinusoidal_positions=True)
    saved(tmp_path / "model", "MaskedLM", config, format=("safetensors", "flax"))
    name = "distilbert.embeddings.position_embeddings.weight"
    np.testing.assert_array_equal(arrays(tmp_path / "model")[name], sinusoidal_positions(16, 12))
    assert b"position_embeddings" not in (tmp_path / "model" / "flax_model.msgpack").read_bytes()


def test_other_position_table_is_loaded_as_learned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny.distilbert(sinusoidal_positions=True)
    saved(tmp_path / "model", "MaskedLM", config)
    name = "distilbert.embeddings.position_embeddings.weight"
    half = sinusoidal_positions(16, 12).astype(np.float16)
    edit(tmp_path / "model", lambda all_: {**all_, name: half})
    assert MaskedLM.from_pretrained(tmp_path / "model").config.sinusoidal_positions
    other = sinusoidal_positions(16, 12) + np.float32(1e-4)
    edit(tmp_path / "model", lambda all_: {**all_, name: other})
    assert lines(caplog) == []
    loaded = MaskedLM.from_pretrained(tmp_path / "model")
    assert not loaded.config.sinusoidal_positions
    np.testing.assert_array_equal(flat(loaded)["encoder/embeddings/position/embedding"], other)
    (line,) = lines(caplog)
    assert "learned positions" in line


def test_subclass_loads_and_saves_as_its_task(tmp_path: Path) -> None:
    class Custom(MaskedLM):
        """A user's subclass of a masked LM."""

    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    model = Custom.from_pretrained(tmp_path / "model")
    assert isinstance(model, Custom)
    model.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]


def test_loading_initializes_only_missing_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is created from shapes: a complete checkpoint loads with initialization forbidden."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert())

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("something was initialized")

    monkeypatch.setattr(jax, "jit", forbidden)
    MaskedLM.from_pretrained(tmp_path / "model")


@pytest.mark.compat
@pytest.mark.parametrize("family", ["albert", "bert"])
def test_parameters_are_loaded_onto_a_mesh(family: str, tmp_path: Path) -> None:
    """Large ones are split by the rules of flax_lite.models.params, others replicated, all with the same values."""
    config = tiny.FAMILIES[family](vocab_size=8192, hidden_size=16, num_attention_heads=2)
    model = saved(tmp_path, "MaskedLM", config)
    mesh = tiny.mesh(2, 4)
    loaded = flat(MaskedLM.from_pretrained(tmp_path, mesh=mesh))
    assert {leaf.sharding.mesh for leaf in loaded.values()} == {mesh}
    word = loaded["encoder/embeddings/word/embedding"]
    assert {shard.data.shape for shard in word.addressable_shards} == {(2048, config.embedding_size)}
    assert loaded["masked_lm_head/dense/kernel"].sharding.is_fully_replicated
    for path, leaf in flat(model).items():
        np.testing.assert_array_equal(loaded[path], leaf, err_msg=path)


def test_initialized_heads_are_on_the_mesh_too(tmp_path: Path) -> None:
    saved(tmp_path, "Encoder", tiny.albert())
    mesh = tiny.mesh(8)
    model = SequenceClassification.from_pretrained(tmp_path, mesh=mesh)
    assert {leaf.sharding.mesh for leaf in flat(model).values()} == {mesh}


def test_problem_type_is_an_argument(tmp_path: Path) -> None:
    saved(tmp_path, "Encoder", tiny.bert())
    kind = "multi_label_classification"
    model = SequenceClassification.from_pretrained(tmp_path, num_labels=3, problem_type=kind)
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["problem_type"] == kind
    with pytest.raises(ValueError, match=r"problem_type='ranking'.*regression"):
        SequenceClassification.from_pretrained(tmp_path, problem_type="ranking")
