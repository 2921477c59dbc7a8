"""A function of every layer's key: the same results in a loop as in a batch."""

import jax
import numpy as np
import pytest

from flax_lite.layers.kernels import map_layers
from tests.flax_lite import jaxprs


@pytest.mark.parametrize("unrolled", [False, True])
def test_map_layers_stacks_the_results_of_each_key(unrolled):
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.jit(lambda keys: map_layers(lambda key: jax.random.bits(key, (4,)), keys, unrolled=unrolled))(keys)
    for key, row in zip(keys, found, strict=True):
        np.testing.assert_array_equal(row, jax.random.bits(key, (4,)))


def test_map_layers_is_a_loop_on_cpu_only_if_layers_are_unrolled():
    keys = jax.random.split(jax.random.key(0), 3)
    for unrolled in (False, True):
        program = jaxprs.trace(lambda keys: map_layers(jax.random.bits, keys, unrolled=unrolled), keys)  # noqa: B023
        assert (jaxprs.primitives(program)["scan"] > 0) == unrolled
