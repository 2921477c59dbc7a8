"""Token masks drawn on the device over the whole batch: DistilBERT's recipe, which masks rare tokens more often.

The number of masks in a row depends on all other rows of the batch, so data workers cannot draw them row by row (as
`flax_lite.rows.masking` does). They are drawn inside the step, as `prepare` of
`flax_lite.training.steps.make_train_step`.
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Products of two numbers up to this limit fit into int32, so fractions of a count are exact; in float32, 0.15 * 100_000
# is above 15_000.
_LARGEST_DENOMINATOR = 2**15


def smoothed_weights(
    counts: Int[np.ndarray, "V"], is_maskable: Bool[np.ndarray, "V"], power: float
) -> Float[np.ndarray, "V"]:
    """Returns the unnormalized probability max(count, 1)^-power of each id, 0 for ids that may not be masked.

    Args:
        counts: number of occurrences of each id in the corpus.
        is_maskable: whether an id may be chosen; false for special tokens.
        power: 0 for equal weights; the reference uses 0.7.

    Returns:
        float32 weights.

    Raises:
        ValueError: if a count or `power` is negative, `power` is not finite or so large that a weight is not a normal
            float32 number, or no id may be masked.

    Source: huggingface/transformers examples/research_projects/distillation/train.py, token_probs and mlm_smoothing.
    """
    if not (math.isfinite(power) and power >= 0):
        raise ValueError(f"weights need a finite power >= 0, got {power}")
    if len(counts) and counts.min() < 0:
        raise ValueError(f"weights need counts >= 0, got {counts.min()} for id {counts.argmin()}")
    if not is_maskable.any():
        raise ValueError(f"none of {len(is_maskable)} ids may be masked; is_maskable is false everywhere")
    weights = np.where(is_maskable, np.maximum(counts, 1).astype(np.float64) ** -power, 0.0)
    if weights[is_maskable].min() < np.finfo(np.float32).tiny:
        largest = counts[is_maskable].max()
        raise ValueError(f"power={power} is too large: {largest}^-{power} is 0 in float32; choose a smaller one")
    return weights.astype(np.float32)


def mask_tokens(
    key: jax.Array,
    input_ids: Int[Array, "B T"],
    attention_mask: Int[Array, "B T"],
    token_weights: Float[Array, "V"],
    *,
    max_predictions: int,
    mask_id: int,
    masked_fraction: float = 0.15,
) -> dict[str, Array]:
    """Chooses tokens over the whole batch and replaces them.

    ceil(`masked_fraction` * number of real tokens) tokens are drawn without replacement, in proportion to the weights
    of their ids; all tokens of positive weight, if these are fewer. Each chosen token is replaced by [MASK] (80%) or by
    a random id (10%), or stays unchanged (10%).

    A row has P slots. If more of its tokens are chosen, those drawn last are dropped: they are neither replaced nor
    predicted, and no other row gets them. The mean of a full row is `masked_fraction` * T, and rows of rare tokens have
    more, so choose P well above that; with P = T nothing is dropped.

    A pure function of static shapes, for jax.jit. With a batch sharded over a mesh with Auto axes it makes the same
    draw as on one device; only the scores are gathered. No intermediate has B * T * V elements.

    Differences from the reference: the limit P; and the number of tokens is not rounded to a multiple of 8 under fp16.

    Args:
        key: source of all random draws.
        input_ids: the batch before masking.
        attention_mask: 0 for padding, which is neither counted nor chosen; special tokens are counted.
        token_weights: weight of each id, see `smoothed_weights`; an id of weight 0 is never chosen.
        max_predictions: P, the number of slots per row.
        mask_id: id of [MASK].
        masked_fraction: fraction of the real tokens to choose, rounded to a denominator of at most 2^15.

    Returns:
        `input_ids` int32 [B, T] with the chosen tokens replaced; `masked_positions` (ascending in a row) and
        `masked_ids` int32 [B, P]; `masked_weights` float32 [B, P]. Unused slots come last and have position 0, id 0 and
        weight 0.

    Raises:
        ValueError: if `max_predictions` is below 1, `mask_id` is not an id, or `masked_fraction` is neither 0 nor in
            [2^-15, 1].

    Source: Sanh et al. 2019 (arXiv:1910.01108); huggingface/transformers
        examples/research_projects/distillation/distiller.py, prepare_batch_mlm. Drawing without replacement by the
        highest values of log w + Gumbel noise: Kool et al. 2019 (arXiv:1903.06059), section 2.
    """
    vocab_size = token_weights.shape[0]
    if max_predictions < 1 or not 0 <= mask_id < vocab_size:
        raise ValueError(
            f"masking needs max_predictions >= 1 and 0 <= mask_id < {vocab_size} (the number of weights), got "
            f"max_predictions={max_predictions}, mask_id={mask_id}"
        )
    if masked_fraction != 0 and not 1 / _LARGEST_DENOMINATOR <= masked_fraction <= 1:
        raise ValueError(f"masking needs 2^-15 <= masked_fraction <= 1, or 0, got masked_fraction={masked_fraction}")
    is_real, (choice_key, replace_key) = attention_mask != 0, jax.random.split(key)
    number = _rounded_up(float(masked_fraction), jnp.sum(is_real, dtype=jnp.int32))
    scores = _scores(choice_key, jnp.where(is_real, token_weights[input_ids], 0.0))
    positions = _positions(jnp.where(_is_among_highest(scores, number), scores, -jnp.inf), max_predictions)
    return _replace_tokens(replace_key, input_ids.astype(jnp.int32), positions, mask_id, vocab_size)


def _rounded_up(fraction: float, count: Int[Array, ""]) -> Int[Array, ""]:
    """Returns ceil(fraction * count), exactly."""
    ratio = Fraction(fraction).limit_denominator(_LARGEST_DENOMINATOR)
    whole, rest = jnp.divmod(count, ratio.denominator)
    return whole * ratio.numerator - (-rest * ratio.numerator) // ratio.denominator


def _scores(key: jax.Array, weights_BT: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """Returns log w + Gumbel noise; -inf if w is not positive."""
    # mode="high": common tokens are chosen only in the upper tail of the noise, which mode="low" resolves coarsely.
    noise_BT = jax.random.gumbel(key, weights_BT.shape, jnp.float32, mode="high")
    return jnp.where(weights_BT > 0, jnp.log(weights_BT) + noise_BT, -jnp.inf)


def _is_among_highest(scores_BT: Float[Array, "B T"], number: Int[Array, ""]) -> Bool[Array, "B T"]:
    """Returns the mask of the `number` highest scores, or of all finite scores if these are fewer.

    Ties go to the earlier position.
    """
    costs_BT = -scores_BT
    index_BT = jnp.arange(costs_BT.size, dtype=jnp.int32).reshape(costs_BT.shape)
    costs, index = jax.lax.sort((costs_BT.ravel(), index_BT.ravel()), num_keys=1, is_stable=True)
    last = jnp.maximum(number - 1, 0)
    # Of 10^5 scores in float32 some are equal, so the last score alone is not a threshold.
    is_highest_BT = (costs_BT < costs[last]) | ((costs_BT == costs[last]) & (index_BT <= index[last]))
    return is_highest_BT & (number > 0) & (costs_BT < jnp.inf)


def _positions(scores_BT: Float[Array, "B T"], max_predictions: int) -> Int[Array, "B P"]:
    """Returns the positions of the P highest scores of each row, ascending; T for unused slots."""
    length = scores_BT.shape[1]
    slots = min(max_predictions, length)
    highest_BP, positions_BP = jax.lax.top_k(scores_BT, slots)
    positions_BP = jnp.sort(jnp.where(highest_BP > -jnp.inf, positions_BP, length), axis=1)
    return jnp.pad(positions_BP, ((0, 0), (0, max_predictions - slots)), constant_values=length)


def _replace_tokens(
    key: jax.Array, ids_BT: Int[Array, "B T"], positions_BP: Int[Array, "B P"], mask_id: int, vocab_size: int
) -> dict[str, Array]:
    """Replaces the tokens at the positions by [MASK] (80%), themselves (10%) or a random id (10%).

    Each is drawn independently; a position of T is an unused slot.
    """
    action_key, id_key = jax.random.split(key)
    action_BP = jax.random.uniform(action_key, positions_BP.shape)
    random_BP = jax.random.randint(id_key, positions_BP.shape, 0, vocab_size, jnp.int32)
    is_used_BP = positions_BP < ids_BT.shape[1]
    slots_BP = jnp.where(is_used_BP, positions_BP, 0)
    originals_BP = jnp.take_along_axis(ids_BT, slots_BP, axis=1)
    new_BP = jnp.where(action_BP < 0.8, mask_id, jnp.where(action_BP < 0.9, originals_BP, random_BP))
    # vmap over rows keeps a sharded batch on its devices. Positions of T are out of range and dropped.
    write = jax.vmap(lambda ids, positions, new: ids.at[positions].set(new, mode="drop"))
    return {
        "input_ids": write(ids_BT, positions_BP, new_BP),
        "masked_positions": slots_BP,
        "masked_ids": jnp.where(is_used_BP, originals_BP, 0),
        "masked_weights": is_used_BP.astype(jnp.float32),
    }
