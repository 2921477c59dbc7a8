"""Initialization of a student from its teacher's layers and embeddings, the largest gain in DistilBERT's Table 4.

An ALBERT student's tables of width E and its Dense to D are computed from the teacher's tables of width D. The
teacher's embeddings are gamma * LN_D(x) + beta with x [D] the sum of a row of each table; the student's are LN_E(z) K +
b.
`principal_axes` R [D, E] has orthonormal columns and maps the ones vector of E to a multiple of that of D, so that it
preserves LayerNorm's means. With

    z = sqrt(E / D) x R,    K = sqrt(D / E) R^T diag(gamma),    b = beta

z has the variance of x, so that epsilon has the same effect in both LayerNorms. The student's embeddings are then the
teacher's with the centered x replaced by its projection onto R; they are equal if the centered rows have rank E - 1 or
less.
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

# Offset at which GELU and ReLU are the identity for most inputs of a head. Measured with a head trained on a frozen
# MiniLM (D = 384, E = 128, the 4000 most frequent words): KL divergence of the student's from the teacher's predictions
# of 2.2, 1.2, 0.97 and 0.95 nats at offsets of 1, 3, 6 and 10; 3.3 without an offset, 2.8 for a head
# that is random except for the vocabulary bias.
_LINEAR_OFFSET = 6.0

# The transform of each of the teacher's parameters x, with the axes R and s = sqrt(E / D). The head's Dense is rotated,
# with an offset at which its activation is the identity (for E = D, R is the identity and there is no offset);
# LayerNorm removes the offset. LN_E of a rotated row is 1 / s times the rotated LN_D, and the tied table is s times the
# rotated one: scale and bias compensate for both, the scale as the diagonal of R^T diag(x) R.
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
    """Whether only the student has a Dense after its embeddings, and E <= D; both given as parameters by name."""
    has_projection = [f"{_PROJECTION}/kernel" in params for params in (student, teacher)]
    return has_projection == [True, False] and student[_WORD].shape[1] <= teacher[_WORD].shape[1]


def factorized(
    student: Mapping[str, Any], teacher: Flat, word_counts: Real[np.ndarray, "V"] | None = None
) -> dict[str, Array]:
    """Computes the student's embeddings and masked-LM head from the teacher's, for `needs_factorization`.

    Deterministic, in float32. A teacher without a position table has sinusoidal positions; without token types, the
    student's are zeros. Token types that only the teacher has are dropped.

    Args:
        student: the student's parameters by name, of which only names and shapes are read.
        teacher: the teacher's parameters by name.
        word_counts: number of occurrences of each token in the student's training text; tokens without occurrences
            count as one, as in `flax_lite.rows.token_masks.smoothed_weights`. None gives all tokens the same weight.
            With counts of 245 k tokens of Wikipedia, the cosine distance to the teacher on other text is 0.11 instead
            of 0.32 (all-MiniLM-L6-v2 with E = 128, D = 384, its own 6 layers, WikiText-2).

    Returns:
        The new parameters by name.

    Raises:
        ValueError: if `word_counts` are negative or do not match the rows of the teacher's table.
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
    """E[x x^T] of x, the sum of one independently drawn row of each table: words by weight, other rows uniformly.

    It equals the sum of the tables' covariances plus the outer product of the sum of their means. The relative error of
    MiniLM's embeddings of WikiText-2 at E = 128 is 0.69 with its axes, 0.83 with those of the word table alone, and
    0.56 with word counts.
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
    """Returns R: orthonormal columns that span the ones vector and the E - 1 principal axes of the centered rows.

    R = U H + 1 1^T / sqrt(D E), with U [D, E - 1] the eigenvectors of `moment` orthogonal to the ones vector, each with
    its largest element positive, and H [E - 1, E] Helmert's matrix. For E = D it is the identity: any rotation is
    lossless there, and the identity is so through the head's activation too.
    """
    if width == len(moment):
        return np.eye(width)
    complement = _helmert(len(moment))
    vectors = np.linalg.eigh(complement @ moment @ complement.T)[1][:, ::-1][:, : width - 1]
    axes = complement.T @ vectors
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    return axes @ _helmert(width) + 1 / np.sqrt(len(moment) * width)


def _helmert(size: int) -> Float[np.ndarray, "{size}-1 {size}"]:
    """Helmert's matrix of orthonormal rows orthogonal to ones: row k is k ones, -k, then zeros, divided by its norm."""
    row, column = np.arange(1, size)[:, None], np.arange(size)[None, :]
    return np.where(column < row, 1.0, np.where(column == row, -row, 0.0)) / np.sqrt(row * (row + 1))


Params = Mapping[str, Any]

# Prefixes of stacked layers, which have a leading axis, and of a single shared layer, which has none.
_STACK, _SHARED = "encoder/layers/", "encoder/layer/"


