"""Tiny models with tokenizers, and what transformers' own code makes of the same texts."""

import functools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

import flax_lite as fl
from flax_lite.pipelines.base import Pipeline
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.reference import Reference, transformers
from tests.flax_lite.tokenization import tiny_files

HEADS = {
    "fill-mask": "MaskedLM",
    "text-classification": "SequenceClassification",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
    "sentence-embedding": "Encoder",
}
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABELS = ("bad", "fair", "good")
# The model of each task that most tests use: what one has compiled, others find compiled.
USUAL = {
    "fill-mask": {},
    "text-classification": {"labels": LABELS, "num_hidden_layers": 2},
    "token-classification": {"family": "distilbert", "labels": TAGS},
    "question-answering": {},
    "sentence-embedding": {"family": "distilbert"},
}
# For a vocabulary file and for a SentencePiece one; lengths of all sorts.
TEXTS = [
    "the cat sat",
    "the unwanted cat, s-a's want.",
    "",
    "cat " * 40,
    "a",
    "The UNWANTED  cat zebra the cat sat the cat sat the cat sat",
    "the cat sat. the cat sat, a cat wanted the b's",
]
LENGTH, ROWS = 32, 4


def write_tokenizer(directory, kind="wordpiece"):
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "wordpiece":
        (directory / "vocab.txt").write_text("\n".join(tiny_files.VOCAB) + "\n")
    else:
        (directory / "spiece.model").write_bytes(tiny_files.sentencepiece_file())
    fl.load_tokenizer(directory).save(directory)


def saved(directory, task, family="bert", kind="wordpiece", **changes):
    """A directory with a tiny model and its tokenizer."""
    sizes = {"max_position_embeddings": LENGTH, "vocab_size": 90, "num_hidden_layers": 1}
    config = tiny.FAMILIES[family](**{**sizes, **changes})
    files.saved(directory, HEADS[task], config, format=("safetensors", "flax"))
    write_tokenizer(directory, kind)
    return directory


def opened(directory, task, family="bert", kind="wordpiece", **changes) -> Pipeline:
    """A pipeline on such a directory, in batches of one size: each size is a compilation."""
    return fl.pipeline(task, saved(directory, task, family, kind, **changes), batch_size=ROWS)


@functools.cache
def pipe(task, **changes) -> Pipeline:
    """A pipeline on the usual model of a task, but for `changes`; the same for all who ask."""
    with tempfile.TemporaryDirectory() as folder:
        return opened(Path(folder), task, **USUAL[task] | changes)


class Tensor(np.ndarray):
    """As much of a tensor as transformers' postprocessing asks for."""

    def numpy(self):
        return np.asarray(self)


def tensor(values):
    return np.asarray(values).view(Tensor)


class Theirs:
    """The Flax class of transformers on a directory, its tokenizer, and a pipeline's own postprocessing."""

    def __init__(self, directory, task, monkeypatch):
        config = fl.load_config(directory)
        self.reference = Reference(HEADS[task], config)
        _ = self.reference.model  # says once that it is deprecated
        self.params = self.reference.load(directory, monkeypatch)
        self._seen = {}
        self.tokenizer = transformers().AutoTokenizer.from_pretrained(directory)
        self.config = self.reference.model_class.config_class.from_dict(config.to_json_dict())

    def outputs(self, encoding):
        """Of one row; every length is a compilation of its own, so rows are padded to the longest."""
        rows = {name: tuple(encoding[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}
        key = tuple(rows.values())
        if key not in self._seen:
            inputs = {name: np.array([row + (0,) * (LENGTH - len(row))], np.int32) for name, row in rows.items()}
            self._seen[key] = {
                name: np.asarray(value)[0] for name, value in self._function(self.params, inputs).items()
            }
        return dict(self._seen[key])

    @functools.cached_property
    def _function(self):
        return jax.jit(self.reference)

    def postprocessing(self, name):
        """A pipeline of transformers without a model to run."""
        pipelines = transformers().pipelines
        theirs = object.__new__(getattr(pipelines, name))
        theirs.tokenizer, theirs.framework = self.tokenizer, "flax"
        theirs.model = SimpleNamespace(config=self.config)
        return theirs


def assert_same(found, expected, tolerance=1e-5):
    """The same keys, and numbers that are close."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value, tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            assert_same(one, two, tolerance)
    elif isinstance(expected, float | np.floating):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    else:
        assert found == expected
