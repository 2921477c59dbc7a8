"""Embeddings and the transformer layer against the papers' formulas in float64, and the initial parameters."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import TransformerLayer
from flax_lite.models.params import get_params
from tests.flax_lite import tiny
from tests.flax_lite.formulas import GELU, as_float64, dense, norm, reference_layer


@pytest.mark.parametrize(("family", "activation"), list(zip(tiny.FAMILIES, GELU, strict=True)))
def test_layer_equals_the_formula(family, activation):
    config = tiny.FAMILIES[family](hidden_act=activation, num_hidden_layers=1)
    layer = tiny.make("Encoder", config).layer
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 12))
    seen = np.broadcast_to(np.asarray([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)[:, None, :], (2, 5, 5))
    expected = reference_layer(as_float64(get_params(layer)), config, x, seen)
    run = jax.jit(lambda layer, x, mask: layer(x, mask)[0])
    found = run(layer, jnp.asarray(x, jnp.float32), jnp.asarray(seen[:, None]))
    # Float32 against float64: a dozen sums of up to 20 terms of order 1.
    np.testing.assert_allclose(found, expected, atol=5e-6, rtol=0)


def test_layer_returns_its_intermediates():
    layer = tiny.make("Encoder", tiny.bert(num_hidden_layers=1)).layer
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 12)), jnp.float32)
    _, intermediates = jax.jit(lambda layer, x: layer(x, None, need_scores=True))(layer, x)
    assert {name: array.shape for name, array in intermediates.items()} == {
        "queries": (2, 5, 3, 4),
        "keys": (2, 5, 3, 4),
        "values": (2, 5, 3, 4),
        "scores": (2, 3, 5, 5),
        "probabilities": (2, 3, 5, 5),
    }
    # Q, K and V may be one fused product; each must still be the projection by its own parameters.
    params = as_float64(get_params(layer))["attention"]
    for name, plural in (("query", "queries"), ("key", "keys"), ("value", "values")):
        expected = dense(params[name], np.asarray(x, np.float64)).reshape(2, 5, 3, 4)
        np.testing.assert_allclose(intermediates[plural], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_embeddings_equal_the_formula(family):
    """LN(word + position + type), then ALBERT's Dense to D."""
    config = tiny.FAMILIES[family]()
    module = tiny.make("Encoder", config).embeddings
    params = as_float64(get_params(module))
    ids = tiny.token_ids(config)
    types = (ids % 2).astype(jnp.int32)
    positions = (ids % 16).astype(jnp.int32)
    run = jax.jit(lambda module, *args: module(*args))

    def expected(types, positions):
        total = params["word"]["embedding"][ids] + params["position"]["embedding"][positions]
        if family != "distilbert":
            total = total + params["token_type"]["embedding"][types]
        normed = norm(params["layer_norm"], total)
        return dense(params["projection"], normed) if family == "albert" else normed

    zeros, order = np.zeros_like(ids), np.broadcast_to(np.arange(tiny.LENGTH), ids.shape)
    for given, meant in (
        ((None, None), (zeros, order)),
        ((types, None), (types, order)),
        ((types, positions), (types, positions)),
    ):
        np.testing.assert_allclose(run(module, ids, *given), expected(*meant), atol=5e-6, rtol=0)


