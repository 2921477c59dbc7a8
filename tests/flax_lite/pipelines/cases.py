"""Tiny models with tokenizers, and what transformers' own code makes of the same texts."""

import functools
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

import flax_lite as fl
from flax_lite.pipelines.base import Pipeline
from tests.flax_lite import tiny
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
LENGTH = 32


def write_tokenizer(directory, kind="wordpiece"):
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "wordpiece":
        (directory / "vocab.txt").write_text("\n".join(tiny_files.VOCAB) + "\n")
    else:
        (directory / "spiece.model").write_bytes(tiny_files.sentencepiece_file())
    fl.load_tokenizer(directory).save(directory)


def saved(directory, task, family="bert", kind="wordpiece", **changes):
    """A directory with a tiny model and its tokenizer."""
    config = tiny.FAMILIES[family](**{"max_position_embeddings": LENGTH, "vocab_size": 90, **changes})
    tiny.make(HEADS[task], config).save_pretrained(directory, format=("safetensors", "flax"))
    write_tokenizer(directory, kind)
    return directory


def opened(directory, task, family="bert", kind="wordpiece", options=None, **changes) -> Pipeline:
    return fl.pipeline(task, saved(directory, task, family, kind, **changes), **(options or {}))


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
        self.tokenizer = transformers().AutoTokenizer.from_pretrained(directory)
        self.config = self.reference.model_class.config_class.from_dict(config.to_json_dict())

    def outputs(self, encoding):
        """Of one row; every length is a compilation of its own, so rows are padded to the longest."""
        inputs = {}
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            values = list(encoding[name])
            inputs[name] = jnp.asarray([values + [0] * (LENGTH - len(values))], jnp.int32)
        outputs = self._function(self.params, inputs)
        return {name: np.asarray(value)[0] for name, value in outputs.items()}

    @functools.cached_property
    def _function(self):
        return tiny.jit(self.reference)

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
