"""Dropout: its sites, their rates, and that no two masks are the same."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.layers import dropout as dropout_module
from flax_lite.layers.dropout import draw_layer_masks, dropout, split_key
from flax_lite.layers.embeddings import Embeddings
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import TransformerLayer
from flax_lite.models.params import get_params, with_params
from tests.flax_lite import jaxprs, tiny

KEY = jax.random.key(0)
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}

# Sites by the rate that governs them, from the code of the three papers: every shape drawn in one layer and after the
# embeddings. DistilBERT has no dropout after the attention output. ALBERT has one after the feed-forward output, which
# Hugging Face's torch class omits, and drops embeddings of width E, before the projection to D.
B, T, D, E, N = tiny.BATCH, tiny.LENGTH, 12, 8, 3
LAYER_SITES = {
    "albert": {"hidden_dropout_prob": [(B, T, D), (B, T, D)], "attention_probs_dropout_prob": [(B, N, T, T)]},
    "bert": {"hidden_dropout_prob": [(B, T, D), (B, T, D)], "attention_probs_dropout_prob": [(B, N, T, T)]},
    "distilbert": {"hidden_dropout_prob": [(B, T, D)], "attention_probs_dropout_prob": [(B, N, T, T)]},
}
EMBEDDING_SITES = {"albert": (B, T, E), "bert": (B, T, D), "distilbert": (B, T, D)}

POOLED, TOKENS, CHOICES = (B, D), (B, T, D), (B * 4, D)
HEAD_SITES = [
    ("albert", "SequenceClassification", "classifier_dropout_prob", POOLED),
    ("albert", "MultipleChoice", "classifier_dropout_prob", CHOICES),
    ("albert", "TokenClassification", "classifier_dropout_prob", TOKENS),
    ("bert", "SequenceClassification", "classifier_dropout_prob", POOLED),
    ("bert", "MultipleChoice", "classifier_dropout_prob", CHOICES),
    ("distilbert", "SequenceClassification", "classifier_dropout_prob", POOLED),
    ("distilbert", "MultipleChoice", "classifier_dropout_prob", CHOICES),
    ("distilbert", "QuestionAnswering", "qa_dropout_prob", TOKENS),
]
# Heads with the rate of the encoder's hidden dropout: BERT's without a classifier dropout, and DistilBERT's tag head.
HIDDEN_HEAD_SITES = [
    ("bert", "SequenceClassification", POOLED),
    ("bert", "MultipleChoice", CHOICES),
    ("bert", "TokenClassification", TOKENS),
    ("distilbert", "TokenClassification", TOKENS),
]
HEADS_WITHOUT = [
    ("albert", "PreTraining"),
    ("albert", "MaskedLM"),
    ("albert", "QuestionAnswering"),
    ("bert", "PreTraining"),
    ("bert", "MaskedLM"),
    ("bert", "QuestionAnswering"),
    ("distilbert", "MaskedLM"),
]


def off(family):
    """A configuration with all dropout rates at 0."""
    return tiny.FAMILIES[family](**OFF, **({"qa_dropout_prob": 0.0} if family == "distilbert" else {}))


def draws_of_model(model, config, key=KEY):
    created = tiny.make(model, config)
    return jaxprs.random_bit_shapes(jaxprs.trace(created, tiny.inputs_of(model, config), key=key))


def draws_of_layer(config, key=KEY):
    layer = nnx.eval_shape(lambda: TransformerLayer(config, Execution(), rngs=nnx.Rngs(0)))

    def run(layer, x):
        return layer(x, None, dropout_masks=None if key is None else draw_layer_masks(config, *x.shape[:2], key))

    return jaxprs.random_bit_shapes(jaxprs.trace(run, layer, jnp.ones((B, T, D))))


def close_to(fraction, expected, count):
    """Within 5 standard deviations of a binomial proportion: fails by chance once in two million."""
    return abs(fraction - expected) < 5 * math.sqrt(expected * (1 - expected) / count)


# The function itself.


@pytest.mark.parametrize(("rate", "key"), [(0.5, None), (0.0, KEY)])
def test_dropout_without_key_or_rate_is_the_identity(rate, key):
    x = jnp.arange(6.0)
    assert jaxprs.random_bit_shapes(jaxprs.trace(lambda x: dropout(x, rate, key), x)) == []
    assert dropout(x, rate, key) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_rate_and_scale(rate):
    """Each element is zero with probability `rate`, and otherwise multiplied by 1 / (1 - rate)."""
    x = jnp.full((100, 100), 3.0)
    dropped = np.asarray(dropout(x, rate, KEY))
    kept = dropped != 0
    assert close_to(kept.mean(), 1 - rate, kept.size)
    np.testing.assert_allclose(dropped[kept], 3.0 / (1 - rate), rtol=1e-6)


def test_dropout_gradient_is_the_mask():
    x = jnp.ones((8, 8))
    gradient, dropped = jax.jit(jax.grad(lambda x: (dropout(x, 0.5, KEY).sum(), dropout(x, 0.5, KEY)), has_aux=True))(x)
    np.testing.assert_array_equal(gradient, dropped)


def test_dropout_keeps_the_dtype():
    assert dropout(jnp.ones(4, jnp.bfloat16), 0.1, KEY).dtype == jnp.bfloat16


def test_dropout_draws_every_element_independently():
    """Two independent masks agree on p^2 + (1-p)^2 of their elements; a mask shared along an axis agrees with itself
    everywhere.
    """
    kept = np.asarray(dropout(jnp.ones((6, 6, 40, 40)), 0.5, KEY)) != 0
    for axis in range(4):
        first, second = np.take(kept, 0, axis), np.take(kept, 1, axis)
        assert close_to((first == second).mean(), 0.5, first.size), axis


def test_split_key():
    assert split_key(None, 3) == (None, None, None)
    parts = split_key(KEY, 3)
    assert len({tuple(np.asarray(jax.random.key_data(part))) for part in (KEY, *parts)}) == 4


# Sites, by the shapes of the random bits in the traced program.


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_layer_draws_at_its_sites_only(family):
    both = sorted(shape for shapes in LAYER_SITES[family].values() for shape in shapes)
    assert draws_of_layer(tiny.FAMILIES[family]()) == both
    assert draws_of_layer(tiny.FAMILIES[family](), key=None) == []
    assert draws_of_layer(off(family)) == []


@pytest.mark.parametrize(
    ("family", "field"), [(family, field) for family, fields in LAYER_SITES.items() for field in fields]
)
def test_each_rate_governs_its_own_sites(family, field):
    """With every other rate at zero, only the sites of this rate are drawn."""
    assert draws_of_layer(off(family).replace(**{field: 0.1})) == LAYER_SITES[family][field]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_embeddings_draw_after_their_layer_norm(family):
    config = tiny.FAMILIES[family]()
    module = nnx.eval_shape(lambda: Embeddings(config, Execution(), rngs=nnx.Rngs(0)))
    for key, expected in ((KEY, [EMBEDDING_SITES[family]]), (None, [])):
        program = jaxprs.trace(lambda module, ids, key=key: module(ids, key=key), module, tiny.token_ids(config))
        assert jaxprs.random_bit_shapes(program) == expected


def test_albert_drops_embeddings_before_the_projection():
    """With a rate of 1 - 2^-24 all embeddings are zero, and only the projection's bias remains."""
    config = tiny.albert(hidden_dropout_prob=1 - 2**-24)
    module = tiny.make("Encoder", config).embeddings
    module.projection.bias[...] = jnp.arange(12.0)
    out = jax.jit(lambda module, ids: module(ids, key=KEY))(module, tiny.token_ids(config))
    np.testing.assert_array_equal(out, np.broadcast_to(np.arange(12.0, dtype=np.float32), out.shape))


