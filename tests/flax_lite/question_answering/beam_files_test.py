"""Files of a beam head: round trips, an encoder that opens without it, and files that do not fit."""

import logging
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import numpy as library

import flax_lite as fl
from flax_lite.checkpoints.sources.hub import HubId, fetch_model
from flax_lite.models.encoder import Encoder
from flax_lite.question_answering import beam_files
from flax_lite.question_answering.beam import BeamQuestionAnswering
from tests.flax_lite import reference, tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.checkpoints.sources.hub_cases import contents

HEAD = "beam_head.safetensors"
# PyTorch parameters at width 12 of the modules in transformers' XLNet that compute this head (PoolerStartLogits,
# PoolerEndLogits, PoolerAnswerClass).
SHAPES = {
    "start_logits.dense.weight": (1, 12),
    "start_logits.dense.bias": (1,),
    "end_logits.dense_0.weight": (12, 24),
    "end_logits.dense_0.bias": (12,),
    "end_logits.LayerNorm.weight": (12,),
    "end_logits.LayerNorm.bias": (12,),
    "end_logits.dense_1.weight": (1, 12),
    "end_logits.dense_1.bias": (1,),
    "answer_class.dense_0.weight": (12, 24),
    "answer_class.dense_0.bias": (12,),
    "answer_class.dense_1.weight": (1, 12),
}
CONFIGS = {family: make(num_hidden_layers=2) for family, make in tiny.FAMILIES.items()}


def saved(path, family="albert", **options):
    return files.saved(path, BeamQuestionAnswering, CONFIGS[family], **options)


@pytest.mark.parametrize(("family", "file_format"), [("albert", "safetensors"), ("bert", "flax")])
def test_round_trip_keeps_every_bit(family, file_format, tmp_path, caplog):
    model = saved(tmp_path, family, format=file_format)
    loaded = BeamQuestionAnswering.from_pretrained(tmp_path)
    files.assert_same_parameters(model, loaded)
    assert nnx.graphdef(loaded.encoder) == nnx.graphdef(model.encoder)
    assert caplog.messages == []


def test_the_encoder_opens_without_the_head(tmp_path):
    model = saved(tmp_path, "bert", format="flax")
    encoder, expected = files.flat(Encoder.from_pretrained(tmp_path)), files.flat(model.encoder)
    assert {path for path in encoder if "pooler" not in path} == expected.keys()
    assert all(np.array_equal(encoder[path], value) for path, value in expected.items())


def test_the_file_has_names_and_shapes_of_pytorch(tmp_path):
    model = saved(tmp_path)
    tensors = library.load_file(tmp_path / HEAD)
    assert {name: values.shape for name, values in tensors.items()} == SHAPES
    np.testing.assert_array_equal(tensors["end_logits.dense_0.weight"].T, model.head.end_hidden.kernel[...])


@pytest.mark.reference
def test_hugging_face_reads_the_directory(tmp_path):
    model = saved(tmp_path, format="flax")
    model_class = reference.transformers().FlaxAlbertModel
    hf_model, params = model_class.from_pretrained(tmp_path, _do_init=False, add_pooling_layer=False)
    ids = tiny.token_ids(model.config)
    found = jax.jit(lambda params, ids: hf_model(ids, params=params).last_hidden_state)(params, ids)
    np.testing.assert_allclose(found, tiny.call(model.encoder, ids).last_hidden_state, atol=1e-5)


def test_a_missing_head_is_initialized_with_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(beam_files, "jax", SimpleNamespace(jit=jax.jit))
    files.saved(tmp_path, "Encoder", CONFIGS["albert"])
    one, two = (
        BeamQuestionAnswering.from_pretrained(tmp_path, rngs=nnx.Rngs(seed), param_dtype="bfloat16") for seed in (0, 1)
    )
    assert {str(leaf.dtype) for leaf in files.flat(one).values()} == {"bfloat16"}
    assert not np.array_equal(one.head.start.kernel[...], two.head.start.kernel[...])
    # The standard deviation of a normal distribution truncated at two sigma is 0.88 sigma.
    assert float(np.std(np.asarray(one.head.end_hidden.kernel[...], np.float32))) == pytest.approx(0.0176, rel=0.2)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("the head is initialized: train it before use" in warning for warning in warnings) == 2


@pytest.mark.parametrize("options", [{}, {"format": "flax"}, {"max_shard_size": 2000}])
def test_the_head_is_fetched_from_the_hub(options, hub, offline, tmp_path):
    (tmp_path / "model").mkdir()
    saved(tmp_path / "model", **options)
    written = contents(tmp_path / "model")
    hub.add("owner/beams", written)
    directory = fetch_model(HubId("owner/beams"))
    assert HEAD in written
    assert contents(directory) == written
    offline()
    assert fetch_model(HubId("owner/beams")) == directory


def test_a_model_is_loaded_from_the_hub_with_its_head(hub, offline, tmp_path, caplog):
    model = saved(tmp_path / "model")
    hub.add("owner/beams", contents(tmp_path / "model"))
    files.assert_same_parameters(model, fl.BeamQuestionAnswering.from_pretrained("owner/beams"))
    offline()
    files.assert_same_parameters(model, fl.BeamQuestionAnswering.from_pretrained("owner/beams"))
    assert caplog.messages == []


def test_saving_another_model_removes_the_head(tmp_path):
    """A head of another encoder would give wrong answers without an error."""
    saved(tmp_path)
    files.saved(tmp_path, "QuestionAnswering", CONFIGS["albert"])
    assert not (tmp_path / HEAD).exists()


def test_parameters_are_put_on_the_devices_of_a_mesh(tmp_path):
    model = saved(tmp_path)
    loaded = BeamQuestionAnswering.from_pretrained(tmp_path, mesh=tiny.mesh(2))
    files.assert_same_parameters(model, loaded)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(files.flat(loaded))} == {2}


def test_everything_that_does_not_fit_is_one_error(tmp_path):
    saved(tmp_path)
    tensors = library.load_file(tmp_path / HEAD)
    del tensors["start_logits.dense.bias"]
    tensors |= {
        "unexpected": np.zeros(2, np.float32),
        "end_logits.dense_1.bias": np.zeros(2, np.float32),
        "end_logits.LayerNorm.bias": np.zeros(12, np.int32),
        "answer_class.dense_0.bias": np.full(12, np.nan, np.float32),
    }
    library.save_file(tensors, tmp_path / HEAD)
    with pytest.raises(ValueError, match=f"the beam head at .*{HEAD} does not fit the encoder beside it") as caught:
        BeamQuestionAnswering.from_pretrained(tmp_path)
    for problem in (
        "start_logits.dense.bias is missing",
        "unexpected is unknown",
        "end_logits.dense_1.bias is float32 [2], expected floats [1]",
        "end_logits.LayerNorm.bias is I32 [12], expected floats [12]",
        "answer_class.dense_0.bias has values that are NaN or infinite",
    ):
        assert problem in str(caught.value)


def test_a_head_that_is_not_a_safetensors_file_is_an_error(tmp_path):
    saved(tmp_path)
    (tmp_path / HEAD).write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        BeamQuestionAnswering.from_pretrained(tmp_path)
