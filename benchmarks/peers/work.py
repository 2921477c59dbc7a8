"""The work of all implementations: models of given sizes with random weights, and batches."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import flax_lite as fl
from benchmarks.compile_vs_run.cases import FAMILIES
from benchmarks.harness.batches import tapered_batch, token_labels
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
# Added to every initial parameter, because a misplaced bias would go unnoticed while all biases are zero.
_NOISE = 0.02


@dataclasses.dataclass(frozen=True)
class Size:
    """The sizes of the work.

    Attributes:
        rows: B.
        length: T.
        memory_length: T of the memory cases.
        small_rows: B of the memory case in which all rivals fit into a common machine's memory.
        depths: numbers of layers of the compile case.
        config: changes to a preset, for smoke.
        compiled_config: changes for the compile case: narrow enough for every rival to run 48 layers.
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
    """Returns the architecture of a case; with dropout, which ALBERT's second version lacks."""
    changes = {**_DROPOUT, **(size.compiled_config if kind == "compile" else size.config)}
    if layers is not None:
        changes["num_hidden_layers"] = layers
    return FAMILIES[model.split("-")[0]].from_preset(_PRESETS[model], **changes)


def write_model(config: EncoderConfig, folder: Path) -> None:
    """Writes a masked-LM model in both formats, with random weights that depend only on the config."""
    if (folder / "config.json").exists():
        known = open_source(folder).config
        if known.replace(architectures=config.architectures) == config:
            return
    model = fl.MaskedLM(config, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)

    def with_noise(param: jax.Array) -> np.ndarray:
        return np.asarray(param) + _NOISE * random.standard_normal(param.shape, np.float32)

    params = jax.tree.map(with_noise, get_params(model))
    with_params(nnx.graphdef(model), params).save_pretrained(folder, format=("safetensors", "flax"))


def make_batch(vocab_size: int, rows: int, length: int) -> dict[str, np.ndarray]:
    """Draws a batch with masked words in both forms: positions, and `labels` [B, T] for models that predict all."""
    batch = tapered_batch(vocab_size, rows, length)
    return batch | {"labels": token_labels(batch)}
