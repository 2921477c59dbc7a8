"""Tiny models with tokenizers, and the results of transformers' own code on the same texts."""

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
    "feature-extraction": "Encoder",
}
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABELS = ("bad", "fair", "good")
# The default model of each task; tests share it, so that it is compiled once.
DEFAULTS = {
    "fill-mask": {},
    "text-classification": {"labels": LABELS, "num_hidden_layers": 2},
    "token-classification": {"family": "distilbert", "labels": TAGS},
    "question-answering": {},
    "sentence-embedding": {"family": "distilbert"},
    "feature-extraction": {},
}
# Texts of various lengths, for a vocab.txt and for a SentencePiece model.
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
    """Saves a tiny model with its tokenizer; returns the directory."""
    sizes = {"max_position_embeddings": LENGTH, "vocab_size": 90, "num_hidden_layers": 1}
    config = tiny.FAMILIES[family](**{**sizes, **changes})
    files.saved(directory, HEADS[task], config, format=("safetensors", "flax"))
    write_tokenizer(directory, kind)
    return directory


def opened(directory, task, family="bert", kind="wordpiece", **changes) -> Pipeline:
    """Returns a pipeline on such a directory; its batches have one size, because each size is a compilation."""
    return fl.pipeline(task, saved(directory, task, family, kind, **changes), batch_size=ROWS)


@functools.cache
def pipe(task, **changes) -> Pipeline:
    """Returns the pipeline on the default model of a task, with `changes`; shared by all callers."""
    with tempfile.TemporaryDirectory() as folder:
        return opened(Path(folder), task, **DEFAULTS[task] | changes)


class Tensor(np.ndarray):
    """The part of a tensor's interface that transformers' postprocessing uses."""

    def numpy(self):
        return np.asarray(self)


def tensor(values):
    return np.asarray(values).view(Tensor)


class HuggingFace:
    """The Flax class of transformers with its tokenizer, and a pipeline's postprocessing."""

    def __init__(self, directory, task, monkeypatch):
        config = fl.load_config(directory)
        self.reference = Reference(HEADS[task], config)
        _ = self.reference.model  # logs a deprecation warning once
        self.params = self.reference.load(directory, monkeypatch)
        self._seen = {}
        self.tokenizer = transformers().AutoTokenizer.from_pretrained(directory)
        self.config = self.reference.model_class.config_class.from_dict(config.to_json_dict())

    def outputs(self, encoding):
        """Returns the outputs of one row; rows are padded to LENGTH, because each length is a compilation."""
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
        """Returns a pipeline of transformers without a model."""
        pipelines = transformers().pipelines
        pipeline = object.__new__(getattr(pipelines, name))
        pipeline.tokenizer, pipeline.framework = self.tokenizer, "flax"
        pipeline.model = SimpleNamespace(config=self.config)
        return pipeline


def assert_same(found, expected, tolerance=1e-5):
    """Checks that keys are equal and numbers are close."""
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
