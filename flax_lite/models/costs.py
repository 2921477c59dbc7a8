"""The operations that a training step takes, counted from sizes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution
from flax_lite.models.flops import encoder_flops, word_head_flops

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
