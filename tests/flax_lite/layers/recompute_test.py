"""Arrays that a layer keeps for its backward pass."""

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


def count_residuals(config, dtype):
    """Counts the arrays of each shape and dtype that the backward pass of a layer reads, without parameters."""
    layer = layer_of(config, Execution(dtype=dtype))
    mask = jnp.ones((B, 1, 1, T), bool)
    dropout_masks = draw_layer_masks(config, B, T, jax.random.key(0))
    residuals = {}

    def record(x):
        _, backward = jax.vjp(lambda x: layer(x, mask, dropout_masks=dropout_masks)[0], x)
        residuals.update(
            {id(leaf): (leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(backward) if leaf.ndim > 2}
        )

    jax.eval_shape(record, jnp.ones((B, T, config.hidden_size), dtype))
    return collections.Counter(residuals.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_layer_keeps_products_and_masks(family, dtype):
    """LayerNorm, softmax, activation and dropout are recomputed. Kept are: with width D the layer's input, the context,
    the output of both blocks' last Dense and the first block's output; with head width Q and K (heads first) and V;
    with feed-forward width the activation's input; with T x T the scores, always in float32. A mask takes one byte per
    element.
    """
    config = tiny.FAMILIES[family](hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    width, heads = config.hidden_size, config.num_attention_heads
    hidden, square = (B, T, width), (B, heads, T, T)
    found = count_residuals(config, dtype)
    assert found[(B, T, config.intermediate_size), dtype] == 1
    assert found[square, "float32"] == 1
    assert found[square, "bool"] == 1
    assert found[(B, heads, T, width // heads), dtype] == 2
    assert found[(B, T, heads, width // heads), dtype] == 1
    assert found[hidden, dtype] <= 5
    assert found[hidden, "bool"] == (1 if family == "distilbert" else 2)


@pytest.mark.parametrize(("remat", "regions"), [("none", 4), ("dots", 0), ("full", 0)])
def test_blocks_of_a_rematerialized_layer_are_not_recomputed_twice(remat, regions):
    config = tiny.bert()
    layer = layer_of(config, Execution(remat=remat))
    program = jaxprs.trace(lambda x: layer(x, None)[0], jnp.ones((B, T, config.hidden_size)))
    names = [equation.primitive.name for equation in jaxprs.equations(program)]
    assert sum(name in ("checkpoint", "remat2", "remat") for name in names) == regions
