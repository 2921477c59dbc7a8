"""Masks that are drawn inside the step, over the whole batch, as a job's recipe wants them.

The one data module that imports jax: workers leave it alone.
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
    """What a step does to its batch first, as `prepare` of `flax_lite.training.steps.make_train_step`.

    Args:
        recipe: says how many tokens are masked, and with which chance each.
        tokenizer: whose ids the rows hold.
        token_counts: how often each id occurs in the training text.

    Returns:
        (key, batch) to the batch with its masks; None where rows come masked already.

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
