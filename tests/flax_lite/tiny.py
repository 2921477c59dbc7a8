"""Tiny configurations of the three families, and inputs for them, shared by the tests.

Sizes differ from each other where the model allows it, so that a shape identifies its axes: B=2, T=7, P=5, V=41,
E=8 (ALBERT), D=12, N=3, H=4, F=20, 3 layers.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.families.distilbert import DistilBertConfig
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import (
    MaskedLM,
    MultipleChoice,
    PreTraining,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
)

BATCH, LENGTH, PREDICTIONS = 2, 7, 5
SIZES: Mapping[str, Any] = {
    "vocab_size": 41,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def albert(**changes: Any) -> AlbertConfig:
    """A tiny ALBERT; one layer shared over the depth unless `changes` say otherwise."""
    return AlbertConfig(**{**SIZES, "embedding_size": 8, **changes})


def bert(**changes: Any) -> BertConfig:
    """A tiny BERT."""
    return BertConfig(**{**SIZES, **changes})


def distilbert(**changes: Any) -> DistilBertConfig:
    """A tiny DistilBERT."""
    return DistilBertConfig(**{**SIZES, **changes})


FAMILIES: Mapping[str, Callable[..., EncoderConfig]] = {"albert": albert, "bert": bert, "distilbert": distilbert}
# The three sources of a layer's parameters: one shared layer, a stack scanned over, and a stack indexed inside the scan
# (layers 0, 0, 1 in two groups).
STACKS: Mapping[str, Callable[..., EncoderConfig]] = {
    "shared": albert,
    "scanned": bert,
    "indexed": functools.partial(albert, num_hidden_groups=2),
}
MODELS: Mapping[str, Any] = {
    model.__name__: model
    for model in (
        Encoder,
        PreTraining,
        MaskedLM,
        SequenceClassification,
        TokenClassification,
        QuestionAnswering,
        MultipleChoice,
    )
}


def heads_of(family: str) -> list[str]:
    """Returns the models of a family: all, except that DistilBERT has no PreTraining."""
    return [name for name in MODELS if not (family == "distilbert" and name == "PreTraining")]


FAMILY_AND_HEAD = [(family, head) for family in FAMILIES for head in heads_of(family)]


def _trace(model: Any, config: EncoderConfig, options: tuple[tuple[str, Any], ...], _graph_mode: bool) -> Any:
    """Returns a model's structure and shapes."""
    return nnx.eval_shape(lambda: model(config, rngs=nnx.Rngs(0), **dict(options)))


_traced = functools.lru_cache(maxsize=256)(_trace)  # tracing a model takes longer than drawing its values


def make(model: Any, config: EncoderConfig, seed: int = 0, **options: Any) -> Any:
    """Creates a model with all parameters random and with a larger deviation than the library's initialization.

    With a standard deviation of 0.02 and a width of 12, attention is uniform to three digits, and a wrong head, mask or
    position would be within the tolerance; so would a missing bias of 0 or scale of 1. Values are drawn by NumPy, so
    that nothing is compiled. The model is a name in `MODELS` or a class.
    """
    random = np.random.default_rng(seed)
    trace = _trace if config.extra else _traced  # equal configs may differ in `extra`
    abstract = trace(MODELS.get(model, model), config, tuple(options.items()), nnx.set_graph_mode.current_value())

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path)
        vector = "bias" in name or "scale" in name
        value = random.normal(1.0 if "scale" in name else 0.0, 0.1 if vector else 0.2, leaf.shape)
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract)


def token_ids(
    config: EncoderConfig, *, batch: int = BATCH, length: int = LENGTH, seed: int = 0, choices: int | None = None
) -> jax.Array:
    """Returns random ids [B, T], or [B, choices, T], without the padding id 0."""
    shape = (batch, length) if choices is None else (batch, choices, length)
    return jnp.asarray(np.random.default_rng(seed).integers(1, config.vocab_size, shape), jnp.int32)


def inputs_of(model: str, config: EncoderConfig, **sizes: Any) -> jax.Array:
    """Returns `token_ids` in the shape that the model takes."""
    return token_ids(config, **({"choices": 4, **sizes} if model == "MultipleChoice" else sizes))


def scalar(output: Any) -> jax.Array:
    """Returns a weighted sum of every float in a model's output, with a different weight for each."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(output):
        weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(leaf.shape)
        total += jnp.sum(weights * leaf.astype(jnp.float32)) / leaf.size**0.5
    return total


@functools.partial(jax.jit, static_argnames=("output_hidden_states", "output_attentions", "capture", "capture_layers"))
def call(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls the model under jax.jit; one compilation for all calls of one configuration and shape."""
    return model(*args, **kwargs)


@jax.jit
def value_and_grad(model: Any, *args: Any, **kwargs: Any) -> tuple[jax.Array, Any]:
    """Returns `scalar` of the model's output, and its gradient with respect to every parameter."""
    return jax.value_and_grad(lambda model: scalar(model(*args, **kwargs)))(model)


def assert_gradients_close(found: Any, expected: Any, tolerance: float) -> None:
    """Compares every leaf within `tolerance` of its largest expected element.

    Some biases have an exactly zero gradient, because they shift all inputs of a softmax equally: the key's all scores
    of a query, a beam head's (its LayerNorm's included) the logits of all positions. Only rounding remains there: both
    values must be small compared with the tree's largest element.
    """
    leaves = [
        (jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(expected)
    ]
    top = max(np.abs(leaf).max() for _, leaf in leaves)
    for (name, leaf), other in zip(leaves, map(np.asarray, jax.tree.leaves(found)), strict=True):
        if re.search(r"\b(key|head\W+(start|end|end_norm))\W+bias\b", name):
            assert max(np.abs(leaf).max(), np.abs(other).max()) < 1e-6 * top, name
            continue
        error = np.abs(leaf - other).max() / np.abs(leaf).max()
        assert error <= tolerance, f"{name}: {error:.1e} > {tolerance}"


def mesh(*shape: int) -> jax.sharding.Mesh:
    """Returns a mesh with an axis "data", and with an axis "fsdp" if there is a second size."""
    names = ("data", "fsdp")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(shape))
