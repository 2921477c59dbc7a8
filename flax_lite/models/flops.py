"""Floating-point operations of a model and of a training step, counted from sizes: two for a multiply-add."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution


def encoder_flops(config: EncoderConfig, length: int) -> int:
    """Forward pass of the encoder, per token of a row of `length` tokens; a shared layer counts as often as it runs.

    A layer has 4 D^2 + 2 D F weights in its products, and attention takes 2 T D more multiply-adds; the embedding
    tables are looked up.
    """
    width = config.hidden_size
    layer = 4 * width**2 + 2 * width * config.intermediate_size + 2 * length * width
    projection = config.embedding_size * width if config.has_embedding_projection else 0
    return 2 * (len(config.layer_sequence()) * layer + projection)


def word_head_flops(config: EncoderConfig) -> int:
    """Forward pass of the masked-LM head, for each position that it predicts: D E + E V multiply-adds."""
    return 2 * config.embedding_size * (config.hidden_size + config.vocab_size)


def distillation_cost(student: EncoderConfig, teacher: EncoderConfig, length: int, masked: float) -> float:
    """FLOPs of a step of DistilBERT's triple loss over those of a masked-LM step of the same student without a teacher.

    A gradient costs three forward passes. The logits of every token, student's and teacher's, are made a second time in
    the backward pass (`flax_lite.training.losses.sum_in_chunks`).

    Args:
        student: its architecture.
        teacher: its architecture.
        length: T, tokens of a row.
        masked: masked slots per token, P / T.
    """
    alone = 3 * encoder_flops(student, length) + 3 * masked * word_head_flops(student)
    taught = encoder_flops(teacher, length) + 4 * word_head_flops(student) + 2 * word_head_flops(teacher)
    return (alone + taught) / alone


# A gradient has two products for each of the forward pass (tests/flax_lite/models/flops_test.py).
_WITH_GRADIENT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """The model, and the teacher if there is one, that a step computes.

    Poolers and the heads of tasks are left out: for base sizes they are less than a thousandth.

    Attributes:
        config: the architecture that is trained.
        execution: how it is computed.
        predictions: positions of a row whose words are predicted; 0: no masked-LM head.
        teacher: an architecture that is run beside it, without a gradient.
        word_chunks: parts of a batch, one after the other, at whose every token the words of teacher and model are
            computed; 0: they are not compared.
    """

    config: EncoderConfig
    execution: Execution
    predictions: int = 0
    teacher: EncoderConfig | None = None
    word_chunks: int = 0

    def flops(self, batch: Mapping[str, Any]) -> float:
        """Operations of the model on a global batch: a shared layer as often as it runs, nothing that is recomputed."""
        rows, length = rows_and_length(batch)
        words = self.predictions + (length if self.word_chunks else 0)
        total = _WITH_GRADIENT * (length * encoder_flops(self.config, length) + words * word_head_flops(self.config))
        if self.teacher is not None:
            total += length * encoder_flops(self.teacher, length)
            total += length * word_head_flops(self.teacher) if self.word_chunks else 0
        return float(rows * total)


def rows_and_length(batch: Mapping[str, Any]) -> tuple[int, int]:
    """Rows of tokens of a batch (a choice among several has a row each) and their length."""
    *rows, length = batch["input_ids"].shape
    return math.prod(rows), length
