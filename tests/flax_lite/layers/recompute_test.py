"""What a layer keeps for its backward pass."""

import collections

import jax
import jax.numpy as jnp
import pytest

from flax_lite.layers.dropout import draw_layer_masks
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import TransformerLayer
from tests.flax_lite import jaxprs, tiny

B, T = 3, 5


def layer_of(config, execution):
    return tiny.make(TransformerLayer, config, execution=execution.resolve(1))


def kept(config, dtype):
    """How many arrays of each shape and kind the backward pass of a layer is given, parameters left out."""
    layer = layer_of(config, Execution(dtype=dtype))
    mask = jnp.ones((B, 1, 1, T), bool)
    masks = draw_layer_masks(config, B, T, jax.random.key(0))
    found = {}

    def keep(x):
        _, backward = jax.vjp(lambda x: layer(x, mask, masks=masks)[0], x)
        found.update({id(leaf): (leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(backward) if leaf.ndim > 2})

    jax.eval_shape(keep, jnp.ones((B, T, config.hidden_size), dtype))
    return collections.Counter(found.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_layer_keeps_products_and_masks(family, dtype):
    """Of the width D: the layer's input, what the two blocks add to it, and the first block's output, the context; of
    the width of a head: Q and K, heads in front, and V. Of the feed-forward width only what goes into the activation,
    of T x T only the scores: LayerNorm, softmax, activation and dropout are computed again. A mask takes one byte an
    element. The scores are float32 in any case.
    """
    config = tiny.FAMILIES[family](hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    width, heads = config.hidden_size, config.num_attention_heads
    hidden, square = (B, T, width), (B, heads, T, T)
    found = kept(config, dtype)
    assert found[(B, T, config.intermediate_size), dtype] == 1
    assert found[square, "float32"] == 1
    assert found[square, "bool"] == 1
    assert found[(B, heads, T, width // heads), dtype] == 2
    assert found[(B, T, heads, width // heads), dtype] == 1
    assert found[hidden, dtype] <= 5
    assert found[hidden, "bool"] == (1 if family == "distilbert" else 2)


@pytest.mark.parametrize(("remat", "regions"), [("none", 4), ("dots", 0), ("full", 0)])
def test_nothing_is_recomputed_inside_a_layer_that_is_recomputed(remat, regions):
    config = tiny.bert()
    layer = layer_of(config, Execution(remat=remat))
    program = jaxprs.trace(lambda x: layer(x, None)[0], jnp.ones((B, T, config.hidden_size)))
    names = [equation.primitive.name for equation in jaxprs.equations(program)]
    assert sum(name in ("checkpoint", "remat2", "remat") for name in names) == regions
