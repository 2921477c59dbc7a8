"""Dense layers with BERT's initialization."""

import jax
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution


def linear(
    in_features: int, out_features: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs
) -> nnx.Linear:
    """Creates a Dense layer as BERT initializes it: truncated normal kernel, zero bias.

    The normal distribution has standard deviation `initializer_range` before it is cut at two sigma, as
    tf.truncated_normal_initializer has it.
    """
    kernel_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Linear(in_features, out_features, kernel_init=kernel_init, dtype=execution.compute_dtype, rngs=rngs)
