"""A checkpoint opened for reading, whatever its format."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import Dialect
from flax_lite.checkpoints.formats.tensors import Tensors


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint opened for reading.

    Attributes:
        path: the file that holds the weights.
        config: what config.json says.
        tensors: by their names in the file, dots between the parts.
        dialect: how the file names and orients them.
        beam_head: reads the tensors of the beam head beside the weights (`flax_lite.question_answering.beam_head`);
            None where there is none.
    """

    path: Path
    config: EncoderConfig
    tensors: Tensors
    dialect: Dialect
    beam_head: Callable[[], Tensors] | None = None
