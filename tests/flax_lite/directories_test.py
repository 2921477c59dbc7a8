"""Tests that random directories give the same ids, masks, types and states as in transformers 4.57, or are refused."""

import collections
import json
import logging
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_lite as fl
from tests.flax_lite import directories, reference

pytestmark = [pytest.mark.slow, pytest.mark.reference]

COUNT = 200
LENGTH = 14
NAMING = ("tokenizer_config.json", "config.json")  # files that name a tokenizer's class, by precedence
ROW = ("input_ids", "token_type_ids", "attention_mask")
_COMMON = {"vocab_size": 160, "max_position_embeddings": 64, "initializer_range": 0.5}
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SIZES = {
    "bert": {**_COMMON, **_BERT},
    "albert": {**_COMMON, **_BERT, "embedding_size": 8, "num_hidden_groups": 1, "inner_group_num": 1},
    "distilbert": {**_COMMON, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}
TEXTS = [(text,) for text in directories.TEXTS]
PAIRS = [(directories.TEXTS[first], directories.TEXTS[second]) for first, second in directories.PAIRS]


class References:
    """Tokenizers and models of transformers; the models of a family have the same weights."""

    def __init__(self, folder):
        self.transformers = reference.transformers()
        self.weights = {}
        for family in directories.FAMILIES:
            config_class, model_class = self._classes(family)
            model_class(config_class(**SIZES[family]), seed=1).save_pretrained(folder / family)
            self.weights[family] = (folder / family / "flax_model.msgpack").read_bytes()

    def _classes(self, family):
        name = reference.PREFIXES[family]
        return getattr(self.transformers, f"{name}Config"), getattr(self.transformers, f"Flax{name}Model")

    def rows(self, directory):
        """Returns the rows of the slow and of the fast class, if they can read the directory."""
        found = {}
        for kind in ("slow", "fast"):
            try:
                made = self.transformers.AutoTokenizer.from_pretrained(directory.path, use_fast=kind == "fast")
                found[kind] = [self._row(made, given) for given in (*TEXTS, *PAIRS)]
            except Exception as error:  # any exception means that it cannot read the directory
                logging.getLogger(__name__).info("%s: %s", directory, error)
        return found

    def _row(self, tokenizer, texts):
        row = tokenizer(*texts, truncation=True, padding="max_length", max_length=LENGTH)
        return {name: list(row.get(name) or [int(name == "attention_mask")] * LENGTH) for name in ROW}

    def states(self, directory, inputs):
        """Returns the last hidden states."""
        model = self._classes(directory.family)[1].from_pretrained(directory.path)
        if directory.family == "distilbert":
            inputs = {name: array for name, array in inputs.items() if name != "token_type_ids"}
        return np.asarray(model(**inputs).last_hidden_state)


def found_rows(tokenizer):
    """Returns the rows of all texts, then of all pairs, in the format of the references."""
    parts = [tokenizer(*map(list, zip(*given, strict=True)), max_length=LENGTH) for given in (TEXTS, PAIRS)]
    return [{name: part[name][row].tolist() for name in ROW} for part in parts for row in range(len(part["input_ids"]))]


def named_class(directory, references):
    """Returns "slow" or "fast" for the class that the directory names, or the only one that can read it.

    AutoTokenizer makes a fast tokenizer of any name. A fast class saves tokenizer.json and its name without "Fast", so
    a name without "Fast" means the slow class if that file does not exist, and for ALBERT if spiece.model does.
    """
    if len(references) == 1:
        return next(iter(references))
    files = {file.name for file in directory.path.iterdir()}
    if "spiece.model" in files:
        return "slow"
    values = [json.loads((directory.path / name).read_text()) for name in NAMING if name in files]
    named = next((each["tokenizer_class"] for each in values if each.get("tokenizer_class")), None)
    return "fast" if named is None or named.endswith("Fast") or "tokenizer.json" in files else "slow"


def compared(directory, references):
    """Returns the outcome of the comparison for a directory, and a message."""
    expected_rows = references.rows(directory)
    try:
        tokenizer = fl.load_tokenizer(directory.path)
        model = fl.Encoder.from_pretrained(directory.path)
    except ValueError as error:
        return ("refused" if expected_rows else "neither"), f"{directory}: ...{str(error)[-160:]}"
    if not expected_rows:
        return "only here", f"{directory}"
    rows, kind = found_rows(tokenizer), named_class(directory, expected_rows)
    has_types = directory.family != "distilbert"
    names = [name for name in ROW if name != "token_type_ids" or has_types]
    bad = [at for at, row in enumerate(rows) if any(row[name] != expected_rows[kind][at][name] for name in names)]
    if bad:
        lines = [f"  {name}, row {bad[0]}: {each[bad[0]]}" for name, each in (("here", rows), *expected_rows.items())]
        return "differs", "\n".join([f"{directory}: {kind} is right; rows {bad}", *lines])
    inputs = {name: jnp.array([row[name] for row in rows]) for name in ROW}
    with jax.default_matmul_precision("highest"):
        states, expected = np.asarray(model(**inputs).last_hidden_state), references.states(directory, inputs)
    # Rounding of float32 over a width of 16 and two layers; another function differs by more than 0.1.
    difference = np.abs(states - expected)[np.asarray(inputs["attention_mask"]) == 1].max()
    return ("equal", "") if difference < 1e-4 else ("differs", f"{directory}: states by {difference}")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_directories_are_read_as_by_transformers(seed, tmp_path):
    logging.getLogger("transformers").setLevel(logging.ERROR)
    random = np.random.default_rng(seed)
    found = collections.defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that transformers 5 removed
        references = References(tmp_path)
        for number in range(COUNT):
            path = tmp_path / str(number)
            directory = directories.draw(random, path, references.transformers, SIZES)
            (path / "flax_model.msgpack").write_bytes(references.weights[directory.family])
            outcome, line = compared(directory, references)
            found[outcome].append(line)
    print(f"\nseed {seed}:", {outcome: len(lines) for outcome, lines in found.items()})
    print(*found["refused"], *found["only here"], sep="\n")
    assert not found["differs"], "\n".join(found["differs"])
    assert len(found["equal"]) >= COUNT * 8 // 10
    assert len(found["refused"]) <= COUNT // 10