@pytest.mark.parametrize(
    ("family", "remat"),
    [("albert", "none"), ("bert", "none"), ("distilbert", "none"), ("albert", "full"), ("bert", "dots")],
)
def test_encoder_draws_once_per_site_for_all_layers_or_inside_the_scan(family, remat):
    """Without remat the masks of all layers are drawn at once; with remat each layer draws its own, inside the scan."""
    config = tiny.FAMILIES[family]()
    layer = [shape for shapes in LAYER_SITES[family].values() for shape in shapes]
    if remat == "none":
        layer = [(config.num_hidden_layers, *shape) for shape in layer]
    encoder = tiny.make("Encoder", config, execution=Execution(remat=remat))
    found = jaxprs.random_bit_shapes(jaxprs.trace(encoder, tiny.token_ids(config), key=KEY))
    assert found == sorted([EMBEDDING_SITES[family], *layer])


def test_masks_are_the_same_drawn_before_or_inside_the_scan():
    config = tiny.albert()
    ids = tiny.token_ids(config)
    outputs = [
        tiny.call(tiny.make("Encoder", config, execution=Execution(remat=remat)), ids, key=KEY).last_hidden_state
        for remat in ("none", "full")
    ]
    np.testing.assert_allclose(*outputs, atol=1e-6)


