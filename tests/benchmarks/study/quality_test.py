"""The quality of a checkpoint, compared with correlations computed here from unpadded rows."""

import shutil

import jax
import numpy as np
import pytest
from scipy import stats

import flax_lite as fl
from benchmarks.harness.sentences import STS_FILE
from benchmarks.study.measure import Settings
from benchmarks.study.quality import check, quality
from benchmarks.study.worker import ask, question
from flax_lite.checkpoints.sentence_transformers import write_sentence_transformers
from tests.flax_lite import tiny
from tests.flax_lite.tokenization import tiny_files
from train.errors import UserError

_PAIRS = (
    ("the cat sat", "cats sat"),
    ("a cat", "unwanted"),
    ("the cat", "the cats"),
    ("want , a", "b"),
    ("sat", "a b"),
)
_JUDGMENTS = (4.5, 0.5, 5.0, 1.0, 2.0)
_CONFIG = tiny.bert(vocab_size=len(tiny_files.VOCAB), max_position_embeddings=128)


def save(model, folder):
    model.save_pretrained(folder)
    tiny_files.write_vocab(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory for the data, a regression head and a sentence encoder."""
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def data(folder):
    file = folder / "data" / STS_FILE
    file.parent.mkdir(parents=True)
    rows = [f"{first}\t{second}\t{score}" for (first, second), score in zip(_PAIRS, _JUDGMENTS, strict=True)]
    file.write_text("\n".join(["sentence1\tsentence2\tscore", *rows, ""]), encoding="utf-8")
    return str(folder / "data")


@pytest.fixture(scope="module")
def regression(folder):
    config = _CONFIG.replace(labels=("score",), problem_type="regression")
    return save(tiny.make("SequenceClassification", config), folder / "regression")


@pytest.fixture(scope="module")
def sentences(folder):
    source = save(tiny.make("Encoder", _CONFIG), folder / "sentences")
    write_sentence_transformers(folder / "sentences", "mean", normalize=True)
    return source


def test_quality_of_a_regression_head(regression, data):
    model, tokenizer = fl.SequenceClassification.from_pretrained(regression), fl.load_tokenizer(regression)
    run = jax.jit(lambda row: model(**row).logits[0, 0])
    scores = [float(run(dict(tokenizer([one], [other], max_length=32)))) for one, other in _PAIRS]
    found = quality(regression, data)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(scores, _JUDGMENTS)[0, 1], abs=1e-3)
    assert found["spearman"] == pytest.approx(100 * stats.spearmanr(scores, _JUDGMENTS)[0])
    assert (found["method"], found["pairs"], found["source"]) == ("regression head", 5, regression)


def test_quality_of_a_sentence_encoder(sentences, data):
    vectors = [
        np.array(fl.pipeline("sentence-embedding", sentences)(list(texts))) for texts in zip(*_PAIRS, strict=True)
    ]
    found = quality(sentences, data)
    assert found["spearman"] == pytest.approx(100 * stats.spearmanr((vectors[0] * vectors[1]).sum(-1), _JUDGMENTS)[0])
    assert (found["method"], found["pearson"]) == ("cosine of mean-pooled vectors", None)


def test_a_worker_finds_paths_relative_to_the_commands_directory(regression, data, folder, monkeypatch):
    monkeypatch.chdir(folder)
    asked = question("bert-base", "quality", Settings(data="data", smoke=True), "regression")
    (found,) = ask([asked], 120, smoke=True)
    assert isinstance(found, dict), found
    assert (found["source"], found["pairs"]) == ("regression", 5)
    assert str(folder) not in str(asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 24}, "its hidden_size is 12; bert-base has hidden_size 24"),
        ({"num_hidden_layers": 1}, "bert-base has num_hidden_layers 1"),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(regression, changes, message):
    with pytest.raises(UserError, match=message):
        check("bert-base", regression, _CONFIG.replace(**changes))


def test_a_checkpoint_that_cannot_score_pairs_is_refused(regression, sentences, tmp_path):
    check("bert-base", regression, _CONFIG)
    check("bert-base", sentences, _CONFIG)
    with pytest.raises(UserError, match="expected a regression head"):
        check("bert-base", save(tiny.make("SequenceClassification", _CONFIG), tmp_path / "two"), _CONFIG)
    shutil.copytree(sentences, tmp_path / "cls")
    write_sentence_transformers(tmp_path / "cls", "cls", normalize=True)
    with pytest.raises(UserError, match="pools by cls; expected a mean"):
        check("bert-base", str(tmp_path / "cls"), _CONFIG)
    with pytest.raises(UserError, match="nowhere"):
        check("bert-base", "./nowhere", _CONFIG)
