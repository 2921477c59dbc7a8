"""Things to export: models of every task and family, and batches with padding."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.exporting.tasks import input_names, outputs_of
from flax_lite.models.params import get_params
from flax_lite.models.tasks import EXPORTS, LENGTH
from tests.flax_lite import tiny

Arrays = dict[str, np.ndarray]
# Every family below the widest head, and every form that a head has: with a pooler and without, of a family that knows
# token types and of one that does not.
CHOSEN = (
    *((family, "fill-mask") for family in tiny.FAMILIES),
    *(("albert", task) for task in ("feature-extraction", "token-classification")),
    ("bert", "text-classification"),
    *(("distilbert", task) for task in ("feature-extraction", "text-classification", "question-answering")),
)
# What the plain configurations leave out: layers in groups and a decoder of its own, fixed positions and the activation
# that no family has, a single layer.
VARIANTS: Mapping[str, EncoderConfig] = {
    "groups": tiny.albert(num_hidden_groups=2, inner_group_num=2, tie_word_embeddings=False),
    "sinusoidal": tiny.distilbert(num_hidden_layers=2, sinusoidal_positions=True, hidden_act="relu"),
    "no depth": tiny.bert(num_hidden_layers=1),
}


@functools.cache
def model(family: str, task: str) -> Any:
    """A tiny model of a family and task; three labels, so that their axis is no other one."""
    config = tiny.FAMILIES[family](num_hidden_layers=2, labels=("a", "b", "c"))
    return tiny.make(EXPORTS[task].model, config)


@functools.cache
def variant(name: str) -> Any:
    """A tiny masked-LM model of a variant."""
    return tiny.make("MaskedLM", VARIANTS[name])


def without_pooler() -> Any:
    """A tiny BERT encoder that has no pooler."""
    return tiny.make("Encoder", tiny.bert(num_hidden_layers=2), add_pooler=False)


def batch(config: EncoderConfig, shape: tuple[int, int] = (2, 16)) -> dict[str, np.ndarray]:
    """Random inputs, by default of the longest rows; the first row is padded from its second third on."""
    random = np.random.default_rng(sum(shape))
    mask = np.ones(shape, np.int32)
    mask[0, max(1, shape[1] // 3) :] = 0
    inputs = {
        "input_ids": random.integers(1, config.vocab_size, shape, np.int32),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, shape, np.int32),
    }
    return {name: inputs[name] for name in input_names(config)}


def expected(of: Any, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """The outputs of the model itself."""
    output = tiny.call(of, **inputs)
    return {name: np.asarray(getattr(output, name)) for name in outputs_of(of)}


def beginning(of: Any, inputs: Mapping[str, np.ndarray], outputs: Arrays) -> tuple[Arrays, Arrays]:
    """A smaller batch: the first row's first 7 tokens, among them all that are no padding; and what it has to give."""
    axes = outputs_of(of)
    return (
        {name: values[:1, :7] for name, values in inputs.items()},
        {name: values[:1, :7] if LENGTH in axes[name] else values[:1] for name, values in outputs.items()},
    )


def assert_close(found: Mapping[str, np.ndarray], expected: Arrays, tolerance: float, message: str = "") -> None:
    """The same outputs, in float32 and of the same shapes, element by element."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (np.float32, values.shape)
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=f"{message} {name}")


def num_bytes(of: Any) -> int:
    """Size of a model's parameters."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(get_params(of)))
