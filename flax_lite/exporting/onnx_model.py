"""The encoder and its heads as a graph of ONNX operators.

The depth is written out, one set of nodes for each application of a layer, for that is what onnxruntime optimises;
layers that share their parameters read the same constants, so the file's size is that of the parameters.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from flax_lite.architecture.config import EncoderConfig
from flax_lite.exporting.onnx_graph import Graph
from flax_lite.exporting.onnx_layers import (
    ACTIVATION_NODES,
    dense,
    embeddings,
    feed_forward,
    layer_norm,
    self_attention,
    visibility,
)
from flax_lite.layers.transformer import sinusoidal_positions
from flax_lite.models.state import get_params
from flax_lite.models.tasks import outputs_of, task_of


def build_graph(model: Any) -> Graph:
    """The forward pass of a model in float32; inputs and outputs as `input_names` and `outputs_of` have them.

    Raises:
        ValueError: if the model is of no task to export, or computes in another dtype.
    """
    task, config = task_of(model), model.config
    if model.execution.dtype != "float32":
        raise ValueError(
            f"ONNX is written in float32, given a model that computes in {model.execution.dtype}; export float32 and "
            "convert the file with onnxruntime's own tools"
        )
    root = "" if task.name == "feature-extraction" else "encoder/"
    graph = Graph(_weights(model, root))
    hidden = _encode(graph, config, root)
    with graph.scope("head"):
        graph.outputs = _HEADS[task.name](graph, config, hidden, outputs_of(model))
    return graph


def _weights(model: Any, root: str) -> dict[str, np.ndarray]:
    """The parameters by path, those of stacked layers with the layer's number in it; and fixed positions."""
    config = model.config
    weights: dict[str, np.ndarray] = {}
    stack = f"{root}layers/"
    for path, leaf in traverse_util.flatten_dict(get_params(model), sep="/").items():
        array = np.asarray(leaf, np.float32)
        if path.startswith(stack):
            rest = path.removeprefix(stack)
            weights.update({f"{stack}{layer}/{rest}": array[layer] for layer in range(len(array))})
        else:
            weights[path] = array
    if config.sinusoidal_positions:
        table = sinusoidal_positions(config.max_position_embeddings, config.embedding_size)
        weights[f"{root}embeddings/position/embedding"] = table
    return weights


def _encode(graph: Graph, config: EncoderConfig, root: str) -> str:
    """The last hidden state, [B, T, D]."""
    with graph.scope("embeddings"):
        x = embeddings(graph, config, f"{root}embeddings")
        mask = visibility(graph)
    shared = config.num_physical_layers == 1
    for application, layer in enumerate(config.layer_sequence()):
        path = f"{root}layer" if shared else f"{root}layers/{layer}"
        with graph.scope(f"layer_{application}"):
            with graph.scope("attention"):
                x = self_attention(graph, config, f"{path}/attention", x, mask)
            with graph.scope("feed_forward"):
                x = feed_forward(graph, config, f"{path}/feed_forward", x)
    return x


def _first_token(graph: Graph, hidden: str) -> str:
    return graph.add("Gather", hidden, graph.integer(0), axis=1)


def _pooled(graph: Graph, root: str, hidden: str) -> str:
    return graph.add("Tanh", dense(graph, f"{root}pooler", _first_token(graph, hidden)))


def _features(graph: Graph, config: EncoderConfig, hidden: str, wanted: Collection[str]) -> dict[str, str]:
    pooled = {"pooler_output": _pooled(graph, "", hidden)} if "pooler_output" in wanted else {}
    return {"last_hidden_state": hidden, **pooled}


def _word_logits(graph: Graph, config: EncoderConfig, hidden: str, wanted: Collection[str]) -> dict[str, str]:
    x = ACTIVATION_NODES[config.hidden_act](graph, dense(graph, "masked_lm_head/dense", hidden))
    x = layer_norm(graph, config, "masked_lm_head/layer_norm", x)
    if config.tie_word_embeddings:
        decoder = graph.add("Transpose", graph.weight("encoder/embeddings/word/embedding"), perm=[1, 0])
    else:
        decoder = graph.weight("masked_lm_head/decoder/kernel")
    return {"logits": graph.add("Add", graph.add("MatMul", x, decoder), graph.weight("masked_lm_head/bias"))}


def _text_logits(graph: Graph, config: EncoderConfig, hidden: str, wanted: Collection[str]) -> dict[str, str]:
    if config.has_pooler:
        pooled = _pooled(graph, "encoder/", hidden)
    else:
        pooled = graph.add("Relu", dense(graph, "pre_classifier", _first_token(graph, hidden)))
    return {"logits": dense(graph, "classifier", pooled)}


def _token_logits(graph: Graph, config: EncoderConfig, hidden: str, wanted: Collection[str]) -> dict[str, str]:
    return {"logits": dense(graph, "classifier", hidden)}


def _span_logits(graph: Graph, config: EncoderConfig, hidden: str, wanted: Collection[str]) -> dict[str, str]:
    logits = dense(graph, "qa_outputs", hidden)
    names = ("start_logits", "end_logits")
    return {name: graph.add("Gather", logits, graph.integer(side), axis=2) for side, name in enumerate(names)}


_HEADS: Mapping[str, Callable[[Graph, EncoderConfig, str, Collection[str]], dict[str, str]]] = {
    "feature-extraction": _features,
    "fill-mask": _word_logits,
    "text-classification": _text_logits,
    "token-classification": _token_logits,
    "question-answering": _span_logits,
}
