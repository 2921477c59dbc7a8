"""Workers of rivals need no other part of this project, and names and layouts are mapped without loss."""

import ast
import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx, serialization, traverse_util
from safetensors.numpy import load_file

import flax_lite as fl
from benchmarks.peers.workers import names
from benchmarks.peers.workers.keras_names import hugging_face_name, to_keras, to_torch
from flax_lite.models.params import get_params, with_params
from tests.conftest import REPOSITORY

WORKERS = REPOSITORY / "benchmarks" / "peers" / "workers"
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
CONFIGS = {
    "albert": fl.AlbertConfig(embedding_size=8, **SIZES),
    "bert": fl.BertConfig(**SIZES),
    "distilbert": fl.DistilBertConfig(**SIZES),
}
LAYER = [
    ("self_attention_layer/query/kernel", (16, 2, 8)),
    ("self_attention_layer/query/bias", (2, 8)),
    ("self_attention_layer/key/kernel", (16, 2, 8)),
    ("self_attention_layer/key/bias", (2, 8)),
    ("self_attention_layer/value/kernel", (16, 2, 8)),
    ("self_attention_layer/value/bias", (2, 8)),
    ("self_attention_layer/attention_output/kernel", (2, 8, 16)),
    ("self_attention_layer/attention_output/bias", (16,)),
    ("self_attention_layer_norm/gamma", (16,)),
    ("self_attention_layer_norm/beta", (16,)),
    ("feedforward_layer_norm/gamma", (16,)),
    ("feedforward_layer_norm/beta", (16,)),
    ("feedforward_intermediate_dense/kernel", (16, 24)),
    ("feedforward_intermediate_dense/bias", (24,)),
    ("feedforward_output_dense/kernel", (24, 16)),
    ("feedforward_output_dense/bias", (16,)),
]


def keras_variables(family):
    """Returns paths and shapes of KerasHub 0.32's variables."""
    width = 8 if family == "albert" else 16
    prefix = "token_and_position_embedding/" if family == "distilbert" else ""
    found = [
        (f"{prefix}token_embedding/embeddings", (40, width)),
        (f"{prefix}position_embedding/embeddings", (12, width)),
    ]
    found += [] if family == "distilbert" else [("segment_embedding/embeddings", (2, width))]
    found += [("embeddings_layer_norm/gamma", (width,)), ("embeddings_layer_norm/beta", (width,))]
    if family == "albert":
        found += [("embedding_projection/kernel", (8, 16)), ("embedding_projection/bias", (16,))]
    layers = ["group_0_inner_layer_0"] if family == "albert" else ["transformer_layer_0", "transformer_layer_1"]
    found += [(f"{layer}/{path}", shape) for layer in layers for path, shape in LAYER]
    found += [("mlm_head/intermediate_dense/kernel", (16, width)), ("mlm_head/intermediate_dense/bias", (width,))]
    found += [(f"mlm_head/intermediate_layer_norm/{suffix}", (width,)) for suffix in ("gamma", "beta")]
    return [*found, ("mlm_head/output_bias", (40,))]


@pytest.fixture(scope="module", params=CONFIGS)
def written(request, tmp_path_factory):
    """A model with every parameter drawn at random, in both formats."""
    folder = tmp_path_factory.mktemp("model")
    model = fl.MaskedLM(CONFIGS[request.param], rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda param: random.standard_normal(param.shape, np.float32), get_params(model))
    with_params(nnx.graphdef(model), params).save_pretrained(folder, format=("safetensors", "flax"))
    return request.param, folder


def test_flax_names_become_pytorchs(written):
    _, folder = written
    tree = serialization.msgpack_restore((folder / "flax_model.msgpack").read_bytes())
    mapped = names.from_flax(traverse_util.flatten_dict(tree))
    expected = names.without_aliases(load_file(folder / "model.safetensors"))
    assert mapped.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(mapped[name], array)


def test_keras_variables_cover_every_tensor_both_ways(written):
    family, folder = written
    tensors = names.without_aliases(load_file(folder / "model.safetensors"))
    seen = set()
    for path, shape in keras_variables(family):
        name = hugging_face_name(path, family)
        value = to_keras(path, tensors[name], shape)
        assert value.shape == shape
        np.testing.assert_array_equal(to_torch(path, value), tensors[name])
        seen.add(name)
    assert seen == tensors.keys()


SHARED = (
    *("benchmarks", "benchmarks.peers", "benchmarks.harness", "benchmarks.harness.serving"),
    *("train", "train.errors", "train.machine", "train.machine.host_memory", "train.machine.signals"),
)


@pytest.mark.parametrize("file", sorted(WORKERS.glob("*.py")), ids=lambda path: path.stem)
def test_workers_of_rivals_import_nothing_that_their_environments_lack(file):
    if file.stem == "flax_lite_worker":
        return
    for module in imported(file):
        assert module in SHARED or module.split(".")[0] not in ("flax_lite", "train", "tests", "configs")
        assert module in SHARED or module.startswith("benchmarks.peers.workers") or not module.startswith("benchmarks")


@pytest.mark.parametrize("module", SHARED)
def test_modules_that_workers_share_need_only_the_standard_library(module):
    file = Path(importlib.import_module(module).__file__ or "")
    assert all(name in SHARED or name.split(".")[0] in sys.stdlib_module_names for name in imported(file))


def imported(file):
    """Yields the names of all modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