@pytest.mark.parametrize(("family", "model", "field", "shape"), HEAD_SITES)
def test_head_rate_governs_one_draw(family, model, field, shape):
    assert draws_of_model(model, off(family).replace(**{field: 0.1})) == [shape]
    assert draws_of_model(model, off(family)) == []


@pytest.mark.parametrize(("family", "model", "shape"), HIDDEN_HEAD_SITES)
def test_head_governed_by_the_hidden_rate(family, model, shape):
    """The model draws once more than its encoder."""
    config = off(family).replace(hidden_dropout_prob=0.1)
    if family == "bert":
        config = config.replace(classifier_dropout_prob=None)
    batch = shape[0] if model == "MultipleChoice" else B
    in_layers = [(batch, *rest) for _, *rest in LAYER_SITES[family]["hidden_dropout_prob"]]
    embedded = (batch, *EMBEDDING_SITES[family][1:])
    expected = sorted([embedded, *((config.num_hidden_layers, *one) for one in in_layers), shape])
    assert draws_of_model(model, config) == expected


@pytest.mark.parametrize(("family", "model"), HEADS_WITHOUT)
def test_heads_without_dropout(family, model):
    """With every rate above 0, only the encoder draws: no dropout in the masked-LM head, before SOP and NSP, and before
    BERT's span head.
    """
    config = tiny.FAMILIES[family](classifier_dropout_prob=0.1)
    assert draws_of_model(model, config) == draws_of_model("Encoder", config)


@pytest.mark.parametrize(
    ("family", "model"),
    [
        *(("bert", model) for model in tiny.MODELS),
        ("albert", "TokenClassification"),
        ("distilbert", "SequenceClassification"),
        ("distilbert", "QuestionAnswering"),
    ],
)
def test_nothing_is_drawn_without_a_key(family, model):
    assert draws_of_model(model, tiny.FAMILIES[family](), key=None) == []


def test_every_head_is_in_a_table():
    listed = {row[:2] for row in (*HEAD_SITES, *HIDDEN_HEAD_SITES, *HEADS_WITHOUT)}
    assert listed == {pair for pair in tiny.FAMILY_AND_HEAD if pair[1] != "Encoder"}


# The masks themselves, read from the outputs of a crafted encoder.

RATE = 0.3
WIDE = {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 4}
BIASES = {
    "attention": ("attention", "output", "bias"),
    "feed_forward": ("feed_forward", "output", "bias"),
}


def crafted_outputs(stack, changes, edit):
    """Outputs [layers, B, T, D] of an encoder with dropout whose layer parameters are 0 (scales 1), except those that
    `edit` sets.
    """
    config = tiny.STACKS[stack](**{**OFF, **WIDE, **changes})
    encoder = tiny.make("Encoder", config)
    params = get_params(encoder)
    name = "layer" if config.num_physical_layers == 1 else "layers"
    layers = {
        block: {
            part: {leaf: np.full(value.shape, leaf == "scale", np.float32) for leaf, value in leaves.items()}
            for part, leaves in parts.items()
        }
        for block, parts in params[name].items()
    }
    edit(layers)
    crafted = with_params(nnx.graphdef(encoder), {**params, name: jax.tree.map(jnp.asarray, layers)})
    ids = tiny.token_ids(config, batch=4, length=16)
    return np.asarray(tiny.call(crafted, ids, key=jax.random.key(7), output_hidden_states=True).hidden_states[1:])


