"""Feature extraction: the hidden states of the tokens of a text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flax_lite.pipelines.base import Pipeline, Request
from flax_lite.pipelines.programs import Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureExtractionOptions:
    """Options of the task.

    Attributes:
        return_tensors: whether results are arrays rather than nested lists.
    """

    return_tensors: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.return_tensors, bool):
            raise ValueError(f"return_tensors={self.return_tensors!r:.50}; expected True (arrays) or False (lists)")


class FeatureExtraction(Pipeline[FeatureExtractionOptions]):
    """Returns the last hidden states of the tokens of each string, special tokens included.

    As in Hugging Face's pipeline, the result of a string is a nested list of shape [1, T, D], T being its number of
    tokens; with `return_tensors` it is a float32 array of this shape.
    """

    task = "feature-extraction"
    options_type = FeatureExtractionOptions
    _is_by_token = True

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"hidden": output.last_hidden_state.astype(jnp.float32)}

    def _preprocess(self, inputs: Sequence[Any], options: FeatureExtractionOptions, first: int) -> list[Request]:
        return self._text_requests(inputs, first)

    def _reduce_row(self, request: Request, number: int, outputs: Outputs, options: FeatureExtractionOptions) -> Any:
        return outputs["hidden"][None, : len(request.rows[number].tokens)].copy()

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: FeatureExtractionOptions) -> Any:
        return outputs[0] if options.return_tensors else outputs[0].tolist()
