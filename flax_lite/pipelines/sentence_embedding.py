"""Sentence embedding: a vector for each text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flax_lite.checkpoints.sentence_transformers import POOLINGS
from flax_lite.layers.sentence_vectors import sentence_vectors
from flax_lite.pipelines.base import Pipeline, Request
from flax_lite.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceEmbeddingOptions:
    """Calls have no options: the pooling is part of the model."""


class SentenceEmbedding(Pipeline[SentenceEmbeddingOptions]):
    """Computes a vector for each string: float32 [D] for one string, [n, D] for a list of n strings."""

    task = "sentence-embedding"
    options_type = SentenceEmbeddingOptions
    _pipeline_options = ("pooling", "normalize")

    def __init__(
        self, model: Any, tokenizer: Tokenizer, *, pooling: str = "mean", normalize: bool = False, **options: Any
    ) -> None:
        """Creates a pipeline; nothing is compiled yet.

        Args:
            model: an Encoder.
            tokenizer: its tokenizer.
            pooling: "mean" or "max" over the tokens of a text, special tokens included, or "cls", the state of the
                first token.
            normalize: whether to divide vectors by their L2 norm.
            options: as for every pipeline.

        Raises:
            ValueError: if the pooling is unknown, or as for every pipeline.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not known; choose from {', '.join(POOLINGS)}")
        self.pooling, self.normalize = pooling, normalize
        super().__init__(model, tokenizer, **options)

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        mask = batch["attention_mask"]
        hidden = model(batch["input_ids"], mask, batch["token_type_ids"]).last_hidden_state
        vectors = _POOLS[self.pooling](hidden, mask).astype(jnp.float32)
        if self.normalize:
            # The epsilon of torch.nn.functional.normalize; a zero vector stays zero.
            vectors /= jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return {"vectors": vectors}

    def _preprocess(self, inputs: Sequence[Any], options: SentenceEmbeddingOptions, first: int) -> list[Request]:
        return self._text_requests(inputs, first)

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: SentenceEmbeddingOptions) -> np.ndarray:
        return outputs[0]["vectors"].copy()

    def _collect(self, results: list[Any]) -> Any:
        return np.stack(results) if results else np.zeros((0, self.model.config.hidden_size), np.float32)


def _mean(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return sentence_vectors(hidden, mask, 1)[:, 0]


def _cls(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return hidden[:, 0]


def _max(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return jnp.max(jnp.where(mask[:, :, None] == 1, hidden, -jnp.inf), axis=1)


_POOLS = {"mean": _mean, "cls": _cls, "max": _max}
