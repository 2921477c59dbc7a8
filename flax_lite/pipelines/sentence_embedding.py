"""Sentence embedding: a vector for each text, similarities of vectors, and search."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from flax_lite.checkpoints.sentence_transformers import POOLINGS
from flax_lite.layers.sentence_vectors import sentence_vectors
from flax_lite.pipelines.base import CHUNK_SIZE, Pipeline, Request
from flax_lite.pipelines.options import check_names
from flax_lite.pipelines.search import SIMILARITIES, as_matrix, normalized, semantic_search
from flax_lite.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceEmbeddingOptions:
    """Calls have no options: the pooling is part of the model."""


class SentenceEmbedding(Pipeline[SentenceEmbeddingOptions]):
    """Computes a vector for each string: float32 [D] for one string, [n, D] for a list of n strings.

    `encode`, `similarity` and `search` have the names and conventions of sentence-transformers.
    """

    task = "sentence-embedding"
    options_type = SentenceEmbeddingOptions
    _pipeline_options = ("pooling", "normalize", "similarity_fn_name")

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        pooling: str = "mean",
        normalize: bool = False,
        similarity_fn_name: str = "cosine",
        **options: Any,
    ) -> None:
        """Creates a pipeline; nothing is compiled yet.

        Args:
            model: an Encoder.
            tokenizer: its tokenizer.
            pooling: "mean" or "max" over the tokens of a text, special tokens included, or "cls", the state of the
                first token.
            normalize: whether to divide vectors by their L2 norm.
            similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan", for `similarity`.
            options: as for every pipeline.

        Raises:
            ValueError: if the pooling or the similarity is unknown, or as for every pipeline.
        """
        if similarity_fn_name not in SIMILARITIES:
            raise ValueError(
                f"similarity_fn_name={similarity_fn_name!r} is not known; choose from {', '.join(SIMILARITIES)}"
            )
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not known; choose from {', '.join(POOLINGS)}")
        self.pooling, self.normalize, self.similarity_fn_name = pooling, normalize, similarity_fn_name
        super().__init__(model, tokenizer, **options)

    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        show_progress_bar: bool = True,
        **options: Any,
    ) -> Float[np.ndarray, "*n D"]:
        """Returns the vector [D] of a string, or the vectors [n, D] of several.

        Args:
            sentences: a string, or any iterable of strings.
            batch_size: as for a call.
            normalize_embeddings: whether to divide vectors by their L2 norm, also if the pipeline does not.
            show_progress_bar: whether to show a bar for several strings; never if standard error is not a terminal.
            options: none; an option of sentence-transformers is an error with a hint.

        Raises:
            InputError: if one is not a string, or its vector is not finite; a ValueError.
            TypeError: for an unknown option.
        """
        check_names(options, "encode", ("normalize_embeddings", "show_progress_bar"))
        if isinstance(sentences, str):
            vectors = self(sentences, batch_size=batch_size)
        else:
            sentences = list(sentences)
            with _progress(len(sentences), show_progress_bar) as advance:
                call = dataclasses.replace(self._call({}, batch_size), advance=advance)
                vectors = self._collect(list(self._chunks(iter(sentences), CHUNK_SIZE, call)))
        return normalized(vectors) if normalize_embeddings else vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Float[np.ndarray, "n m"]:
        """Returns the similarity of all pairs of vectors, by default the cosine.

        Args:
            embeddings1: [n, D], or one vector.
            embeddings2: [m, D], or one vector.

        Raises:
            ValueError: if they have other shapes, or are not finite.
        """
        one = as_matrix("embeddings1", embeddings1)
        return SIMILARITIES[self.similarity_fn_name](one, as_matrix("embeddings2", embeddings2, one.shape[1]))

    def search(
        self,
        queries: str | Sequence[str] | Float[np.ndarray, "*q D"],
        corpus_embeddings: Any,
        *,
        top_k: int = 10,
        batch_size: int | None = None,
        show_progress_bar: bool = True,
    ) -> list[list[dict[str, Any]]]:
        """Returns the texts of a corpus that are most similar to each query by cosine, as util.semantic_search does.

        Args:
            queries: strings or their embeddings; a single one counts as a list of one.
            corpus_embeddings: [n, D], as returned by `encode`.
            top_k: number of results for each query.
            batch_size: as for a call.
            show_progress_bar: as for `encode`, while queries are encoded.

        Returns:
            For each query a list of {"corpus_id": index in the corpus, "score": cosine}, best first.

        Raises:
            ValueError: if `top_k` is below 1, or embeddings have another width or are not finite.
        """
        corpus = as_matrix("corpus_embeddings", corpus_embeddings, self.model.config.hidden_size)
        if isinstance(queries, str):
            queries = [queries]
        if isinstance(queries, list | tuple) and (not queries or isinstance(queries[0], str)):
            queries = self.encode(queries, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return semantic_search(as_matrix("queries", queries, corpus.shape[1]), corpus, top_k)

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


@contextlib.contextmanager
def _progress(total: int, is_shown: bool) -> Iterator[Callable[[], object]]:
    """Yields a function that advances a bar on standard error by one text."""
    if not is_shown or not sys.stderr.isatty():
        yield lambda: None
        return
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("encode", total=total)
        yield lambda: bar.advance(task)


def _mean(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return sentence_vectors(hidden, mask, 1)[:, 0]


def _cls(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return hidden[:, 0]


def _max(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
    return jnp.max(jnp.where(mask[:, :, None] == 1, hidden, -jnp.inf), axis=1)


_POOLS = {"mean": _mean, "cls": _cls, "max": _max}
