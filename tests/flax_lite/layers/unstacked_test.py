"""Layers in a list: the same function as the stack, without copying its weights at each call."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.execution import Execution
from flax_lite.layers.unstacked import for_inference, stacked, unstacked
from flax_lite.models.params import get_params
from tests.flax_lite import tiny

STACKS = {
    "bert": tiny.bert,
    "distilbert": tiny.distilbert,
    "groups": functools.partial(tiny.albert, num_hidden_groups=2),
    "inner": functools.partial(tiny.albert, num_hidden_layers=2, num_hidden_groups=2, inner_group_num=2),
}
EVERYTHING = {
    "output_hidden_states": True,
    "output_attentions": True,
    "capture": ("scores", "values", "outputs"),
    "capture_layers": (0, -1),
}


@pytest.mark.parametrize(
    ("stack", "key"),
    [("bert", None), ("distilbert", None), ("groups", jax.random.key(3)), ("inner", None)],
)
def test_unstacked_is_the_same_function(stack, key):
    """The same operations in the same order, dropout from the same keys: 1e-6 is a few roundings."""
    model = tiny.make("MaskedLM", STACKS[stack](hidden_dropout_prob=0.0))  # masks take long to compile
    ids, mask = tiny.token_ids(model.config), jnp.asarray([[1] * 7, [1] * 5 + [0] * 2])
    expected, found = (tiny.call(form, ids, mask, key=key, **EVERYTHING) for form in (model, unstacked(model)))
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=1e-5)


def test_unstacked_copies_no_weights():
    """An unrolled stack copies its weights into temporaries of their size; 7 tokens need little memory."""
    config = tiny.bert(hidden_size=96, intermediate_size=384, num_hidden_layers=3)
    model = tiny.make("Encoder", config, execution=Execution(unroll=0))
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(get_params(model)["layers"]))

    def temporaries(form):
        program = jax.jit(lambda form, ids: form(ids).last_hidden_state).lower(form, tiny.token_ids(config)).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporaries(model) > weights / 2
    assert temporaries(unstacked(model)) < weights / 10


def test_unstacked_shares_all_other_parameters():
    model = tiny.make("MaskedLM", tiny.bert())
    other = unstacked(model)
    assert other.encoder.embeddings.word.embedding[...] is model.encoder.embeddings.word.embedding[...]
    assert type(other) is type(model)
    assert not isinstance(model.encoder.layers, type(other.encoder.layers)), "the model itself is unchanged"


@pytest.mark.parametrize("stack", STACKS)
def test_stacked_is_the_inverse(stack):
    params = get_params(model := tiny.make("Encoder", STACKS[stack]()))
    again = get_params(stacked(unstacked(model)))
    assert jax.tree.structure(params) == jax.tree.structure(again)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_shared_layers_and_repeated_calls_return_the_model_itself():
    shared, stack = tiny.make("Encoder", tiny.albert()), tiny.make("Encoder", tiny.bert())
    in_a_list = unstacked(stack)
    assert unstacked(shared) is stacked(shared) is shared
    assert stacked(stack) is stack
    assert unstacked(in_a_list) is in_a_list


def test_both_forms_write_the_same_files(tmp_path):
    model = tiny.make("MaskedLM", tiny.distilbert())
    model.save_pretrained(tmp_path / "stacked")
    unstacked(model).save_pretrained(tmp_path / "unstacked")
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("stacked", "unstacked"))
    assert first == second


@pytest.mark.parametrize(("depth", "is_unstacked"), [(2, True), (12, True), (13, False)])
def test_for_inference_unstacks_up_to_12_layers_on_cpu(depth, is_unstacked):
    model = tiny.make("Encoder", tiny.bert(num_hidden_layers=depth))
    assert (for_inference(model) is not model) == is_unstacked


def test_for_inference_on_other_devices_returns_the_model_itself(monkeypatch):
    model = tiny.make("Encoder", tiny.bert())
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert for_inference(model) is model
