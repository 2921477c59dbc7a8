"""The encoder and its heads as ONNX operators; each function adds a part and returns the name of its value.

The graph is written by hand, and not converted from the jaxpr, so that it has the operators that onnxruntime's fusions
and quantization look for: one matrix product with a weight for every Dense, and the usual forms of GELU. For the same
reason the depth is unrolled, with one set of nodes per application of a layer; layers that share parameters read the
same constants, so the size of the file is that of the parameters. The parts follow `flax_lite.layers.transformer`. A
`path` is the path of a module's parameters.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.exporting.onnx_graph import Graph
from flax_lite.exporting.tasks import outputs_of, task_of
from flax_lite.models.params import get_params


def _gelu(graph: Graph, x: str) -> str:
    """GELU, x (1 + erf(x / sqrt 2)) / 2."""
    cdf = graph.add("Add", graph.add("Erf", graph.add("Div", x, graph.number(math.sqrt(2)))), graph.number(1.0))
    return graph.add("Mul", graph.add("Mul", x, cdf), graph.number(0.5))


def _gelu_tanh(graph: Graph, x: str) -> str:
    """GELU's tanh approximation, x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    cube = graph.add("Mul", graph.add("Pow", x, graph.number(3.0)), graph.number(0.044715))
    inner = graph.add("Mul", graph.add("Add", x, cube), graph.number(math.sqrt(2 / math.pi)))
    cdf = graph.add("Add", graph.add("Tanh", inner), graph.number(1.0))
    return graph.add("Mul", graph.add("Mul", x, graph.number(0.5)), cdf)


# The keys are those of flax_lite.layers.activations.ACTIVATION_FUNCTIONS.
ACTIVATION_NODES: Mapping[str, Callable[[Graph, str], str]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "relu": lambda graph, x: graph.add("Relu", x),
}


def dense(graph: Graph, path: str, x: str) -> str:
    """A dense layer, x W + b."""
    return graph.add("Add", graph.add("MatMul", x, graph.weight(f"{path}/kernel")), graph.weight(f"{path}/bias"))


def layer_norm(graph: Graph, config: EncoderConfig, path: str, x: str) -> str:
    """LayerNorm over the last axis."""
    scale, bias = graph.weight(f"{path}/scale"), graph.weight(f"{path}/bias")
    return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=config.layer_norm_eps)


def embeddings(graph: Graph, config: EncoderConfig, path: str) -> str:
    """LayerNorm(word + position + token type), with ALBERT's projection: [B, T, D]."""
    x = graph.add("Gather", graph.weight(f"{path}/word/embedding"), "input_ids", axis=0)
    length = graph.add("Shape", "input_ids", start=1, end=2)
    table = graph.weight(f"{path}/position/embedding")
    x = graph.add("Add", x, graph.add("Slice", table, graph.integers(0), length, graph.integers(0)))
    if config.type_vocab_size:
        types = graph.add("Gather", graph.weight(f"{path}/token_type/embedding"), "token_type_ids", axis=0)
        x = graph.add("Add", x, types)
    x = layer_norm(graph, config, f"{path}/layer_norm", x)
    return dense(graph, f"{path}/projection", x) if config.has_embedding_projection else x


def visibility(graph: Graph) -> str:
    """The mask of visible keys, true where the attention mask is not zero: [B, 1, 1, S]."""
    mask = graph.add("Cast", "attention_mask", to="BOOL")
    return graph.add("Unsqueeze", mask, graph.integers(1, 2))


def self_attention(graph: Graph, config: EncoderConfig, path: str, x: str, mask: str) -> str:
    """LayerNorm(x + Dense(attention(x)))."""
    width = config.hidden_size // config.num_attention_heads

    def heads(part: str, order: list[int]) -> str:
        projected = dense(graph, f"{path}/{part}", x)
        # A size of 0 keeps the size of the input's axis.
        split = graph.add("Reshape", projected, graph.integers(0, 0, config.num_attention_heads, width))
        return graph.add("Transpose", split, perm=order)

    queries, keys, values = (
        heads(part, order) for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
    )
    scores = graph.add("MatMul", graph.add("Div", queries, graph.number(math.sqrt(width))), keys)
    scores = graph.add("Where", mask, scores, graph.number(float(np.finfo(np.float32).min)))
    context = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
    context = graph.add("Transpose", context, perm=[0, 2, 1, 3])
    context = graph.add("Reshape", context, graph.integers(0, 0, config.hidden_size))
    return layer_norm(graph, config, f"{path}/layer_norm", graph.add("Add", x, dense(graph, f"{path}/output", context)))


def feed_forward(graph: Graph, config: EncoderConfig, path: str, x: str) -> str:
    """LayerNorm(x + Dense(act(Dense(x))))."""
    hidden = ACTIVATION_NODES[config.hidden_act](graph, dense(graph, f"{path}/intermediate", x))
    output = dense(graph, f"{path}/output", hidden)
    return layer_norm(graph, config, f"{path}/layer_norm", graph.add("Add", x, output))


def build_graph(model: Any) -> Graph:
    """Returns the forward pass of a model in float32; inputs and outputs are those of `input_names` and `outputs_of`.

    Raises:
        ValueError: if the model has no task to export, or computes in another dtype.
    """
    task, config = task_of(model), model.config
    if model.execution.dtype != "float32":
        raise ValueError(
            f"ONNX is written in float32, given a model that computes in {model.execution.dtype}; export float32 and "
            "convert the file with onnxruntime's own tools"
        )
    root = "" if task.model == "Encoder" else "encoder/"
    graph = Graph(_weights(model, root))
    hidden = _encode(graph, config, root)
    with graph.scope("head"):
        graph.outputs = _HEADS[task.model](graph, config, hidden, outputs_of(model))
    return graph


def _weights(model: Any, root: str) -> dict[str, np.ndarray]:
    """Returns the parameters by path, those of stacked layers by layer, and sinusoidal positions if there are any."""
    config = model.config
    weights: dict[str, np.ndarray] = {}
    stack = f"{root}layers/"
    for path, value in traverse_util.flatten_dict(get_params(model), sep="/").items():
        array = np.asarray(value, np.float32)
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
    is_shared = config.num_physical_layers == 1
    for application, layer in enumerate(config.layer_sequence()):
        path = f"{root}layer" if is_shared else f"{root}layers/{layer}"
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
    "Encoder": _features,
    "MaskedLM": _word_logits,
    "SequenceClassification": _text_logits,
    "TokenClassification": _token_logits,
    "QuestionAnswering": _span_logits,
}
