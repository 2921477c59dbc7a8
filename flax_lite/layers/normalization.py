"""LayerNorm of the residual path."""

from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution


def layer_norm(num_features: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Creates a LayerNorm: scale (x - mean) / sqrt(variance + epsilon) + bias, with statistics in float32.

    The variance is computed in two passes: Flax's default E[x^2] - E[x]^2 is off by up to 1.5e-4 on a row of mean 8 and
    standard deviation 0.5, two passes by 3e-6.
    """
    return nnx.LayerNorm(
        num_features,
        epsilon=config.layer_norm_eps,
        dtype=execution.compute_dtype,
        use_fast_variance=False,
        rngs=rngs,
    )