def spread_layers(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Returns the teacher layers that initialize a student: evenly spread, from the first to the last.

    Layer i of n takes layer i (N - 1) / (n - 1) of N, rounded half up. For 12 to 6 these are DistilBERT's layers 0, 2,
    4, 7, 9, 11; for 6 to 3 they are 0, 3, 5, the best on STS-B of four selections from a pretrained BERT, not trained
    further. A single layer is the first.

    Raises:
        ValueError: unless 1 <= student_layers <= teacher_layers.

    Source: huggingface/transformers examples/research_projects/distillation/scripts/extract_distilbert.py has the
        list for 12 to 6.
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
    """Returns the student's parameters, with all that it has in common with the teacher taken from the teacher.

    Embeddings, their LayerNorm and the parts of the heads are copied. If only the student's embeddings have a
    projection from E to D, they and the masked-LM head are computed by `factorized`.

    Each physical layer of the student (or layer of a group) is a copy of one of the teacher's layers. A single shared
    layer is the mean of the teacher's: for a 6-layer MiniLM and E = 128, the last hidden state on WikiText-2 has a
    cosine distance to the teacher of 0.69 with the mean of all layers, and 0.75 with the best single layer.

    Parameters that only the student has are returned unchanged; those that only the teacher has (token types and pooler
    for a DistilBERT student) are dropped, as in DistilBERT's code.

    Args:
        student: nested dictionary of the student's parameters (`flax_lite.models.params.get_params`) under "encoder"
            and heads, or of their shapes.
        teacher: nested dictionary of the teacher's parameters.
        layers: indices of the teacher's physical layers. For a student with stacked layers: one for each of its
            physical layers, `spread_layers` if None; if the teacher shares its layer (ALBERT), all are copies of it.
            For a student with a shared layer: the layers to average, all if None.
        word_counts: number of occurrences of each token, for factorized embeddings (see `factorized`); ignored
            otherwise.

    Raises:
        ValueError: if shapes differ, listing all that do; if `layers` is empty, has a wrong length, or names a layer
            that does not exist; for parameters without an encoder's layers; for `word_counts` that are negative or do
            not match the vocabulary.
    """
    leaves, structure = tree_flatten_with_path(student)
    teacher_params = {
        keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_flatten_with_path(teacher)[0]
    }
    student_params = {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    picked = teacher_params | _layers(student_params, teacher_params, layers)
    if needs_factorization(student_params, teacher_params):
        picked |= factorized(student_params, teacher_params, word_counts)
    wrong = [
        f"  {name}: teacher {picked[name].shape}, student {leaf.shape}"
        for name, leaf in student_params.items()
        if name in picked and picked[name].shape != leaf.shape
    ]
    if wrong:
        raise ValueError("the teacher's parameters do not fit the student's:\n" + "\n".join(wrong))
    return tree_unflatten(structure, [picked.get(name, leaf) for name, leaf in student_params.items()])


def _layers(student: Mapping[str, Any], teacher: Mapping[str, Array], layers: Sequence[int] | None) -> dict[str, Any]:
    """Returns the student's layer parameters by name, from the teacher's."""
    (prefix, student_stack), (teacher_prefix, stack) = _physical_layers(student), _physical_layers(teacher)
    if teacher_prefix == _SHARED:
        stack = {name: leaf[None] for name, leaf in stack.items()}
    depth, teacher_depth = (next(iter(leaves.values())).shape[0] for leaves in (student_stack, stack))
    if prefix == _SHARED:
        index = _checked(range(teacher_depth) if layers is None else layers, teacher_depth)
        # In float64, so that the rounding at the end does not depend on the order of the sum.
        means = {name: np.mean(np.asarray(leaf)[index], axis=0, dtype=np.float64) for name, leaf in stack.items()}
        return {prefix + name: jnp.asarray(mean, stack[name].dtype) for name, mean in means.items()}
    if teacher_prefix == _SHARED:
        index = np.zeros(depth, np.int32)
    else:
        index = _checked(spread_layers(teacher_depth, depth) if layers is None else layers, teacher_depth, depth)
    return {prefix + name: jnp.take(leaf, index, axis=0) for name, leaf in stack.items()}


def _physical_layers(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the prefix of the layers' parameter names, and these parameters by the rest of their names."""
    for prefix in (_STACK, _SHARED):
        found = {name.removeprefix(prefix): leaf for name, leaf in params.items() if name.startswith(prefix)}
        if found:
            return prefix, found
    parts = ", ".join(sorted({name.split("/")[0] for name in params}))
    raise ValueError(
        f"parameters of {parts} have no {_STACK} and no {_SHARED}; "
        "expected those of a model with a head, or of an encoder as {'encoder': parameters}"
    )


def _checked(layers: Sequence[int], teacher_depth: int, depth: int | None = None) -> np.ndarray:
    """Returns indices of teacher layers as an array; there must be `depth` of them, or at least one."""
    chosen = tuple(layers)
    if not chosen or len(chosen) != (depth or len(chosen)) or not all(0 <= layer < teacher_depth for layer in chosen):
        student, expected = (
            (f"{depth} layers", f"{depth} numbers") if depth else ("one shared layer", "one or more numbers")
        )
        raise ValueError(
            f"layers={chosen} for a student of {student} and a teacher of {teacher_depth}: expected {expected} "
            f"from 0 to {teacher_depth - 1}"
        )
    return np.array(chosen)
