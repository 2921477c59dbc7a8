"""A beam head on disk: round trips, an encoder that opens without it, and files that do not fit."""

import logging

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import numpy as library

import flax_lite as fl
from flax_lite.beam_answers import BeamQuestionAnswering
from flax_lite.encoder import Encoder
from flax_lite.heads import QuestionAnswering
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import assert_same_parameters, flat

HEAD = "beam_head.safetensors"
DIRECTORY = "model"
# The modules of transformers' XLNet that compute this head (PoolerStartLogits, PoolerEndLogits, PoolerAnswerClass),
# with the shapes of their PyTorch parameters at width 12.
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


def saved(path, config, **options):
    model = tiny.make(BeamQuestionAnswering, config)
    model.save_pretrained(path / DIRECTORY, **options)
    return model


@pytest.mark.parametrize("file_format", ["safetensors", "flax"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_round_trip_keeps_every_bit(family, file_format, tmp_path, caplog):
    model = saved(tmp_path, tiny.FAMILIES[family](), format=file_format)
    loaded = BeamQuestionAnswering.from_pretrained(tmp_path / DIRECTORY)
    assert_same_parameters(model, loaded)
    assert nnx.graphdef(loaded.encoder) == nnx.graphdef(model.encoder)
    assert caplog.messages == []


def test_the_file_has_the_names_and_shapes_of_pytorch(tmp_path):
    model = saved(tmp_path, tiny.albert())
    tensors = library.load_file(tmp_path / DIRECTORY / HEAD)
    assert {name: values.shape for name, values in tensors.items()} == SHAPES
    np.testing.assert_array_equal(tensors["end_logits.dense_0.weight"].T, model.head.end_hidden.kernel[...])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_encoder_opens_without_the_head(family, tmp_path):
    model = saved(tmp_path, tiny.FAMILIES[family]())
    encoder = Encoder.from_pretrained(tmp_path / DIRECTORY)
    kept = {path: value for path, value in flat(encoder).items() if "pooler" not in path}
    expected = flat(model.encoder)
    assert kept.keys() == expected.keys()
    assert all(np.array_equal(kept[path], value) for path, value in expected.items())


def test_hugging_face_reads_the_directory(tmp_path):
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "FlaxAlbertModel"):
        pytest.skip("this transformers has no Flax classes")
    model = saved(tmp_path, tiny.albert(), format="flax")
    theirs = transformers.FlaxAlbertModel.from_pretrained(tmp_path / DIRECTORY)
    ids = tiny.token_ids(model.config)
    expected = tiny.call(model.encoder, ids).last_hidden_state
    np.testing.assert_allclose(theirs(np.asarray(ids)).last_hidden_state, expected, atol=1e-5)


def test_without_a_head_it_is_initialised_and_said(tmp_path, caplog):
    encoder = tiny.make("Encoder", tiny.albert())
    encoder.save_pretrained(tmp_path / DIRECTORY)
    one, two = (
        BeamQuestionAnswering.from_pretrained(tmp_path / DIRECTORY, rngs=nnx.Rngs(seed), param_dtype="bfloat16")
        for seed in (0, 1)
    )
    assert {str(leaf.dtype) for leaf in flat(one).values()} == {"bfloat16"}
    assert not np.array_equal(one.head.start.kernel[...], two.head.start.kernel[...])
    # A normal cut at two sigma has 0.88 of its deviation left.
    assert float(np.std(np.asarray(one.head.end_hidden.kernel[...], np.float32))) == pytest.approx(0.0176, rel=0.2)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("the head is initialised: train it before use" in line for line in said) == 2


@pytest.mark.parametrize("options", [{}, {"format": "flax"}, {"max_shard_size": 2000}])
def test_the_hub_sends_the_head_too(options, hub, offline, tmp_path, caplog):
    model = saved(tmp_path, tiny.albert(), **options)
    hub.add("owner/beams", {path.name: path.read_bytes() for path in (tmp_path / DIRECTORY).iterdir()})
    assert_same_parameters(model, fl.BeamQuestionAnswering.from_pretrained("owner/beams"))
    offline()
    assert_same_parameters(model, fl.BeamQuestionAnswering.from_pretrained("owner/beams"))
    assert caplog.messages == []


def test_another_model_takes_the_head_away(tmp_path):
    """A head that belongs to another encoder would be wrong without a word."""
    saved(tmp_path, tiny.albert())
    tiny.make(QuestionAnswering, tiny.albert()).save_pretrained(tmp_path / DIRECTORY)
    assert not (tmp_path / DIRECTORY / HEAD).exists()


def test_parameters_go_to_the_devices_of_a_mesh(tmp_path):
    model = saved(tmp_path, tiny.albert())
    loaded = BeamQuestionAnswering.from_pretrained(tmp_path / DIRECTORY, mesh=tiny.mesh(2))
    assert_same_parameters(model, loaded)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(flat(loaded))} == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_logits.dense.bias": None}, "start_logits.dense.bias is missing"),
        ({"stranger": np.zeros(2, np.float32)}, "stranger is unknown"),
        ({"start_logits.dense.bias": np.zeros(2, np.float32)}, r"bias is float32 \[2\], expected floats \[1\]"),
        ({"start_logits.dense.bias": np.zeros(1, np.int32)}, r"bias is I32 \[1\], expected floats \[1\]"),
        ({"start_logits.dense.bias": np.full(1, np.nan, np.float32)}, "bias has values that are NaN or infinite"),
    ],
)
def test_a_head_that_does_not_fit_is_one_error(change, message, tmp_path):
    saved(tmp_path, tiny.albert())
    path = tmp_path / DIRECTORY / HEAD
    tensors = {**library.load_file(path), **change}
    library.save_file({name: values for name, values in tensors.items() if values is not None}, path)
    with pytest.raises(ValueError, match=message):
        BeamQuestionAnswering.from_pretrained(tmp_path / DIRECTORY)


def test_a_head_that_is_no_such_file_is_one_error(tmp_path):
    saved(tmp_path, tiny.albert())
    (tmp_path / DIRECTORY / HEAD).write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        BeamQuestionAnswering.from_pretrained(tmp_path / DIRECTORY)
