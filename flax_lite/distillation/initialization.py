"""How a student begins: with layers and embeddings of its teacher, DistilBERT's largest single lever (its Table 4).

An ALBERT's tables of width E and its Dense to D are made out of the teacher's tables of width D. The teacher's
embeddings are gamma * LN_D(x) + beta with x [D] the sum of a row of each table; the student's are LN_E(z) K + b.
`principal_axes` R [D, E] has orthonormal columns and maps the vector of ones of E to that of D, so that LayerNorm's
means go over into each other, and with

    z = sqrt(E / D) x R,    K = sqrt(D / E) R^T diag(gamma),    b = beta

z has x's variance and epsilon means the same on both sides: the student's embeddings are the teacher's with the
centered x replaced by its projection onto R. They are equal where the centered rows have rank E - 1 or less.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from jaxtyping import Array, Float, Real

from flax_lite.architecture.weights import sinusoidal_positions

Flat = Mapping[str, Array | np.ndarray]


_WORD, _POSITION, _TOKEN_TYPE = (
    f"encoder/embeddings/{table}/embedding" for table in ("word", "position", "token_type")
)


_NORM, _PROJECTION, _HEAD = "encoder/embeddings/layer_norm", "encoder/embeddings/projection", "masked_lm_head"


# Where GELU and ReLU are the identity to most of what a head gives them. With a head trained on a frozen MiniLM
# (D = 384, E = 128, the 4000 commonest words) the student's words diverge from the teacher's by 2.2, 1.2, 0.97 and 0.95
# nats at offsets of 1, 3, 6 and 10; by 3.3 without one, and by 2.8 where all but the vocabulary's bias is random.
_LINEAR_OFFSET = 6.0


# What becomes of a teacher's parameter x, with the axes R and s = sqrt(E / D). The head's Dense is rotated, and offset
# to where its activation is the identity (at E = D, R is the identity, and the activation stays); LayerNorm takes the
# offset away. LN_E of a rotated row is 1 / s times the rotated LN_D, the tied table s times the rotated one: scale and
# bias make up for both, the scale as the diagonal of R^T diag(x) R.
_Transform = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


_TRANSFORMS: Mapping[str, _Transform] = {
    **dict.fromkeys((_WORD, _POSITION, _TOKEN_TYPE), lambda x, axes, s: s * (x @ axes)),
    f"{_HEAD}/dense/kernel": lambda x, axes, s: x @ axes,
    f"{_HEAD}/dense/bias": lambda x, axes, s: x @ axes + (_LINEAR_OFFSET if s < 1 else 0.0),
    f"{_HEAD}/layer_norm/scale": lambda x, axes, s: x @ axes**2 / s**2,
    f"{_HEAD}/layer_norm/bias": lambda x, axes, s: x @ axes / s,
    f"{_HEAD}/decoder/kernel": lambda x, axes, s: s * (axes.T @ x),
}


def needs_factorization(student: Mapping[str, Any], teacher: Flat) -> bool:
    """Whether the student has a Dense after its embeddings, the teacher has none, and E <= D; parameters by name."""
    has_projection = [f"{_PROJECTION}/kernel" in params for params in (student, teacher)]
    return has_projection == [True, False] and student[_WORD].shape[1] <= teacher[_WORD].shape[1]


def factorized(
    student: Mapping[str, Any], teacher: Flat, word_counts: Real[np.ndarray, "V"] | None = None
) -> dict[str, Array]:
    """The student's embeddings and masked-LM head by name, where `needs_factorization`; float32, no randomness.

    A teacher without a table of positions has sinusoidal ones; without token types the student's are zeros. Token types
    that only the teacher has are left.

    Args:
        student: the student's parameters by name; only shapes and names are read.
        teacher: the teacher's.
        word_counts: how often each token occurs in the text that the student will see; one that does not counts as
            once, as in `flax_lite.rows.token_masks.smoothed_weights`. None weighs all alike. With counts of 245 k
            tokens of Wikipedia a MiniLM of E = 128 ends at a cosine distance of 0.11 to its teacher on other text,
            without at 0.32 (all-MiniLM-L6-v2, D = 384, its own 6 layers, WikiText-2).

    Raises:
        ValueError: if `word_counts` are negative or not one for each row of the teacher's table.
    """
    (num_words, model_width), width = teacher[_WORD].shape, student[_WORD].shape[1]
    counts = np.ones(num_words) if word_counts is None else np.asarray(word_counts)
    if counts.shape != (num_words,) or not (counts >= 0).all():
        raise ValueError(f"expected {num_words} word_counts >= 0, one for each row, got {counts.shape}, {counts.min()}")
    source = {name: np.asarray(leaf) for name, leaf in teacher.items() if name in student}
    source.setdefault(_POSITION, sinusoidal_positions(len(student[_POSITION]), model_width))
    tables = {name: source[name] for name in (_WORD, _POSITION, _TOKEN_TYPE) if name in source}
    axes, s = principal_axes(second_moment(tables, np.maximum(counts, 1)), width), (width / model_width) ** 0.5
    new = {name: change(source[name], axes, s) for name, change in _TRANSFORMS.items() if name in source}
    if _TOKEN_TYPE in student:
        new.setdefault(_TOKEN_TYPE, np.zeros(student[_TOKEN_TYPE].shape))
    new |= {
        f"{_NORM}/scale": np.ones(width),
        f"{_NORM}/bias": np.zeros(width),
        f"{_PROJECTION}/kernel": axes.T * source[f"{_NORM}/scale"] / s,
        f"{_PROJECTION}/bias": source[f"{_NORM}/bias"],
    }
    return {name: jnp.asarray(leaf, jnp.float32) for name, leaf in new.items()}


def second_moment(tables: Mapping[str, np.ndarray], word_weights: Real[np.ndarray, "V"]) -> Float[np.ndarray, "D D"]:
    """E[x x^T] of x, the sum of one row of each table, drawn independently: words by weight, other rows alike.

    It is the sum of the tables' covariances and the outer product of the sum of their means. Of MiniLM's embeddings of
    WikiText-2 its axes lose 0.69 at E = 128 (relative error), those of the words alone 0.83; with counts it is 0.56.
    """
    width = tables[_WORD].shape[1]
    total, mean = np.zeros((width, width)), np.zeros(width)
    for name, table in tables.items():
        weights = word_weights if name == _WORD else np.ones(len(table))
        weights = weights / weights.sum()
        rows = np.array(table, np.float64)
        row_mean = weights @ rows
        rows *= np.sqrt(weights)[:, None]
        total += rows.T @ rows - np.outer(row_mean, row_mean)
        mean += row_mean
    return total + np.outer(mean, mean)


def principal_axes(moment: Float[np.ndarray, "D D"], width: int) -> Float[np.ndarray, "D E"]:
    """R: orthonormal columns that span the vector of ones and the E - 1 main axes of the centered rows.

    R = U H + 1 1^T / sqrt(D E), with U [D, E - 1] the eigenvectors of `moment` inside the complement of the ones, each
    with its largest element positive, and H [E - 1, E] Helmert's matrix. It is the identity for E = D, where every
    rotation keeps everything and this one does so through the head's activation too.
    """
    if width == len(moment):
        return np.eye(width)
    complement = _helmert(len(moment))
    vectors = np.linalg.eigh(complement @ moment @ complement.T)[1][:, ::-1][:, : width - 1]
    axes = complement.T @ vectors
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    return axes @ _helmert(width) + 1 / np.sqrt(len(moment) * width)


def _helmert(size: int) -> Float[np.ndarray, "{size}-1 {size}"]:
    """Orthonormal rows, all orthogonal to the vector of ones: row k is k ones, -k, zeros, divided by its length."""
    row, column = np.arange(1, size)[:, None], np.arange(size)[None, :]
    return np.where(column < row, 1.0, np.where(column == row, -row, 0.0)) / np.sqrt(row * (row + 1))


Params = Mapping[str, Any]


# Stacked layers have a leading axis, a layer that is used all the way down has none (flax_lite.layers.stack).
_STACK, _SHARED = "encoder/layers/", "encoder/layer/"


def spread_layers(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Which layers of a teacher a student takes: evenly spread, the first and the last among them.

    Layer i of n takes layer i (N - 1) / (n - 1) of N, rounded, halves up. For 12 to 6 it is the reference's list 0, 2,
    4, 7, 9, 11; for 6 to 3 it is 0, 3, 5, of four untrained picks from a real BERT the best on STS-B. A single layer is
    the first.

    Raises:
        ValueError: unless 1 <= student_layers <= teacher_layers.

    Source: huggingface/transformers examples/research_projects/distillation/scripts/extract_distilbert.py has the list
        and no rule.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise ValueError(
            f"a student of {student_layers} layers cannot take its layers from a teacher of {teacher_layers}"
        )
    gaps, last = max(student_layers - 1, 1), teacher_layers - 1
    return tuple((2 * index * last + gaps) // (2 * gaps) for index in range(student_layers))


def init_from_teacher(
    student: Params,
    teacher: Params,
    layers: Sequence[int] | None = None,
    word_counts: Real[np.ndarray, "V"] | None = None,
) -> dict[str, Any]:
    """The student's parameters with everything taken from the teacher that both have.

    Embeddings, their LayerNorm and the parts of the heads are taken as they are. Where the student's embeddings have a
    projection from E to D and the teacher's have none, they and the masked-LM head are
    made by `factorized`.

    Each of the student's physical layers (its groups' too, however often one is applied) is one of the teacher's; one
    that is used all the way down is the mean of the teacher's. Of a 6-layer MiniLM, last hidden state on WikiText-2,
    the mean of all is at a cosine distance of 0.69 from the teacher, the best single layer at 0.75; E = 128.

    What only the student has stays as it is; what only the teacher has (token types and pooler, where the student is a
    DistilBERT) is left, as in the reference.

    Args:
        student: nested dictionary of the student's parameters (`flax_lite.models.params.get_params`) under "encoder"
            and heads, or of their shapes; those that it gets nothing for are returned.
        teacher: the teacher's.
        layers: numbers of teacher's layers with parameters of their own. Stacked students: one for each of their
            physical layers, `spread_layers` if None; of a teacher that shares its layer (ALBERT) every one is that.
            Students that share one: those whose mean it is, all if None.
        word_counts: how often each token occurs, for factorized embeddings (`factorized`); of no
            effect on others.

    Raises:
        ValueError: if widths or vocabularies differ, naming all that do; if `layers` is empty or of another length than
            the student has, or names a layer that is not there; for parameters without an encoder's layers; for
            `word_counts` that are negative or of another length than the vocabulary.
    """
    leaves, structure = tree_flatten_with_path(student)
    given = {keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_flatten_with_path(teacher)[0]}
    own = {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    picked = given | _layers(own, given, layers)
    if needs_factorization(own, given):
        picked |= factorized(own, given, word_counts)
    wrong = [
        f"  {name}: teacher {picked[name].shape}, student {leaf.shape}"
        for name, leaf in own.items()
        if name in picked and picked[name].shape != leaf.shape
    ]
    if wrong:
        raise ValueError("the teacher's parameters do not fit the student's:\n" + "\n".join(wrong))
    return tree_unflatten(structure, [picked.get(name, leaf) for name, leaf in own.items()])


def _layers(student: Mapping[str, Any], teacher: Mapping[str, Array], layers: Sequence[int] | None) -> dict[str, Any]:
    """The student's layers, by name, of a teacher's flat parameters."""
    (prefix, own), (teacher_prefix, stack) = _physical_layers(student), _physical_layers(teacher)
    if teacher_prefix == _SHARED:
        stack = {name: leaf[None] for name, leaf in stack.items()}
    depth, there = (next(iter(leaves.values())).shape[0] for leaves in (own, stack))
    if prefix == _SHARED:
        index = _checked(range(there) if layers is None else layers, there)
        # In float64: the one rounding at the end is the same in whatever order a machine adds.
        means = {name: np.mean(np.asarray(leaf)[index], axis=0, dtype=np.float64) for name, leaf in stack.items()}
        return {prefix + name: jnp.asarray(mean, stack[name].dtype) for name, mean in means.items()}
    if teacher_prefix == _SHARED:
        index = np.zeros(depth, np.int32)
    else:
        index = _checked(spread_layers(there, depth) if layers is None else layers, there, depth)
    return {prefix + name: jnp.take(leaf, index, axis=0) for name, leaf in stack.items()}


def _physical_layers(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """How the names of the layers' parameters begin, and these by the rest of their name."""
    for prefix in (_STACK, _SHARED):
        found = {name.removeprefix(prefix): leaf for name, leaf in params.items() if name.startswith(prefix)}
        if found:
            return prefix, found
    parts = ", ".join(sorted({name.split("/")[0] for name in params}))
    raise ValueError(
        f"parameters of {parts} have no {_STACK} and no {_SHARED}; "
        "expected those of a model with a head, or of an encoder as {'encoder': parameters}"
    )


def _checked(layers: Sequence[int], there: int, depth: int | None = None) -> np.ndarray:
    """The numbers of a teacher's layers as an array: `depth` of them, or any number of them but none."""
    chosen = tuple(layers)
    if not chosen or len(chosen) != (depth or len(chosen)) or not all(0 <= layer < there for layer in chosen):
        student, expected = (f"{depth} layers", f"{depth} numbers") if depth else ("one shared layer", "some numbers")
        raise ValueError(
            f"layers={chosen} for a student of {student} and a teacher of {there}: expected {expected} "
            f"from 0 to {there - 1}"
        )
    return np.array(chosen)
