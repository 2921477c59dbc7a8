"""How a student begins: with layers and embeddings of its teacher, DistilBERT's largest single lever (its Table 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from jaxtyping import Array

Params = Mapping[str, Any]

# Stacked layers have a leading axis, a layer that is used all the way down has none (flax_lite.stack).
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


def init_from_teacher(student: Params, teacher: Params, layers: Sequence[int] | None = None) -> dict[str, Any]:
    """The student's parameters with everything taken from the teacher that both have.

    Embeddings, their LayerNorm and the parts of the heads are taken as they are; the student's layers are the chosen
    ones of the teacher. What only the student has stays as it is; what only the teacher has (token types and pooler,
    where the student is a DistilBERT) is left, as in the reference.

    Args:
        student: nested dictionary of the student's parameters (`flax_lite.state.get_params`), with stacked layers.
        teacher: the teacher's. Every position of a teacher that shares its layer (ALBERT) is that layer.
        layers: for each of the student's layers the teacher's, by its number among those with parameters of their own;
            `spread_layers` if None.

    Raises:
        ValueError: if the student shares its layer or widths or vocabularies differ, naming all that do; if `layers` is
            of another length than the student has, or names a layer that is not there.
    """
    leaves, structure = tree_flatten_with_path(student)
    given = {keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_flatten_with_path(teacher)[0]}
    own = {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    stacked = {name: leaf for name, leaf in own.items() if name.startswith(_STACK)}
    if not stacked:
        raise ValueError("a student that shares one layer over its depth cannot take several layers of a teacher")
    picked = given | _picked_layers(given, len(next(iter(stacked.values()))), layers)
    wrong = [
        f"  {name}: teacher {picked[name].shape}, student {leaf.shape}"
        for name, leaf in own.items()
        if name in picked and picked[name].shape != leaf.shape
    ]
    if wrong:
        raise ValueError("the teacher's parameters do not fit the student's:\n" + "\n".join(wrong))
    return tree_unflatten(structure, [picked.get(name, leaf) for name, leaf in own.items()])


def _picked_layers(teacher: Mapping[str, Array], depth: int, layers: Sequence[int] | None) -> dict[str, Array]:
    """The student's stack, by name, of a teacher's flat parameters."""
    shared = {_STACK + name.removeprefix(_SHARED): leaf for name, leaf in teacher.items() if name.startswith(_SHARED)}
    if shared:
        return {name: jnp.stack([leaf] * depth) for name, leaf in shared.items()}
    stack = {name: leaf for name, leaf in teacher.items() if name.startswith(_STACK)}
    there = len(next(iter(stack.values())))
    chosen = spread_layers(there, depth) if layers is None else tuple(layers)
    if len(chosen) != depth or not all(0 <= layer < there for layer in chosen):
        raise ValueError(
            f"layers={chosen} for a student of {depth} layers and a teacher of {there}: expected {depth} numbers "
            f"from 0 to {there - 1}"
        )
    index = jnp.array(chosen)
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), stack)