def test_sinusoidal_positions_equal_the_formula():
    table = sinusoidal_positions(9, 6)
    assert (table.shape, table.dtype) == ((9, 6), np.float32)
    for position, column in itertools.product(range(9), range(6)):
        angle = position / 10000 ** (2 * (column // 2) / 6)
        expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
        assert table[position, column] == pytest.approx(expected, abs=1e-7)


def test_sinusoidal_embeddings_have_no_position_parameter():
    config = tiny.distilbert(sinusoidal_positions=True)
    module = tiny.make("Encoder", config).embeddings
    params = get_params(module)
    assert set(params) == {"word", "layer_norm"}
    ids = tiny.token_ids(config)
    params64 = as_float64(params)
    expected = norm(params64["layer_norm"], params64["word"]["embedding"][ids] + sinusoidal_positions(16, 12)[:7])
    np.testing.assert_allclose(jax.jit(lambda module, ids: module(ids))(module, ids), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("sinusoidal", [False, True])
def test_rows_longer_than_the_position_table_are_refused(sinusoidal):
    config = tiny.distilbert(sinusoidal_positions=sinusoidal)
    module = tiny.make("Encoder", config).embeddings
    with pytest.raises(ValueError, match=r"17 tokens.*max_position_embeddings=16"):
        module(tiny.token_ids(config, length=17))


# Initial parameters.

SIGMA = 0.05
# A normal distribution cut at two sigma has 0.8796 of its standard deviation, and excess kurtosis -0.634.
CUT_DEVIATION = 0.87962566
SAMPLE_ERROR = math.sqrt((3 - 0.634 - 1) / 4)
WIDE = {
    "vocab_size": 301,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "initializer_range": SIGMA,
}


def leaves(params):
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(entry.key) for entry in path): np.asarray(leaf, np.float64) for path, leaf in flat}


def check_initial_value(path, value):
    if path.endswith("bias"):
        assert (value == 0).all(), path
    elif path.endswith("scale"):
        assert (value == 1).all(), path
    else:
        deviation = CUT_DEVIATION * SIGMA
        assert np.abs(value).max() <= 2 * SIGMA, path
        assert abs(value.std() - deviation) < 5 * deviation * SAMPLE_ERROR / math.sqrt(value.size), path
        assert abs(value.mean()) < 5 * deviation / math.sqrt(value.size), path
        if value.size > 1000:
            assert np.abs(value).max() > 1.9 * SIGMA, path


# A stack with a projection, every head, and a single layer with a head that has no pooler.
INITIAL = {
    "albert": (tiny.albert(**WIDE, tie_word_embeddings=False, num_hidden_groups=2), ["PreTraining"]),
    "bert": (tiny.bert(**WIDE, tie_word_embeddings=False), list(tiny.MODELS)[1:]),
    "distilbert": (
        tiny.distilbert(**WIDE, tie_word_embeddings=False, num_hidden_layers=1),
        ["MaskedLM", "SequenceClassification"],
    ),
}


@pytest.fixture(scope="module", params=INITIAL)
def initial(request):
    """A configuration, the name of its largest model, and each model's initial values (the encoder's for one only)."""
    config, models = INITIAL[request.param]

    def create():
        params = {name: get_params(tiny.MODELS[name](config, rngs=nnx.Rngs(3))) for name in models}
        return {name: part if name == models[0] else {**part, "encoder": {}} for name, part in params.items()}

    return config, models[0], {name: leaves(part) for name, part in jax.jit(create)().items()}


def layers_of(path, value):
    """The slices of a stacked leaf by layer; any other leaf as a list of itself."""
    assert "layers/" not in path or value.shape[0] > 1
    return list(value) if "layers/" in path else [value]


def test_initial_values_of_every_leaf(initial):
    """Kernels and embeddings are normal with `initializer_range`, cut at two sigma: bounded by 2 sigma, reaching 1.9
    sigma in a large leaf, with mean 0 and standard deviation 0.88 sigma within 5 standard errors; biases are 0,
    LayerNorms 1 and 0. This holds for heads too, and for each layer of a stack separately.
    """
    *_, models = initial
    assert all(models.values())
    for model, params in models.items():
        for path, value in params.items():
            for part in layers_of(path, value):
                check_initial_value(f"{model}/{path}", part)


def test_no_two_leaves_start_alike(initial):
    """Layers of a stack, and matrices of equal shape in one layer, have different initial values."""
    config, largest, models = initial
    drawn = [
        part
        for path, value in models[largest].items()
        if path.endswith(("kernel", "embedding"))
        for part in layers_of(path, value)
    ]
    # Word and position table, the masked-LM head's Dense and decoder; token types, pooler and sentence head except for
    # DistilBERT; ALBERT's projection; six kernels per layer.
    others = 4 if config.model_type == "distilbert" else 7
    assert len(drawn) == others + config.has_embedding_projection + 6 * config.num_physical_layers
    for first, second in itertools.combinations(drawn, 2):
        if first.shape == second.shape:
            assert (first != second).mean() > 0.99


def test_initial_values_follow_the_seed():
    @jax.jit
    def create(key):
        return get_params(TransformerLayer(tiny.bert(), Execution(), rngs=nnx.Rngs(key)))

    first, again, other = (leaves(create(jax.random.key(seed))) for seed in (0, 0, 1))
    for path, value in first.items():
        np.testing.assert_array_equal(value, again[path])
        if path.endswith("kernel"):
            assert (value != other[path]).any()
