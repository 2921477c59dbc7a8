"""Masks drawn inside the train step, over the whole batch, according to a job's recipe.

This module imports JAX, so data workers must not import it.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo
from flax_lite.rows.token_masks import mask_tokens, smoothed_weights

Batch = Mapping[str, Array]


def batch_masks(
    recipe: PretrainingRecipe, tokenizer: TokenizerInfo, token_counts: Int[np.ndarray, "V"]
) -> Callable[[jax.Array, Batch], Batch] | None:
    """Returns the function that masks a batch inside the train step.

    It is passed as `prepare` to `flax_lite.training.steps.make_train_step`.

    Args:
        recipe: how many tokens to mask, and the smoothing of their probabilities.
        tokenizer: the ids of special tokens, and which ids may be masked.
        token_counts: number of occurrences of each id in the training text.

    Returns:
        A function of (key, batch) that returns the batch with masks; None if rows are masked by the data workers.

    Raises:
        ValueError: if the smoothing is too strong for float32.
    """
    if recipe.masking == "rows":
        return None
    weights = smoothed_weights(token_counts, tokenizer.is_maskable, recipe.mask_smoothing)

    def prepare(key: jax.Array, batch: Batch) -> Batch:
        return {**batch} | mask_tokens(
            key,
            batch["input_ids"],
            batch["attention_mask"],
            jnp.asarray(weights),
            max_predictions=recipe.max_predictions,
            mask_id=tokenizer.mask_id,
            masked_fraction=recipe.masked_fraction,
        )

    return prepare
