"""Search and similarities against sorting all scores and against NumPy."""

import numpy as np
import pytest

from flax_lite.pipelines import search
from flax_lite.pipelines.search import SIMILARITIES, as_matrix, semantic_search


@pytest.mark.parametrize("top_k", [1, 3, 40, 99])
@pytest.mark.parametrize("memory", [1, 100, 2**24])
def test_results_are_the_first_of_all_scores_sorted(top_k, memory, monkeypatch):
    """Also if queries are compared in parts, and with equal scores, which are in the order of the corpus."""
    monkeypatch.setattr(search, "_MAX_SCORES", memory)
    random = np.random.default_rng(0)
    queries, corpus = random.normal(size=(7, 5)).astype(np.float32), random.normal(size=(40, 5)).astype(np.float32)
    corpus[30:] = 2 * corpus[:10]
    corpus[20] = 0
    found = semantic_search(queries, corpus, top_k)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.maximum(np.linalg.norm(corpus, axis=1), 1e-12)
    scores = (queries @ corpus.T / lengths).round(5)
    for results, row in zip(found, scores, strict=True):
        ids = [result["corpus_id"] for result in results]
        assert len(set(ids)) == len(ids) == min(top_k, 40)
        np.testing.assert_allclose([result["score"] for result in results], np.sort(row)[::-1][:top_k], atol=2e-5)
        np.testing.assert_allclose(row[ids], np.sort(row)[::-1][:top_k], atol=2e-5)
    assert all(type(value) in (int, float) for value in found[0][0].values())


def test_equal_scores_are_in_the_order_of_the_corpus():
    corpus = np.array([[0, 1], [1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    (found,) = semantic_search(np.array([[2, 0]], np.float32), corpus, 2)
    assert found == [{"corpus_id": 1, "score": 1.0}, {"corpus_id": 2, "score": 1.0}]
    assert semantic_search(corpus[:1], corpus[:0], 2) == [[]]
    assert semantic_search(corpus[:0], corpus, 2) == []


def test_similarities_are_those_of_sentence_transformers():
    """Formulas of util/similarity.py; distances are negative, so that more is more similar."""
    one, two = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    differences = one[:, None] - two
    dots = one @ two.T
    expected = {
        "cosine": dots / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(two, axis=1),
        "dot": dots,
        "euclidean": -np.sqrt((differences**2).sum(-1)),
        "manhattan": -abs(differences).sum(-1),
    }
    assert SIMILARITIES.keys() == expected.keys()
    for name, values in expected.items():
        found = SIMILARITIES[name](one, two)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 3)), r"corpus has the shape \(2, 3\); expected \[n, 4\], a row per text"),
        (np.zeros((2, 3, 4)), r"corpus has the shape \(2, 3, 4\); expected \[n, 4\]"),
        ([[1.0, 2.0, np.nan, 4.0]], "corpus has values that are not finite"),
    ],
)
def test_other_embeddings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_matrix("corpus", given, 4)
    assert as_matrix("corpus", [1, 2, 3, 4], 4).shape == (1, 4)
