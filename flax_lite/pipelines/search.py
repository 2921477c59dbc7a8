"""Similarities of vectors, and search for the most similar ones in memory, as in sentence-transformers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from flax_lite.pipelines.options import check_count

# Scores in memory at once.
_MAX_SCORES = 2**24
# torch.nn.functional.normalize has this epsilon; a zero vector stays zero.
_EPSILON = 1e-12


def normalized(vectors: Float[np.ndarray, "*n D"]) -> Float[np.ndarray, "*n D"]:
    """Returns the vectors divided by their L2 norm."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _EPSILON)


# By the value of `similarity_fn_name` in sentence-transformers (similarity_functions.py); distances are negative.
SIMILARITIES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda one, two: normalized(one) @ normalized(two).T,
    "dot": lambda one, two: one @ two.T,
    "euclidean": lambda one, two: -cdist(one, two).astype(np.float32),
    "manhattan": lambda one, two: -cdist(one, two, "cityblock").astype(np.float32),
}


def as_matrix(name: str, embeddings: Any, width: int | None = None) -> Float[np.ndarray, "n D"]:
    """Returns embeddings as a float32 matrix; a single vector becomes a row.

    Raises:
        ValueError: if they are not finite vectors of one width, or not of the given width.
    """
    matrix = np.asarray(embeddings, np.float32)
    matrix = matrix[None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or (width is not None and matrix.shape[1] != width):
        raise ValueError(f"{name} has the shape {np.shape(embeddings)}; expected [n, {width or 'D'}], a row per text")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} has values that are not finite (NaN or infinite)")
    return matrix


def semantic_search(
    queries: Float[np.ndarray, "q D"], corpus: Float[np.ndarray, "n D"], top_k: int
) -> list[list[dict[str, Any]]]:
    """Returns the `top_k` vectors of a corpus with the highest cosine similarity to each query.

    Returns:
        For each query a list of {"corpus_id": index in the corpus, "score": cosine}, best first; equal scores are in
        the order of the corpus.

    Raises:
        ValueError: if `top_k` is not a whole number of at least 1.
    """
    check_count("top_k", top_k)
    corpus, step = normalized(corpus), max(1, _MAX_SCORES // max(1, len(corpus)))
    results = []
    for first in range(0, len(queries), step):
        for scores in normalized(queries[first : first + step]) @ corpus.T:
            best = _best(scores, top_k)
            results.append([{"corpus_id": int(index), "score": float(scores[index])} for index in best])
    return results


def _best(scores: Float[np.ndarray, "n"], count: int) -> np.ndarray:
    """Returns the indices of the highest scores, without sorting all of them."""
    kept = np.arange(len(scores))
    if count < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return kept[np.argsort(-scores[kept], kind="stable")[:count]]
