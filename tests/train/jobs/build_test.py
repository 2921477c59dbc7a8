"""What a job makes of its options: where its first values are drawn from."""

import jax
import numpy as np
import pytest

from train.jobs import build
from train.run.workdir import STREAMS


def drawn(rngs, count=64):
    return {tuple(np.asarray(jax.random.key_data(rngs.params())).tolist()) for _ in range(count)}


def of_steps(seed, count=64):
    """The keys of a run's first steps, as `flax_lite.training.steps` has them."""
    keys = jax.vmap(lambda step: jax.random.fold_in(jax.random.key(seed), step))(np.arange(count))
    return set(map(tuple, np.asarray(jax.random.key_data(keys)).tolist()))


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_first_values_and_dropout_share_no_key(seed):
    key = jax.random.key(seed)
    assert not drawn(build.initial_rngs(key, STREAMS)) & of_steps(seed)
    assert drawn(build.initial_rngs(key, 1)) == of_steps(seed)  # of runs that began before


def test_seeds_draw_different_first_values():
    keys = [drawn(build.initial_rngs(jax.random.key(seed), STREAMS)) for seed in range(4)]
    assert len(set().union(*keys)) == sum(map(len, keys))
