"""Models of every task and family to export, and batches with padding."""

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
# Every family with the largest head, and every kind of head, with and without a pooler or token types.
SELECTED = (
    *((family, "fill-mask") for family in tiny.FAMILIES),
    *(("albert", task) for task in ("feature-extraction", "token-classification")),
    ("bert", "text-classification"),
    *(("distilbert", task) for task in ("feature-extraction", "text-classification", "question-answering")),
)
# Features that the other configurations lack: groups of layers and an untied decoder, sinusoidal positions and an
# activation that no family has, a single layer.
VARIANTS: Mapping[str, EncoderConfig] = {
    "groups": tiny.albert(num_hidden_groups=2, inner_group_num=2, tie_word_embeddings=False),
    "sinusoidal": tiny.distilbert(num_hidden_layers=2, sinusoidal_positions=True, hidden_act="relu"),
    "no depth": tiny.bert(num_hidden_layers=1),
}


@functools.cache
def model(family: str, task: str) -> Any:
    """Returns a tiny model of a family and task, with three labels, so that no other axis has this size."""
    config = tiny.FAMILIES[family](num_hidden_layers=2, labels=("a", "b", "c"))
    return tiny.make(EXPORTS[task].model, config)


@functools.cache
def variant(name: str) -> Any:
    """Returns a tiny masked-LM model of a variant."""
    return tiny.make("MaskedLM", VARIANTS[name])


def without_pooler() -> Any:
    """Returns a tiny BERT encoder without pooler."""
    return tiny.make("Encoder", tiny.bert(num_hidden_layers=2), add_pooler=False)


def batch(config: EncoderConfig, shape: tuple[int, int] = (2, 16)) -> dict[str, np.ndarray]:
    """Returns random inputs, by default of the maximum length; the first row is padded after its first third."""
    random = np.random.default_rng(sum(shape))
    mask = np.ones(shape, np.int32)
    mask[0, max(1, shape[1] // 3) :] = 0
    inputs = {
        "input_ids": random.integers(1, config.vocab_size, shape, np.int32),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, shape, np.int32),
    }
    return {name: inputs[name] for name in input_names(config)}


def expected(built: Any, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the outputs of the model itself."""
    output = tiny.call(built, **inputs)
    return {name: np.asarray(getattr(output, name)) for name in outputs_of(built)}


def sliced(built: Any, inputs: Mapping[str, np.ndarray], outputs: Arrays) -> tuple[Arrays, Arrays]:
    """Returns a smaller batch and its expected outputs: the first 7 tokens of the first row, with all real ones."""
    axes = outputs_of(built)
    return (
        {name: values[:1, :7] for name, values in inputs.items()},
        {name: values[:1, :7] if LENGTH in axes[name] else values[:1] for name, values in outputs.items()},
    )


def assert_close(found: Mapping[str, np.ndarray], expected: Arrays, tolerance: float, message: str = "") -> None:
    """Checks that outputs have the same names and shapes, are float32, and are close element by element."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (np.float32, values.shape)
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=f"{message} {name}")


def num_bytes(built: Any) -> int:
    """Returns the size of a model's parameters."""
    return sum(array.nbytes for array in jax.tree.leaves(get_params(built)))
