"""Losses of each token, and their weighted sums.

The caller divides a sum by the sum of weights over the whole global batch: means of means would depend on how a batch
is split over devices and micro-batches, sums do not. No gradient reaches a teacher's logits or hidden states. Losses on
attention are in `flax_lite.distillation.relations`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flax_lite.layers.kernels import upcast

TokenLoss = Callable[..., Float[Array, "B C"]]

# torch.nn.CosineEmbeddingLoss adds it to both squared norms (ATen, native/Loss.cpp).
_EPSILON = 1e-12


def cross_entropy(logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Cross-entropy with integer labels: -log softmax(logits)[label], in nats.

    Args:
        logits: unnormalized scores over V classes.
        labels: class ids.

    Returns:
        The loss of each element in float32; NaN for a label outside 0 to V - 1.
    """
    logits = logits.astype(jnp.float32)
    # A masked sum instead of an index: the gradient of indexing is a scatter into zeros, one or two more passes over
    # all logits.
    chosen = jnp.sum(jnp.where(jnp.arange(logits.shape[-1]) == labels[..., None], logits, 0.0), axis=-1)
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, jax.nn.logsumexp(logits, axis=-1) - chosen, jnp.nan)


def piece_logits(logits: Float[Array, "*axes V"], num_pieces: int | None) -> Float[Array, "*axes pieces"]:
    """Returns the logits of the tokenizer's pieces, without those of rows that pad the embedding table.

    Published tables are often padded to a round size (30,528 rows for BERT's 30,522 pieces). No text trains the padding
    rows, so they must not take part in a softmax, and two models of one vocabulary may have different numbers of them.

    Args:
        logits: logits of a masked-LM head.
        num_pieces: number of the tokenizer's pieces; None for all logits.
    """
    return logits if num_pieces in (None, logits.shape[-1]) else logits[..., :num_pieces]


def weighted_sum(losses: Float[Array, "*axes"], weights: Float[Array, "*axes"]) -> Float[Array, ""]:
    """sum(weight * loss) over all axes; elements of weight 0 add nothing, even if their loss is NaN."""
    return jnp.sum(jnp.where(weights > 0, weights * losses, 0.0))


