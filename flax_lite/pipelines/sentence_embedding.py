"""A vector of a text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flax_lite.checkpoints.sentence_transformers import POOLINGS
from flax_lite.layers.sentence_vectors import sentence_vectors
from flax_lite.pipelines.base import Pipeline, Request, single_row, text_of
from flax_lite.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceEmbeddingOptions:
    """Nothing: how vectors are made is part of the model."""


class SentenceEmbedding(Pipeline[SentenceEmbeddingOptions]):
    """Takes strings; gives a float32 vector [D] for one, [n, D] for a list."""

    task = "sentence-embedding"
    options_type = SentenceEmbeddingOptions
    _of_pipeline = ("pooling", "normalize")

    def __init__(
        self, model: Any, tokenizer: Tokenizer, *, pooling: str = "mean", normalize: bool = False, **options: Any
    ) -> None:
        """Compiles nothing yet.

        Args:
            model: an Encoder.
            tokenizer: its own.
            pooling: "mean" or "max" over a text's tokens, specials included, or the first token's state ("cls").
            normalize: whether vectors are divided by their norm.
            options: as of every pipeline.

        Raises:
            ValueError: for an unknown pooling, or as every pipeline.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not known; choose from {', '.join(POOLINGS)}")
        self.pooling, self.normalize = pooling, normalize
        super().__init__(model, tokenizer, **options)

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        mask = batch["attention_mask"]
        hidden = model(batch["input_ids"], mask, batch["token_type_ids"]).last_hidden_state
        vectors = _POOLS[self.pooling](hidden, mask).astype(jnp.float32)
        if self.normalize:
            # As torch.nn.functional.normalize: a vector of zeros stays one.
            vectors /= jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return {"vectors": vectors}

    def _encode(self, inputs: Sequence[Any], options: SentenceEmbeddingOptions, first: int) -> list[Request]:
        texts = [text_of(given, first + number, self.task) for number, given in enumerate(inputs)]
        room = self.max_length - self.tokenizer.template.single_size
        requests = []
        for text, ids in zip(texts, self.tokenizer.encode(texts), strict=True):
            self._cut(len(ids), room)
            requests.append(Request(text, [single_row(self.tokenizer, self.tokenizer.truncate(ids, room))]))
        return requests

    def _decode(self, request: Request, outputs: Sequence[Any], options: SentenceEmbeddingOptions) -> np.ndarray:
        return outputs[0]["vectors"].copy()

    def _collected(self, results: list[Any]) -> Any:
        return np.stack(results) if results else np.zeros((0, self.model.config.hidden_size), np.float32)


def _mean(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return sentence_vectors(hidden, mask, 1)[:, 0]


def _cls(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return hidden[:, 0]


def _max(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return jnp.max(jnp.where(mask[:, :, None] == 1, hidden, -jnp.inf), axis=1)


_POOLS = {"mean": _mean, "cls": _cls, "max": _max}
