"""How a student begins: with layers and embeddings of its teacher, DistilBERT's largest single lever (its Table 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from jaxtyping import Array, Real

from flax_lite.distillation.factorization import factorised, needs_factorisation

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
    `flax_lite.distillation.factorization`'s.

    Each of the student's physical layers (its groups' too, however often one is applied) is one of the teacher's; one
    that is used all the way down is the mean of the teacher's. Of a 6-layer MiniLM, last hidden state on WikiText-2,
    the mean of all is at a cosine distance of 0.69 from the teacher, the best single layer at 0.75; E = 128.

    What only the student has stays as it is; what only the teacher has (token types and pooler, where the student is a
    DistilBERT) is left, as in the reference.

    Args:
        student: nested dictionary of the student's parameters (`flax_lite.models.state.get_params`) under "encoder" and
            heads, or of their shapes; those that it gets nothing for are returned.
        teacher: the teacher's.
        layers: numbers of teacher's layers with parameters of their own. Stacked students: one for each of their
            physical layers, `spread_layers` if None; of a teacher that shares its layer (ALBERT) every one is that.
            Students that share one: those whose mean it is, all if None.
        word_counts: how often each token occurs, for factorised embeddings
            (`flax_lite.distillation.factorization.factorised`); of no effect on others.

    Raises:
        ValueError: if widths or vocabularies differ, naming all that do; if `layers` is empty or of another length than
            the student has, or names a layer that is not there; for parameters without an encoder's layers; for
            `word_counts` that are negative or of another length than the vocabulary.
    """
    leaves, structure = tree_flatten_with_path(student)
    given = {keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_flatten_with_path(teacher)[0]}
    own = {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    picked = given | _layers(own, given, layers)
    if needs_factorisation(own, given):
        picked |= factorised(own, given, word_counts)
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
