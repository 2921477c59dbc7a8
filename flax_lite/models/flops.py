"""Floating-point operations of a model and of a training step, computed from sizes; a multiply-add counts as two."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution


def encoder_flops(config: EncoderConfig, length: int) -> int:
    """FLOPs of the encoder's forward pass per token of a row of `length` tokens; a shared layer counts every time.

    A layer has 4 D^2 + 2 D F multiply-adds with weights and 2 T D in attention; embedding lookups have none.
    """
    width = config.hidden_size
    layer = 4 * width**2 + 2 * width * config.intermediate_size + 2 * length * width
    projection = config.embedding_size * width if config.has_embedding_projection else 0
    return 2 * (len(config.layer_sequence()) * layer + projection)


def word_head_flops(config: EncoderConfig) -> int:
    """FLOPs of the masked-LM head's forward pass per predicted position: D E + E V multiply-adds."""
    return 2 * config.embedding_size * (config.hidden_size + config.vocab_size)


def distillation_cost(student: EncoderConfig, teacher: EncoderConfig, length: int, masked: float) -> float:
    """Ratio of the FLOPs of a step with DistilBERT's triple loss to those of the student's masked-LM step.

    A gradient costs three forward passes. The logits of every token of student and teacher are recomputed in the
    backward pass (`flax_lite.training.losses.sum_in_chunks`).

    Args:
        student: architecture of the student.
        teacher: architecture of the teacher.
        length: T, tokens per row.
        masked: masked positions per token, P / T.
    """
    alone = 3 * encoder_flops(student, length) + 3 * masked * word_head_flops(student)
    taught = encoder_flops(teacher, length) + 4 * word_head_flops(student) + 2 * word_head_flops(teacher)
    return (alone + taught) / alone


# The gradient has two products for each product of the forward pass (tests/flax_lite/models/flops_test.py).
_WITH_GRADIENT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """The model that a step trains and, for distillation, its teacher.

    Poolers and task heads are not counted: for base sizes they are less than a thousandth.

    Attributes:
        config: architecture of the trained model.
        execution: execution config of the trained model.
        predictions: positions per row whose words are predicted; 0 without a masked-LM head.
        teacher: architecture of the teacher, which runs without a gradient.
        word_chunks: number of sequential chunks of a batch in which the logits of every token of teacher and model are
            computed; 0 if they are not compared.
    """

    config: EncoderConfig
    execution: Execution
    predictions: int = 0
    teacher: EncoderConfig | None = None
    word_chunks: int = 0

    def flops(self, batch: Mapping[str, Any]) -> float:
        """Model FLOPs of a global batch: a shared layer counts each time it runs, recomputation does not count."""
        rows, length = rows_and_length(batch)
        words = self.predictions + (length if self.word_chunks else 0)
        total = _WITH_GRADIENT * (length * encoder_flops(self.config, length) + words * word_head_flops(self.config))
        if self.teacher is not None:
            total += length * encoder_flops(self.teacher, length)
            total += length * word_head_flops(self.teacher) if self.word_chunks else 0
        return float(rows * total)


def rows_and_length(batch: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the number of token rows of a batch (multiple choice has one per choice) and their length."""
    *rows, length = batch["input_ids"].shape
    return math.prod(rows), length