def weighted_cross_entropy(
    logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"], weights: Float[Array, "*axes"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Weighted sums of the cross-entropy (nats) and of the correct predictions, over all axes.

    Args:
        logits: unnormalized scores over V classes.
        labels: class ids.
        weights: weight of each element; 0 for padding, which then adds nothing whatever its logits.

    Returns:
        sum(weight * loss) and sum(weight * [argmax = label]).

    Source: masked-LM and sentence losses of google-research/albert, run_pretraining.py (which divides by sum(weight) +
        1e-5).
    """
    weights = weights.astype(jnp.float32)
    correct = weights * (jnp.argmax(logits, axis=-1) == labels)
    return weighted_sum(cross_entropy(logits, labels), weights), jnp.sum(correct)


def distillation_kl(
    student_logits: Float[Array, "*axes V"], teacher_logits: Float[Array, "*axes V"], temperature: float = 2.0
) -> Float[Array, "*axes"]:
    """Soft cross-entropy of Hinton et al.: T^2 KL(softmax(t / T) || softmax(s / T)), in nats.

    The gradient with respect to s is T (softmax(s / T) - softmax(t / T)), which tends to (s - t) / V for high T (both
    centered), so that T^2 keeps its scale independent of the temperature. The papers call the loss a cross-entropy,
    which is larger by the teacher's entropy and has the same gradient; DistilBERT's code computes this divergence.

    Args:
        student_logits: s, unnormalized scores over the vocabulary.
        teacher_logits: t; no gradient reaches them.
        temperature: T; DistilBERT has 2.

    Returns:
        The loss of each token.

    Raises:
        ValueError: if `temperature` is not above 0.

    Source: Hinton et al. 2015 (arXiv:1503.02531), section 2.1; huggingface/transformers
        examples/research_projects/distillation/distiller.py (ce_loss_fct).
    """
    if not temperature > 0:
        raise ValueError(f"soft cross-entropy needs a temperature above 0, got {temperature}")
    student, teacher = (
        upcast(logits) / temperature for logits in (student_logits, jax.lax.stop_gradient(teacher_logits))
    )
    log_student, log_teacher = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
    return temperature**2 * jnp.sum(jnp.exp(log_teacher) * (log_teacher - log_student), axis=-1)


def cosine_distance(
    student_hidden: Float[Array, "*axes D"], teacher_hidden: Float[Array, "*axes D"]
) -> Float[Array, "*axes"]:
    """Cosine distance of hidden states: 1 - s . t / (|s| |t|).

    Args:
        student_hidden: s; DistilBERT takes the last layer.
        teacher_hidden: t, of the same width; no gradient reaches it.

    Returns:
        The loss of each token.

    Source: Sanh et al. 2019 (arXiv:1910.01108), section 3; huggingface/transformers
        examples/research_projects/distillation/distiller.py (cosine_loss_fct).
    """
    student, teacher = upcast(student_hidden), upcast(jax.lax.stop_gradient(teacher_hidden))
    product = jnp.sum(student * teacher, axis=-1)
    squares = (jnp.sum(state * state, axis=-1) + _EPSILON for state in (student, teacher))
    return 1.0 - product * jax.lax.rsqrt(next(squares) * next(squares))


def logit_squared_error(
    student_logits: Float[Array, "*axes V"], teacher_logits: Float[Array, "*axes V"]
) -> Float[Array, "*axes"]:
    """Squared error of logits, summed over the vocabulary: sum_v (s_v - t_v)^2.

    Args:
        student_logits: s, unnormalized scores over the vocabulary.
        teacher_logits: t; no gradient reaches them.

    Returns:
        The loss of each token.

    Source: huggingface/transformers examples/research_projects/distillation/distiller.py (mse_loss_fct: the sum over
        all elements, divided by the number of tokens).
    """
    difference = upcast(student_logits) - upcast(jax.lax.stop_gradient(teacher_logits))
    return jnp.sum(difference**2, axis=-1)


def mean_squared_error(
    student_hidden: Float[Array, "*axes D"], teacher_hidden: Float[Array, "*axes D"]
) -> Float[Array, "*axes"]:
    """Mean squared error of hidden states or embeddings: sum_d (s_d - t_d)^2 / D.

    Args:
        student_hidden: s, projected to the teacher's width if the student is narrower.
        teacher_hidden: t; no gradient reaches it.

    Returns:
        The loss of each token.

    Source: Jiao et al. 2020 (arXiv:1909.10351), Transformer distillation; huawei-noah/Pretrained-Language-Model
        TinyBERT/task_distill.py (loss_mse, whose mean includes padding tokens).
    """
    difference = upcast(student_hidden) - upcast(jax.lax.stop_gradient(teacher_hidden))
    return jnp.mean(difference**2, axis=-1)


def sum_in_chunks(
    loss: TokenLoss, *inputs: Float[Array, "B T ..."], weights: Float[Array, "B T"], chunk_length: int
) -> Float[Array, ""]:
    """Sum of weight * loss over tokens, computed for a few positions of every row at a time.

    Intermediate values of the loss, such as logits over a vocabulary, exist for B * C tokens only, C = `chunk_length`:
    the backward pass recomputes them chunk by chunk. Chunks divide the token axis, so that a batch sharded over its
    rows needs no communication.

    Args:
        loss: function of inputs [B, C, ...] that returns the loss of each token [B, C]. It may close over parameters:
            their gradient is that of the whole sum.
        inputs: arrays with a value for each token.
        weights: weight of each token; tokens of weight 0 add nothing to value or gradient, whatever their values.
        chunk_length: C; the last chunk is padded with tokens of weight 0.

    Raises:
        ValueError: if `chunk_length` is below 1.
    """
    if chunk_length < 1:
        raise ValueError(f"chunks need a length of at least 1, got {chunk_length}")
    length = weights.shape[1]
    chunks = -(-length // chunk_length)

    def by_chunk(array: Array) -> Array:
        padding = [(0, 0), (0, chunks * chunk_length - length)] + [(0, 0)] * (array.ndim - 2)
        split = jnp.pad(array, padding).reshape(array.shape[0], chunks, chunk_length, *array.shape[2:])
        return jnp.moveaxis(split, 1, 0)

    @jax.checkpoint
    def chunk_sum(chunk: tuple[Array, ...], chunk_weights: Array) -> Array:
        # Padding is zeroed before the loss: 0 * NaN is NaN, in gradients too.
        is_used = chunk_weights > 0
        tokens = (jnp.where(is_used.reshape(is_used.shape + (1,) * (x.ndim - 2)), x, 0) for x in chunk)
        return jnp.sum(jnp.where(is_used, chunk_weights * loss(*tokens), 0.0))

    def body(total: Array, chunk: tuple[tuple[Array, ...], Array]) -> tuple[Array, None]:
        return total + chunk_sum(*chunk), None

    stacked = tuple(map(by_chunk, inputs)), by_chunk(weights)
    zero = jnp.zeros((), jax.eval_shape(chunk_sum, *jax.tree.map(lambda x: x[0], stacked)).dtype)
    return jax.lax.scan(body, zero, stacked)[0]
