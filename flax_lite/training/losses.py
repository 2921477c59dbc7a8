"""Losses and scores as sums: of labels, and of a teacher's logits and hidden states, for each token.

The caller divides by the sum of weights over the whole global batch: means of means depend on how a batch is split over
devices and micro-batches, sums do not. No gradient reaches a teacher. What a student learns from attention is in
`flax_lite.distillation.relations`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flax_lite.layers.kernels import upcast


def cross_entropy(logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"]) -> Float[Array, "*axes"]:
    """-log softmax(logits)[label], in nats and float32; NaN where the label is no class."""
    logits = logits.astype(jnp.float32)
    # Not by index, whose gradient is a scatter into an array of zeros: one more pass over all logits, or two.
    chosen = jnp.sum(jnp.where(jnp.arange(logits.shape[-1]) == labels[..., None], logits, 0.0), axis=-1)
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, jax.nn.logsumexp(logits, axis=-1) - chosen, jnp.nan)


def of_pieces(logits: Float[Array, "*axes V"], num_pieces: int | None) -> Float[Array, "*axes pieces"]:
    """The logits of a vocabulary's pieces, without the rows that only fill a table up to a round size.

    Published tables have such rows (30,528 for BERT's 30,522 pieces), which no text trains: probabilities with them are
    others than those over the pieces, and two models of one vocabulary need not have as many.

    Args:
        logits: of a masked-LM head.
        num_pieces: of the tokenizer; None: as many as there are logits.
    """
    return logits if num_pieces in (None, logits.shape[-1]) else logits[..., :num_pieces]


def weighted_sum(losses: Float[Array, "*axes"], weights: Float[Array, "*axes"]) -> Float[Array, ""]:
    """sum(w * loss) over all axes; where a weight is 0 the loss adds nothing, NaN included."""
    return jnp.sum(jnp.where(weights > 0, weights * losses, 0.0))


def weighted_cross_entropy(
    logits: Float[Array, "*axes V"], labels: Int[Array, "*axes"], weights: Float[Array, "*axes"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sums over all axes of w * cross-entropy (nats) and of w * [argmax = label].

    Args:
        logits: unnormalized scores over V classes.
        labels: class ids.
        weights: 0 where an element is padding; such an element adds nothing, whatever its logits.

    Returns:
        The loss sum and the number of correct elements, both weighted.

    Source: masked-LM and sentence losses of google-research/albert, run_pretraining.py (which divides by sum(w) +
        1e-5).
    """
    weights = weights.astype(jnp.float32)
    correct = weights * (jnp.argmax(logits, axis=-1) == labels)
    return weighted_sum(cross_entropy(logits, labels), weights), jnp.sum(correct)


# torch.nn.CosineEmbeddingLoss adds it to both squared norms (ATen, native/Loss.cpp).
_EPSILON = 1e-12


TokenLoss = Callable[..., Float[Array, "B C"]]


def distillation_kl(
    student_logits: Float[Array, "*axes V"], teacher_logits: Float[Array, "*axes V"], temperature: float = 2.0
) -> Float[Array, "*axes"]:
    """T^2 KL(softmax(t / T) || softmax(s / T)), in nats, for each token.

    The gradient by s is T (softmax(s / T) - softmax(t / T)), which tends to (s - t) / V for high T (both centered): so
    T^2 keeps its size, whatever the temperature. The reference computes this divergence for what the paper calls
    cross-entropy, which is more by the teacher's entropy and has the same gradient.

    Args:
        student_logits: s, unnormalized scores over the vocabulary.
        teacher_logits: t; no gradient reaches them.
        temperature: T; 2 in the reference.

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
    """1 - s t / (|s| |t|) for each token: the student's hidden state is turned toward the teacher's.

    Args:
        student_hidden: s, of the last layer in the reference.
        teacher_hidden: t, of the same width; no gradient reaches it.

    Source: Sanh et al. 2019 (arXiv:1910.01108), section 3; distiller.py there (cosine_loss_fct).
    """
    student, teacher = upcast(student_hidden), upcast(jax.lax.stop_gradient(teacher_hidden))
    product = jnp.sum(student * teacher, axis=-1)
    squares = (jnp.sum(state * state, axis=-1) + _EPSILON for state in (student, teacher))
    return 1.0 - product * jax.lax.rsqrt(next(squares) * next(squares))


def logit_squared_error(
    student_logits: Float[Array, "*axes V"], teacher_logits: Float[Array, "*axes V"]
) -> Float[Array, "*axes"]:
    """sum_v (s_v - t_v)^2 for each token: a sum over the vocabulary, not a mean.

    Args:
        student_logits: s, unnormalized scores over the vocabulary.
        teacher_logits: t; no gradient reaches them.

    Source: distiller.py there (mse_loss_fct: the sum over everything, divided by the number of tokens).
    """
    difference = upcast(student_logits) - upcast(jax.lax.stop_gradient(teacher_logits))
    return jnp.sum(difference**2, axis=-1)


def mean_squared_error(
    student_hidden: Float[Array, "*axes D"], teacher_hidden: Float[Array, "*axes D"]
) -> Float[Array, "*axes"]:
    """sum_d (s_d - t_d)^2 / D for each token, of hidden states or of embeddings.

    Args:
        student_hidden: s; where the student is narrower, its projection to the teacher's width.
        teacher_hidden: t; no gradient reaches it.

    Source: Jiao et al. 2020 (arXiv:1909.10351), Transformer distillation; huawei-noah/Pretrained-Language-Model
        TinyBERT/task_distill.py (loss_mse, whose mean takes in padding tokens).
    """
    difference = upcast(student_hidden) - upcast(jax.lax.stop_gradient(teacher_hidden))
    return jnp.mean(difference**2, axis=-1)


def sum_in_chunks(
    loss: TokenLoss, *inputs: Float[Array, "B T ..."], weights: Float[Array, "B T"], chunk_length: int
) -> Float[Array, ""]:
    """Sum over tokens of w * loss, a few positions of every row at a time, forward and backward.

    What `loss` makes on the way, as logits over a vocabulary, exists for B * C tokens only, C = `chunk_length`: the
    backward pass makes it again, chunk by chunk. Chunks go along the rows, so that a batch that is sharded over its
    rows stays where it is.

    Args:
        loss: (inputs [B, C, ...]) to a loss for each token [B, C]. It may close over parameters: their gradient is that
            of the whole sum.
        inputs: arrays with a value for each token.
        weights: 0 where a token is padding; such a token adds nothing to value or gradient, whatever it holds.
        chunk_length: C; the last chunk is filled up with tokens of weight 0.

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
        # Zeros in place of padding, before the loss: 0 * NaN is NaN, in gradients too.
        is_used = chunk_weights > 0
        tokens = (jnp.where(is_used.reshape(is_used.shape + (1,) * (x.ndim - 2)), x, 0) for x in chunk)
        return jnp.sum(jnp.where(is_used, chunk_weights * loss(*tokens), 0.0))

    def body(total: Array, chunk: tuple[tuple[Array, ...], Array]) -> tuple[Array, None]:
        return total + chunk_sum(*chunk), None

    first = tuple(map(by_chunk, inputs)), by_chunk(weights)
    zero = jnp.zeros((), jax.eval_shape(chunk_sum, *jax.tree.map(lambda x: x[0], first)).dtype)
    return jax.lax.scan(body, zero, first)[0]
