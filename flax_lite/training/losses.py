"""Losses and scores of the pretraining tasks, as sums.

The caller divides by the sum of weights over the whole global batch: means of means depend on how a batch is split over
devices and micro-batches, sums do not.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"]) -> Float[Array, "*axes"]:
    """-log softmax(logits)[label], in nats and float32; NaN where the label is no class."""
    logits = logits.astype(jnp.float32)
    # Not by index, whose gradient is a scatter into an array of zeros: one more pass over all logits, or two.
    chosen = jnp.sum(jnp.where(jnp.arange(logits.shape[-1]) == labels[..., None], logits, 0.0), axis=-1)
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, jax.nn.logsumexp(logits, axis=-1) - chosen, jnp.nan)


def weighted_cross_entropy(
    logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"], weights: Float[Array, "*axes"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sums over all axes of w * cross-entropy (nats) and of w * [argmax = label].

    Args:
        logits: unnormalised scores over V classes.
        labels: class ids.
        weights: 0 where an element is padding; such an element adds nothing, whatever its logits.

    Returns:
        The loss sum and the number of correct elements, both weighted.

    Source: masked-LM and sentence losses of google-research/albert, run_pretraining.py (which divides by sum(w) +
        1e-5).
    """
    weights = weights.astype(jnp.float32)
    loss = jnp.where(weights > 0, weights * cross_entropy(logits, labels), 0.0)
    correct = weights * (jnp.argmax(logits, axis=-1) == labels)
    return jnp.sum(loss), jnp.sum(correct)
