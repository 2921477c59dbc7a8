"""What the tests export: models of every task and family, and batches with padding."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from flax_lite.config import ACTIVATIONS, EncoderConfig
from flax_lite.exporting.tasks import TASKS, input_names
from flax_lite.state import get_params
from tests.flax_lite import tiny

TASKS_OF_FAMILIES = [(family, task) for family in tiny.FAMILIES for task in TASKS]
# Two sizes each: one row or several, up to the longest.
SHAPES = ((2, 7), (1, 16))
# What the plain configurations leave out.
VARIANTS: Mapping[str, EncoderConfig] = {
    "groups": tiny.albert(num_hidden_groups=2),
    "inner groups": tiny.albert(num_hidden_groups=2, inner_group_num=2),
    "no depth": tiny.bert(num_hidden_layers=1),
    "sinusoidal": tiny.distilbert(sinusoidal_positions=True),
    "untied": tiny.albert(tie_word_embeddings=False),
    **{activation: tiny.bert(hidden_act=activation) for activation in ACTIVATIONS},
}


@functools.cache
def model(family: str, task: str) -> Any:
    """A tiny model of a family and task; three labels, so that their axis is no other one."""
    return tiny.make(TASKS[task].model.__name__, tiny.FAMILIES[family](labels=("a", "b", "c")))


@functools.cache
def variant(name: str) -> Any:
    """A tiny masked-LM model of a variant."""
    return tiny.make("MaskedLM", VARIANTS[name])


def without_pooler() -> Any:
    """A tiny BERT encoder that has no pooler."""
    return tiny.make("Encoder", tiny.bert(), add_pooler=False)


def batch(config: EncoderConfig, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Random inputs; the first row is padded from its second third on, where it is that long."""
    random = np.random.default_rng(sum(shape))
    mask = np.ones(shape, np.int32)
    mask[0, max(1, shape[1] // 3) :] = 0
    inputs = {
        "input_ids": random.integers(1, config.vocab_size, shape, np.int32),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, shape, np.int32),
    }
    return {name: inputs[name] for name in input_names(config)}


def expected(of: Any, inputs: Mapping[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What the model itself gives."""
    output = tiny.call(of, **inputs)
    return {name: np.asarray(getattr(output, name)) for name in names}


def num_bytes(of: Any) -> int:
    """Size of a model's parameters."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(get_params(of)))