def hidden_masks(stack, site):
    """The mask of every layer at a hidden-dropout site.

    All kernels are zero and the site's bias is 1000, so the block adds 1000 / (1 - rate) to kept elements and 0 to
    dropped ones, with x of order 1; after LayerNorm the kept elements are the positive ones.
    """

    def edit(layers):
        block, part, leaf = BIASES[site]
        layers[block][part][leaf] += 1000.0

    return crafted_outputs(stack, {"hidden_dropout_prob": RATE}, edit) > 0


def assert_independent(first, second):
    agreement = RATE**2 + (1 - RATE) ** 2
    assert close_to((first == second).mean(), agreement, first.size)


@pytest.mark.parametrize("stack", tiny.STACKS)
def test_hidden_masks_differ_between_sites_layers_rows_and_tokens(stack):
    """Every pair of layers agrees as often as independent masks do; so do rows and tokens of one layer, and the two
    sites.
    """
    sites = [hidden_masks(stack, site) for site in BIASES]
    assert_independent(*sites)
    for masks in sites:
        assert close_to(masks.mean(), 1 - RATE, masks.size)
        for first, second in itertools.combinations(masks, 2):
            assert_independent(first, second)
        assert_independent(masks[:, 0], masks[:, 1])
        assert_independent(masks[:, :, 0], masks[:, :, 1])


@pytest.mark.parametrize("stack", tiny.STACKS)
def test_attention_masks_differ_between_layers_rows_and_heads(stack):
    """Values are all 1000 and probabilities uniform, so a head's output counts the keys its mask keeps: 16 draws in
    each of 4 rows, 16 queries and 4 heads. LayerNorm then maps a token's four counts to its output: equal masks would
    result in equal outputs up to the 1/1000 that x adds, and independent masks differ somewhere by the order of 1.
    """

    def edit(layers):
        attention = layers["attention"]
        attention["value"]["bias"] += 1000.0
        attention["output"]["kernel"] += np.eye(48, dtype=np.float32)

    outputs = crafted_outputs(stack, {"attention_probs_dropout_prob": RATE}, edit)
    for first, second in itertools.combinations(outputs, 2):
        assert np.abs(first - second).max() > 1.0
    heads = outputs.reshape(*outputs.shape[:3], 4, 12).mean(-1)
    for first, second in itertools.combinations(np.moveaxis(heads, 3, 0), 2):
        assert np.abs(first - second).max() > 1.0
    for first, second in itertools.combinations(np.moveaxis(heads, 1, 0), 2):
        assert np.abs(first - second).max() > 1.0


def test_output_depends_on_the_key_alone():
    config = tiny.albert()
    model = tiny.make("Encoder", config)
    ids = tiny.token_ids(config)
    outputs = [tiny.call(model, ids, key=jax.random.key(seed)).last_hidden_state for seed in (1, 1, 2)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


@pytest.mark.parametrize("stack", tiny.STACKS)
def test_no_two_draws_share_a_key(stack, monkeypatch):
    """Equal keys with equal shapes make equal masks, and with different shapes correlated ones. No key is used twice
    over three layers of three draws, the embeddings and the head.
    """
    config = tiny.STACKS[stack]()
    model, ids = tiny.make("SequenceClassification", config), tiny.token_ids(config)
    used = []
    bernoulli = dropout_module.bernoulli

    def recording(key, *args, **kwargs):
        jax.debug.callback(lambda data: used.append(np.asarray(data).tobytes()), jax.random.key_data(key))
        return bernoulli(key, *args, **kwargs)

    monkeypatch.setattr(dropout_module, "bernoulli", recording)
    jax.block_until_ready(jax.jit(lambda model, key: model(ids, key=key).logits)(model, KEY))
    jax.effects_barrier()
    assert len(used) == len(set(used)) == 1 + 3 * 3 + 1
