"""Losses of each token on attention: attention scores and distributions, and relations of queries, keys and values.

As in `flax_lite.training.losses`, the caller weighs tokens and divides, and no gradient reaches the teacher.

`visible` is the mask from `flax_lite.layers.attention.attention_visibility`: keys that each query may attend to, None
for all. A token that no query sees is padding: it adds nothing to the loss or gradient of other tokens, and its own
loss is 0, whatever its values, NaN included. Packed rows therefore need an attention mask beside segment ids, because
with segment ids alone padding sees padding. The loss of a query that sees no key is 0 too.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flax_lite.layers.kernels import upcast
from flax_lite.training.losses import distillation_kl


def attention_score_error(
    student_scores: Float[Array, "B N T T"],
    teacher_scores: Float[Array, "B teacher_heads T T"],
    visible: Bool[Array, "B 1 #T T"] | None,
) -> Float[Array, "B T"]:
    """Squared error of attention scores, (s - t)^2, averaged over N heads and over the visible keys of each query.

    TinyBERT's code differs: it compares scores after the mask, replaces those <= -100 by 0 (hidden keys, and any real
    score as low), and averages over all B N T T elements. So it counts padding keys, with an error of 0, and padding
    queries like any other.

    Args:
        student_scores: s = Q K^T / sqrt(H), before mask and softmax, as `capture=("scores",)` returns them for a layer.
        teacher_scores: t, with the same number of heads; no gradient reaches them.
        visible: see the module's docstring.

    Raises:
        ValueError: if the number of heads differs.

    Source: Jiao et al. 2020 (arXiv:1909.10351), Transformer distillation; huawei-noah/Pretrained-Language-Model
        TinyBERT/task_distill.py (student_att, teacher_att).
    """
    _check_heads(student_scores, teacher_scores)
    pairs = _visible_pairs(visible, student_scores)
    # Zeroed before the square: 0 * NaN is NaN, in gradients too.
    difference = jnp.where(pairs, upcast(student_scores) - upcast(jax.lax.stop_gradient(teacher_scores)), 0.0)
    seen = jnp.sum(pairs, axis=(1, 3))
    return jnp.sum(difference**2, axis=(1, 3)) / (student_scores.shape[1] * jnp.maximum(seen, 1))


def attention_divergence(
    student_scores: Float[Array, "B N T T"],
    teacher_scores: Float[Array, "B teacher_heads T T"],
    visible: Bool[Array, "B 1 #T T"] | None,
) -> Float[Array, "B T"]:
    """KL(softmax(t) || softmax(s)) over the visible keys of each query, in nats, averaged over N heads.

    Args:
        student_scores: s = Q K^T / sqrt(H), before the mask, as `capture=("scores",)` returns them for a layer.
        teacher_scores: t, with the same number of heads; no gradient reaches them.
        visible: see the module's docstring.

    Raises:
        ValueError: if the number of heads differs.

    Source: Wang et al. 2020 (arXiv:2002.10957), self-attention distribution transfer, of the last layer.
    """
    _check_heads(student_scores, teacher_scores)
    pairs = _visible_pairs(visible, student_scores)
    # As in attention_probabilities: exp is 0 for hidden keys, and a query without visible keys has the uniform average.
    student, teacher = (
        jnp.where(pairs, upcast(scores), jnp.finfo(upcast(scores).dtype).min)
        for scores in (student_scores, teacher_scores)
    )
    return jnp.mean(distillation_kl(student, teacher, temperature=1.0), axis=1)


def relation_divergence(
    student: Float[Array, "B T N H"],
    teacher: Float[Array, "B T teacher_heads teacher_width"],
    visible: Bool[Array, "B 1 #T T"] | None,
    num_heads: int,
) -> Float[Array, "B T"]:
    """KL(softmax(Y Y^T / sqrt(e)) || softmax(X X^T / sqrt(d))) over the visible tokens of each token, in nats.

    X are the student's vectors, concatenated over its heads and split into R relation heads of width d = N H / R; Y are
    the teacher's, with relation heads of width e. The result is averaged over R heads. Neither widths nor numbers of
    heads need to be equal. If R is the number of heads of both, this is MiniLM's value relation.

    Args:
        student: queries, keys or values, as `capture=("values",)` returns them for a layer.
        teacher: the teacher's queries, keys or values; no gradient reaches them.
        visible: see the module's docstring.
        num_heads: R.

    Raises:
        ValueError: if R is below 1 or does not divide the student's N H or the teacher's.

    Source: Wang et al. 2021 (arXiv:2012.15828), multi-head self-attention relations; Wang et al. 2020
        (arXiv:2002.10957), value-relation transfer.
    """
    for owner, states in (("student", student), ("teacher", teacher)):
        width = states.shape[2] * states.shape[3]
        if num_heads < 1 or width % num_heads:
            raise ValueError(
                f"the {owner}'s width of {width} cannot be split into num_heads={num_heads} relation heads; choose a "
                "number that divides both widths"
            )
    student_relations, teacher_relations = (
        _relation_scores(states, visible, num_heads) for states in (student, teacher)
    )
    return attention_divergence(student_relations, teacher_relations, visible)


def _relation_scores(
    states: Float[Array, "B T N H"], visible: Bool[Array, "B 1 #T T"] | None, num_heads: int
) -> Float[Array, "B R T T"]:
    """X X^T / sqrt(d) for each relation head, with X = 0 for padding."""
    batch, length, heads, head_width = states.shape
    states = upcast(states)
    if visible is not None:
        # Zeroed before the product, whose gradient multiplies by X: 0 * NaN is NaN.
        states = jnp.where(jnp.any(visible, axis=(1, 2))[:, :, None, None], states, 0.0)
    width = heads * head_width // num_heads
    states = states.reshape(batch, length, num_heads, width)
    return jnp.einsum("BTRH,BSRH->BRTS", states, states) / math.sqrt(width)


def _visible_pairs(visible: Bool[Array, "B 1 #T T"] | None, scores: Float[Array, "B N T T"]) -> Bool[Array, "B 1 T T"]:
    """Returns the visible keys of each query; padding, which no query sees, sees no key itself."""
    if visible is None:
        return jnp.ones_like(scores[:, :1], bool)
    is_real = jnp.any(visible, axis=2)
    return visible & is_real[..., None]


def _check_heads(student_scores: Array, teacher_scores: Array) -> None:
    given = student_scores.shape[1], teacher_scores.shape[1]
    if given[0] != given[1]:
        raise ValueError(
            f"attention is compared head by head: the student has {given[0]} heads, the teacher {given[1]}; use a "
            "student with the same number, or relation_divergence, which allows different numbers"
        )
