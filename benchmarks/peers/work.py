"""The work that all are given: models of given sizes with random weights, and batches."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import flax_lite as fl
from benchmarks.compile_vs_run.cases import FAMILIES
from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.models.params import get_params, with_params

MODELS = tuple(FAMILIES)
_PRESETS = {
    "albert": "albert-base-v2",
    "bert": "bert-base-uncased",
    "distilbert": "distilbert-base-uncased",
    "albert-large": "albert-large-v2",
}
TITLES = {"albert": "ALBERT-base", "bert": "BERT-base", "distilbert": "DistilBERT", "albert-large": "ALBERT-large"}
_DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
# Added to every initial parameter: a bias in the wrong place would not be seen while all of them are zero.
_NOISE = 0.02


@dataclasses.dataclass(frozen=True)
class Size:
    """Sizes of the work.

    Attributes:
        rows: B.
        length: T.
        memory_length: T of the memory cases.
        small_rows: B of the memory case in which all rivals fit into a common machine's memory.
        depths: numbers of layers of the compile case.
        config: what is changed in a preset, for smoke.
        compiled_config: what is changed in the compile case: narrow enough for every rival to run 48 layers.
    """

    rows: int
    length: int
    memory_length: int
    small_rows: int
    depths: tuple[int, ...]
    config: Mapping[str, Any]
    compiled_config: Mapping[str, Any]


_SMOKE = {
    "vocab_size": 500,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_NARROW = {"vocab_size": 8000, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
REAL = Size(8, 128, 512, 2, (12, 48), {}, _NARROW)
SMOKE = Size(4, 32, 48, 2, (2, 4), _SMOKE, _SMOKE)


def model_config(model: str, size: Size, kind: str, layers: int | None) -> EncoderConfig:
    """The architecture of a case; dropout on, as ALBERT's second version has none."""
    changes = {**_DROPOUT, **(size.compiled_config if kind == "compile" else size.config)}
    if layers is not None:
        changes["num_hidden_layers"] = layers
    return FAMILIES[model.split("-")[0]].from_preset(_PRESETS[model], **changes)


def write_model(config: EncoderConfig, folder: Path) -> None:
    """A masked-LM model with random weights that depend on nothing but the config, in both formats."""
    if (folder / "config.json").exists():
        known = open_source(folder).config
        if known.replace(architectures=config.architectures) == config:
            return
    model = fl.MaskedLM(config, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)

    def moved(leaf: jax.Array) -> np.ndarray:
        return np.asarray(leaf) + _NOISE * random.standard_normal(leaf.shape, np.float32)

    params = jax.tree.map(moved, get_params(model))
    with_params(nnx.graphdef(model), params).save_pretrained(folder, format=("safetensors", "flax"))


def make_batch(vocab_size: int, rows: int, length: int, masked: float = 0.15) -> dict[str, np.ndarray]:
    """Rows of random ids: the first full, the last a quarter full; two segments; masked words in both spellings.

    `masked_positions`, `masked_ids` and `masked_weights` [B, P] are for those that take positions; `labels` [B, T],
    -100 where nothing is predicted, for those that take every token.
    """
    random = np.random.default_rng(0)
    lengths = np.linspace(length, length // 4, rows).astype(int)
    places = max(1, round(masked * length))
    batch: dict[str, np.ndarray] = {
        "input_ids": random.integers(1, vocab_size, (rows, length), np.int32),
        "attention_mask": (np.arange(length) < lengths[:, None]).astype(np.int32),
        "token_type_ids": (np.arange(length) >= lengths[:, None] // 2).astype(np.int32),
        "masked_positions": np.zeros((rows, places), np.int32),
        "masked_ids": random.integers(1, vocab_size, (rows, places), np.int32),
        "masked_weights": np.zeros((rows, places), np.float32),
        "row_weights": np.ones(rows, np.float32),
        "labels": np.full((rows, length), -100, np.int32),
    }
    for name in ("input_ids", "token_type_ids"):
        batch[name] *= batch["attention_mask"]
    for row, own in enumerate(lengths):
        count = max(1, round(masked * own))
        batch["masked_positions"][row, :count] = positions = np.sort(random.choice(own, count, replace=False))
        batch["masked_weights"][row, :count] = 1
        batch["labels"][row, positions] = batch["masked_ids"][row, :count]
    return batch
