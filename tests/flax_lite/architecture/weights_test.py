"""Tests of the weight tables themselves; what they read and write is tested in tests/flax_lite/checkpoints."""

from collections.abc import Iterator

import numpy as np
import pytest
from flax import nnx

from flax_lite.architecture.registry import weight_table
from flax_lite.architecture.weights import LAYERS, sinusoidal_positions
from tests.flax_lite import tiny


def parameter_paths(module: nnx.Module, prefix: str = "") -> Iterator[str]:
    """Yields the paths of the parameters in the order in which the module's constructor assigns them."""
    for name, value in vars(module).items():
        if isinstance(value, nnx.Module):
            yield from parameter_paths(value, f"{prefix}{name}/")
        elif isinstance(value, nnx.Param):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_table_has_one_row_per_parameter_in_the_order_of_the_module_tree(family):
    config = tiny.FAMILIES[family](num_hidden_layers=1, tie_word_embeddings=False)  # one layer is not stacked
    table = weight_table(config)
    models = {name: tiny.MODELS[name](config, rngs=nnx.Rngs(0)) for name in tiny.heads_of(family)}
    encoder = [row.path.replace(LAYERS, "layer/") for row in table.encoder]
    assert encoder == list(parameter_paths(models.pop("Encoder")))
    heads = [row.path for row in table.heads]
    found = {name: [path for path in parameter_paths(model) if path in heads] for name, model in models.items()}
    assert set(heads) == {path for paths in found.values() for path in paths}
    for paths in found.values():
        assert [path for path in heads if path in paths] == paths


def test_sinusoidal_positions_alternate_sine_and_cosine():
    table = sinusoidal_positions(5, 4)
    angle = 3 / 10000 ** (2 / 4)
    np.testing.assert_allclose(table[3], [np.sin(3), np.cos(3), np.sin(angle), np.cos(angle)], rtol=1e-6)
