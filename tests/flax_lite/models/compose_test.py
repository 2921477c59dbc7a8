"""Models as pytrees under the transformations of JAX and Flax NNX, in NNX's graph mode and tree mode.

Several devices are simulated on the CPU (tests/conftest.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from flax_lite.layers.execution import Execution
from flax_lite.models.params import abstract_params, get_params, num_parameters, with_params
from tests.flax_lite import tiny

ROUNDING = 5e-6
KEY = jax.random.key(2)
needs_8_devices = pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")


@pytest.fixture(params=["graph", "tree"], autouse=True)
def mode(request):
    """NNX's current default, graph mode, and its planned one: modules as plain trees without shared references.

    Construction, compilation, differentiation, splitting and training are tested in both, other transformations in one.
    """
    graph = request.param == "graph"
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        yield request.param


in_graph_mode = pytest.mark.parametrize("mode", ["graph"], indirect=True)
in_tree_mode = pytest.mark.parametrize("mode", ["tree"], indirect=True)


@pytest.fixture
def model(mode):
    """A scanned stack in one mode, an indexed stack in the other; some tests create a model with a shared layer."""
    stack = {"graph": "scanned", "tree": "indexed"}[mode]
    return tiny.make("SequenceClassification", tiny.STACKS[stack](num_hidden_layers=2))


@pytest.fixture
def ids(model):
    return tiny.token_ids(model.config, batch=8)


def loss(model, ids, key=None):
    """Cross-entropy for the label "is the first id odd"."""
    logits = model(ids, key=key).logits
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), ids[:, :1] % 2, 1).mean()


@jax.jit
def along(model, direction, distance):
    """Moves the model's parameters by a distance along a direction."""
    return jax.tree.map(lambda parameter, slope: parameter + distance * slope, model, direction)


value_of = jax.jit(loss)
gradient_of = jax.jit(jax.grad(loss))


@pytest.mark.compat
def test_construction_inside_transformations(mode):
    """Modules created inside jit and eval_shape equal those created in Python."""
    config = tiny.bert(num_hidden_layers=2)

    def create():
        return tiny.MODELS["MaskedLM"](config, rngs=nnx.Rngs(0))

    abstract = abstract_params(create)
    model = jax.jit(create)()
    assert jax.tree.map(jnp.shape, get_params(model)) == jax.tree.map(lambda leaf: leaf.shape, abstract)
    assert num_parameters(model) == num_parameters(abstract)


def test_module_holds_parameters_and_nothing_else(model):
    """Without random state, a checkpoint of the parameters is the whole model."""
    assert {type(variable) for variable in jax.tree.leaves(nnx.state(model), is_leaf=is_variable)} == {nnx.Param}


def is_variable(node):
    return isinstance(node, nnx.Variable)


@pytest.mark.compat
@in_graph_mode
def test_jit_changes_nothing(model, ids):
    np.testing.assert_allclose(value_of(model, ids), loss(model, ids), atol=ROUNDING)


def test_second_call_compiles_nothing(model, ids):
    """Models of equal structure share a compilation, also with other values and another key."""
    traced = []

    @jax.jit
    def counted(model, ids, key):
        traced.append(None)
        return loss(model, ids, key)

    counted(model, ids, KEY)
    counted(jax.tree.map(lambda leaf: leaf + 1, model), ids, jax.random.key(9))
    counted(tiny.make("SequenceClassification", model.config, seed=1), ids, KEY)
    assert len(traced) == 1


@pytest.mark.compat
def test_grad_has_the_shape_of_the_model(model, ids):
    gradient = gradient_of(model, ids)
    assert jax.tree.structure(gradient) == jax.tree.structure(model)
    assert value_of(along(model, gradient, -0.01), ids) < value_of(model, ids)


@in_tree_mode
def test_gradient_is_the_slope(model, ids):
    """The derivative along the gradient by central differences, with an error of order step^2 and rounding of order
    1e-7 / step.
    """
    gradient = gradient_of(model, ids)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    step = 1e-2 / norm

    higher, lower = (value_of(along(model, gradient, distance), ids) for distance in (step, -step))
    np.testing.assert_allclose((higher - lower) / (2 * step), norm**2, rtol=1e-2)


@pytest.mark.compat
@in_graph_mode
def test_vmap_over_rows(model, ids):
    """The mean of per-example gradients is the batch's gradient."""
    per_row = jax.jit(jax.vmap(jax.grad(lambda model, row: loss(model, row[None])), in_axes=(None, 0)))(model, ids)
    whole = gradient_of(model, ids)
    mean = jax.tree.map(lambda leaf: leaf.mean(0), per_row)
    assert jax.tree.leaves(per_row)[0].shape[0] == 8
    tiny.assert_gradients_close(get_params(mean), get_params(whole), 1e-5)


