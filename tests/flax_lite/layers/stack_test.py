"""The scan over the depth: the same function as a Python loop, and the values it captures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.layers.execution import Execution
from flax_lite.models.params import get_params, with_params
from tests.flax_lite import jaxprs, tiny
from tests.flax_lite.formulas import as_float64, reference_layer

STACKS = {
    **tiny.STACKS,
    "inner": functools.partial(tiny.albert, num_hidden_groups=2, inner_group_num=2),
    "single": functools.partial(tiny.bert, num_hidden_layers=1),
    "distilbert": tiny.distilbert,
}
ALL = ("scores", "queries", "keys", "values", "outputs")


def layer_params(params, config, index):
    """The parameters of one physical layer."""
    if config.num_physical_layers == 1:
        return params["layer"]
    return jax.tree.map(lambda leaf: leaf[index], params["layers"])


@pytest.fixture(scope="module", params=STACKS)
def run(request):
    """An encoder of each stack, its input, and its output with everything captured."""
    config = STACKS[request.param]()
    encoder = tiny.make("Encoder", config)
    ids = tiny.token_ids(config)
    mask = jnp.asarray([[1] * 7, [1] * 5 + [0] * 2])
    depth = config.num_hidden_layers
    options = {"output_hidden_states": True, "output_attentions": True, "capture": ALL}
    out = tiny.call(encoder, ids, mask, capture_layers=tuple(range(depth)), **options)
    return config, encoder, ids, mask, out


def test_one_layer_has_no_leading_axis_and_many_have_one(run):
    config, encoder, *_ = run
    params = get_params(encoder)
    if config.num_physical_layers == 1:
        assert params["layer"]["attention"]["query"]["kernel"].shape == (12, 12)
        assert "layers" not in params
    else:
        assert params["layers"]["attention"]["query"]["kernel"].shape == (config.num_physical_layers, 12, 12)
        assert "layer" not in params


def test_scan_equals_a_loop_over_the_sequence(run):
    """Every hidden state, against the layers applied one after another in float64, each with the parameters of its
    index.
    """
    config, encoder, _, mask, out = run
    params = as_float64(get_params(encoder))
    seen = np.broadcast_to(np.asarray(mask, bool)[:, None, :], (2, 7, 7))
    x = np.asarray(out.hidden_states[0], np.float64)
    inner = config.inner_group_num
    for step, index in enumerate(config.layer_sequence(), start=1):
        x = reference_layer(layer_params(params, config, index), config, x, seen)
        if step % inner == 0:
            # Float32 rounding, 6e-8 relative per operation, through up to 6 layers.
            np.testing.assert_allclose(out.hidden_states[step // inner], x, atol=2e-5, rtol=0)


embed = jax.jit(lambda embeddings, ids: embeddings(ids))


def test_hidden_states_start_with_the_input_and_end_with_the_output(run):
    config, encoder, ids, _, out = run
    assert out.hidden_states.shape == (config.num_hidden_layers + 1, 2, 7, 12)
    embedded = embed(encoder.embeddings, ids)
    np.testing.assert_allclose(out.hidden_states[0], embedded, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(out.hidden_states[0], out.embedding_output)
    np.testing.assert_array_equal(out.hidden_states[-1], out.last_hidden_state)


def test_attentions_are_probabilities_of_every_application(run):
    config, _, _, mask, out = run
    assert out.attentions.shape == (len(config.layer_sequence()), 2, 3, 7, 7)
    np.testing.assert_allclose(out.attentions.sum(-1), 1.0, atol=1e-6)
    assert (
        np.asarray(out.attentions)[:, ~np.asarray(mask, bool)[:, None, None, :].repeat(3, 1).repeat(7, 2)] == 0
    ).all()


def test_captures_are_consistent_with_each_other_and_the_parameters(run):
    """For each layer (its last inner layer): scores are Q K^T / sqrt(H) of the captured Q and K, their softmax over the
    visible keys is the layer's attention, and Q, K, V are the projections of the layer's input by its parameters.
    """
    config, encoder, _, mask, out = run
    inner = config.inner_group_num
    captured = {name: np.asarray(array, np.float64) for name, array in out.captured.items()}
    assert captured["scores"].shape == (config.num_hidden_layers, 2, 3, 7, 7)
    assert captured["queries"].shape == captured["keys"].shape == captured["values"].shape
    assert captured["values"].shape == (config.num_hidden_layers, 2, 7, 3, 4)
    product = np.einsum("rbtnh,rbsnh->rbnts", captured["queries"], captured["keys"]) / 2.0
    np.testing.assert_allclose(captured["scores"], product, atol=1e-5, rtol=0)
    visible = np.where(np.asarray(mask, bool)[:, None, None, :], captured["scores"], -np.inf)
    weights = np.exp(visible - visible.max(-1, keepdims=True))
    probabilities = weights / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(out.attentions[inner - 1 :: inner], probabilities, atol=1e-6, rtol=0)
    if inner > 1:
        return
    params = as_float64(get_params(encoder))
    for row, index in enumerate(config.layer_sequence()):
        x = np.asarray(out.hidden_states[row], np.float64)
        for name, plural in (("query", "queries"), ("key", "keys"), ("value", "values")):
            dense = layer_params(params, config, index)["attention"][name]
            expected = (x @ dense["kernel"] + dense["bias"]).reshape(2, 7, 3, 4)
            np.testing.assert_allclose(captured[plural][row], expected, atol=5e-6, rtol=0)


def test_captured_layers_are_in_the_requested_order(run):
    config, encoder, ids, mask, out = run
    chosen = (-1, 0) if config.num_hidden_layers > 1 else (-1,)
    some = tiny.call(encoder, ids, mask, capture=("values", "scores"), capture_layers=chosen).captured
    assert set(some) == {"values", "scores"}
    for name, rows in some.items():
        # A different program rounds differently; layers differ by far more.
        np.testing.assert_allclose(rows, np.asarray(out.captured[name])[list(chosen)], atol=1e-6, rtol=1e-5)


def test_nothing_is_captured_by_default():
    config = tiny.bert()
    out = jax.eval_shape(tiny.make("Encoder", config), tiny.token_ids(config))
    assert (out.hidden_states, out.attentions, out.captured) == (None, None, {})


def test_capturing_changes_no_result():
    config = tiny.albert()
    encoder, ids = tiny.make("Encoder", config), tiny.token_ids(config)
    key = jax.random.key(3)
    plain = tiny.call(encoder, ids, key=key).last_hidden_state
    captured = tiny.call(
        encoder,
        ids,
        key=key,
        output_hidden_states=True,
        output_attentions=True,
        capture=ALL,
        capture_layers=(1,),
    )
    np.testing.assert_allclose(captured.last_hidden_state, plain, atol=1e-6, rtol=0)


def test_captures_of_one_layer_do_not_grow_with_depth():
    """The scores of one layer are one [B, N, T, T], never a stack over all layers."""

    def largest(depth):
        config = tiny.bert(num_hidden_layers=depth)
        encoder, ids = tiny.make("Encoder", config), tiny.token_ids(config)
        program = jaxprs.trace(encoder, ids, capture=("scores",), capture_layers=(0,))
        return max(item.elements for item in jaxprs.intermediates(program) if item.shape[-2:] == (7, 7))

    assert largest(20) == largest(2) == 2 * 3 * 7 * 7


def test_program_of_the_draw_does_not_grow_with_depth():
    """Unrolled on CPU, XLA would otherwise fuse the hash into each kernel that reads a mask."""

    def count_hash_shifts(depth):
        config = tiny.bert(num_hidden_layers=depth, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
        encoder, ids = tiny.make("Encoder", config, execution=Execution(unroll=0)), tiny.token_ids(config)
        run = lambda encoder, key: encoder(ids, key=key).last_hidden_state  # noqa: E731
        program = jax.jit(run).lower(encoder, jax.random.key(0)).compile().as_text()
        return program.count("shift-left(")

    assert count_hash_shifts(2) == count_hash_shifts(3) > 0


def test_gradient_flows_through_captures_and_hidden_states():
    """As distillation needs: a loss on captured values of the last layer reaches the parameters of all layers."""
    config = tiny.bert()
    encoder, ids = tiny.make("Encoder", config), tiny.token_ids(config)

    @jax.jit
    def gradient(encoder):
        def loss(encoder):
            out = encoder(ids, output_hidden_states=True, capture=("values", "scores"), capture_layers=(-1,))
            return tiny.scalar((out.captured, out.hidden_states[1]))

        return get_params(jax.grad(loss)(encoder))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(encoder)["layers"]["attention"]["value"]):
        assert (np.abs(leaf).reshape(3, -1).max(-1) > 1e-6).all(), path


def test_impossible_captures_are_refused():
    """Before anything is computed; `capture_test.py` has the other cases."""
    config = tiny.albert()
    with pytest.raises(ValueError, match=r"capture_layers=\[3\].*3 layers"):
        tiny.make("Encoder", config)(tiny.token_ids(config), capture=("scores",), capture_layers=(3,))


def test_shared_layer_equals_a_stack_of_copies():
    """ALBERT with one shared layer equals an ALBERT with separate layers of the same values: closing over parameters
    and scanning over them compute the same function, and the shared gradient is the sum of the copies' gradients.
    """
    shared_config, config = tiny.albert(), tiny.albert(num_hidden_groups=3)
    shared = tiny.make("Encoder", shared_config, add_pooler=False)
    params = get_params(shared)
    layer = params.pop("layer")
    copies = jax.tree.map(lambda leaf: jnp.asarray(np.broadcast_to(leaf, (3, *leaf.shape))), layer)
    stacked = tiny.make("Encoder", config, add_pooler=False)
    stacked = with_params(nnx.graphdef(stacked), {**params, "layers": copies})
    ids, key = tiny.token_ids(config), jax.random.key(1)
    value, gradient = tiny.value_and_grad(shared, ids, key=key)
    stacked_value, stacked_gradient = tiny.value_and_grad(stacked, ids, key=key)
    np.testing.assert_allclose(stacked_value, value, rtol=1e-6)
    summed = jax.tree.map(lambda leaf: np.asarray(leaf).sum(0), get_params(stacked_gradient)["layers"])
    tiny.assert_gradients_close(summed, get_params(gradient)["layer"], 1e-5)
