"""Recipes of distillation: losses by name with their weights, and the layers that they compare."""

import dataclasses
from collections.abc import Mapping

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationRecipe:
    """Losses of a distillation, their weights, and the layers that they compare.

    Attributes:
        losses: weight of each loss by name, out of `flax_lite.distillation.losses.LOSSES`; a loss of weight 0 is
            measured but not optimized.
        temperature: T of the soft cross-entropy.
        restrict_to_mask: whether losses on logits read the masked positions only instead of every token.
        layer_map: (teacher layer, student layer) pairs of the losses on hidden states and attention scores;
            `uniform_layer_map` if empty. Layers count from 0, negative ones from the end.
        relation_layers: the (teacher layer, student layer) pair of the relation losses.
        relation_heads: R, number of heads that queries, keys and values are split into for their relations; the
            teacher's number of heads if None.
        num_pieces: number of the tokenizer's pieces, if tables may have more rows: logits are compared over the pieces
            only (`flax_lite.training.losses.piece_logits`). If None, both tables must have the same number of rows.
        num_chunks: number of chunks, above 1, that a row's logits are computed in.
    """

    losses: Mapping[str, float]
    temperature: float = 2.0
    restrict_to_mask: bool = False
    layer_map: tuple[Pair, ...] = ()
    relation_layers: Pair = (-1, -1)
    relation_heads: int | None = None
    num_pieces: int | None = None
    num_chunks: int = 8


def uniform_layer_map(teacher_layers: int, student_layers: int) -> tuple[Pair, ...]:
    """(teacher layer, student layer) pairs at equal relative depth; the last layers form a pair.

    Student layer m of n (from 0) is paired with teacher layer ceil((m + 1) N / n) - 1 of N: 2, 5, 8, 11 for 12 to 4
    layers, which is TinyBERT's g(m) = 3 m.

    Source: Jiao et al. 2020 (arXiv:1909.10351), section 4.2, for multiples; rounding is an extension.
    """
    return tuple((-(-(layer + 1) * teacher_layers // student_layers) - 1, layer) for layer in range(student_layers))