@in_tree_mode
def test_vmap_over_models(model, ids):
    """An ensemble is a model with a leading axis on every parameter."""
    other = jax.tree.map(lambda leaf: leaf * 1.5, model)
    ensemble = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, other)
    logits = jax.jit(jax.vmap(lambda model: model(ids).logits))(ensemble)
    for found, member in zip(logits, (model, other), strict=True):
        np.testing.assert_allclose(found, tiny.call(member, ids).logits, atol=ROUNDING)


@in_tree_mode
def test_vmap_over_keys_draws_anew(model, ids):
    logits = jax.jit(jax.vmap(lambda key: model(ids, key=key).logits))(jax.random.split(KEY, 3))
    assert len({row.tobytes() for row in np.asarray(logits)}) == 3


@pytest.mark.compat
@needs_8_devices
@in_graph_mode
def test_shard_map_over_rows(model, ids):
    """Each device runs the model on its own rows; rows are independent, so nothing changes."""

    def run(model, ids):
        out = model(
            ids, output_hidden_states=True, output_attentions=True, capture=("scores", "keys"), capture_layers=(-1,)
        )
        return out.logits, (out.hidden_states, out.attentions, out.captured)

    spread = jax.shard_map(run, mesh=tiny.mesh(8), in_specs=(P(), P("data")), out_specs=(P("data"), P(None, "data")))
    found, expected = jax.jit(spread)(model, ids), jax.jit(run)(model, ids)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=ROUNDING), found, expected)


@needs_8_devices
@in_tree_mode
def test_gradient_under_shard_map(mode):
    """The gradient of the mean over devices is the gradient of the global batch. With the tanh GELU: jax 0.12's
    derivative of erf has no rule for values that vary over a mesh axis ("Primitive polynomial requires varying manual
    axes to match"); with exact GELU use `check_vma=False`.
    """
    model = tiny.make("SequenceClassification", tiny.albert(num_hidden_layers=2, num_hidden_groups=2))
    ids = tiny.token_ids(model.config, batch=8)

    def spread(model, ids):
        return jax.grad(lambda model: jax.lax.pmean(loss(model, ids), "data"))(model)

    found = jax.jit(jax.shard_map(spread, mesh=tiny.mesh(8), in_specs=(P(), P("data")), out_specs=P()))(model, ids)
    tiny.assert_gradients_close(get_params(found), get_params(gradient_of(model, ids)), 1e-5)


@in_graph_mode
def test_parameters_as_a_dictionary(model, ids):
    """As trainers and checkpoints use them: plain nested dictionaries with string keys, from which a model is created
    under jit.
    """
    structure, params = nnx.graphdef(model), get_params(model)

    def is_plain(node):
        return isinstance(node, jax.Array) or (
            type(node) is dict and all(type(key) is str and is_plain(value) for key, value in node.items())
        )

    assert is_plain(params)
    value, gradient = jax.jit(jax.value_and_grad(lambda params: loss(with_params(structure, params), ids)))(params)
    np.testing.assert_allclose(value, value_of(model, ids), atol=ROUNDING)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    tiny.assert_gradients_close(gradient, get_params(gradient_of(model, ids)), 1e-5)


@pytest.mark.compat
def test_nnx_split_and_merge(model, ids):
    structure, params, rest = nnx.split(model, nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    np.testing.assert_array_equal(
        tiny.call(nnx.merge(structure, params, rest), ids).logits, tiny.call(model, ids).logits
    )


@pytest.mark.compat
def test_ten_lines_train(mode):
    """The README's loop: nnx.Optimizer and the step under nnx.jit. In tree mode a jitted function does not propagate
    updates, so the step returns model and optimizer.
    """
    model = tiny.make("SequenceClassification", tiny.albert(num_hidden_layers=2))
    ids = tiny.token_ids(model.config, batch=8)
    optimizer = nnx.Optimizer(model, optax.adamw(1e-2), wrt=nnx.Param)

    def step(model, optimizer, ids, key):
        value, gradient = nnx.value_and_grad(loss)(model, ids, key)
        optimizer.update(model, gradient)
        return value if mode == "graph" else (value, model, optimizer)

    step = nnx.jit(step) if mode == "graph" else jax.jit(step)
    before = float(value_of(model, ids))
    first = float(value_of(model, ids, jax.random.key(0)))
    losses = []
    for number in range(8):
        value = step(model, optimizer, ids, jax.random.key(number))
        if mode == "tree":
            value, model, optimizer = value
        losses.append(float(value))
    np.testing.assert_allclose(losses[0], first, atol=ROUNDING)
    assert np.isfinite(losses).all()
    assert value_of(model, ids) < 0.7 * before


@in_tree_mode
def test_transformations_nest_under_any_execution(mode):
    """jit of vmap of grad through a rematerialized stack."""
    config = tiny.bert(num_hidden_layers=2)
    model = tiny.make("SequenceClassification", config, execution=Execution(remat="full"))
    ids = tiny.token_ids(model.config, batch=2)
    one = jax.grad(lambda model, row, key: loss(model, row[None], key))
    per_row = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))(model, ids, jax.random.split(KEY, 2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(per_row))
