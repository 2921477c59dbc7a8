"""What a distillation compares: losses by name with their weights, and the layers they are taken from."""

import dataclasses
from collections.abc import Mapping

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationRecipe:
    """Which losses, how much of each, and between which layers.

    Attributes:
        losses: weight of each loss by name, out of `flax_lite.distillation.losses.LOSSES`; one of weight 0 is measured
            and not optimized.
        temperature: T of the soft cross-entropy.
        restrict_to_mask: the losses on logits see the masked positions only, not every token.
        layer_map: (teacher's layer, student's layer) pairs of the losses on hidden states and attention scores;
            `uniform_layer_map` if there are none. Layers count from 0, negative ones from the end.
        relation_layers: the one pair of the relations.
        relation_heads: R, the heads that queries, keys and values are cut into for their relations; the teacher's own
            number if None.
        num_pieces: of the tokenizer, where tables may have more rows: logits are compared over these alone
            (`flax_lite.training.losses.of_pieces`). If None, tables have equally many rows, and all count.
        num_chunks: parts of a row whose logits exist at a time, above 1.
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
    """Pairs of layers at the same share of either depth, the last ones among them.

    Student's layer m of n (from 0) goes with the teacher's ceil((m + 1) N / n) - 1 of N: for 12 to 4 these are 2, 5, 8,
    11, TinyBERT's g(m) = 3 m.

    Source: Jiao et al. 2019 (arXiv:1909.10351), section 4.2, for multiples; the rounding is ours.
    """
    return tuple((-(-(layer + 1) * teacher_layers // student_layers) - 1, layer) for layer in range(student_layers))
