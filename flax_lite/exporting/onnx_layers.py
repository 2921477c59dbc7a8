"""The parts of the encoder in ONNX operators; each function adds one to a graph and returns the name of its value.

They follow `flax_lite.layers.transformer`, in the operators that onnxruntime's fusions and quantisation look for: a
matrix product with one weight for every Dense, and the usual forms of GELU. A `path` is where a module's parameters
are.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.exporting.onnx_graph import Graph


def _gelu(graph: Graph, x: str) -> str:
    """X (1 + erf(x / sqrt 2)) / 2."""
    cdf = graph.add("Add", graph.add("Erf", graph.add("Div", x, graph.number(math.sqrt(2)))), graph.number(1.0))
    return graph.add("Mul", graph.add("Mul", x, cdf), graph.number(0.5))


def _gelu_tanh(graph: Graph, x: str) -> str:
    """X (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
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
    """X W + b."""
    return graph.add("Add", graph.add("MatMul", x, graph.weight(f"{path}/kernel")), graph.weight(f"{path}/bias"))


def layer_norm(graph: Graph, config: EncoderConfig, path: str, x: str) -> str:
    """LayerNorm over the last axis."""
    scale, bias = graph.weight(f"{path}/scale"), graph.weight(f"{path}/bias")
    return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=config.layer_norm_eps)


def embeddings(graph: Graph, config: EncoderConfig, path: str) -> str:
    """LayerNorm(word + position + token type), and ALBERT's Dense: [B, T, D] of the graph's inputs."""
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
    """Which keys every query may see: true [B, 1, 1, S] where the attention mask is not zero."""
    seen = graph.add("Cast", "attention_mask", to="BOOL")
    return graph.add("Unsqueeze", seen, graph.integers(1, 2))


def self_attention(graph: Graph, config: EncoderConfig, path: str, x: str, mask: str) -> str:
    """LayerNorm(x + Dense(attention(x)))."""
    width = config.hidden_size // config.num_attention_heads

    def heads(part: str, order: list[int]) -> str:
        projected = dense(graph, f"{path}/{part}", x)
        # A zero keeps the axis of the input.
        parted = graph.add("Reshape", projected, graph.integers(0, 0, config.num_attention_heads, width))
        return graph.add("Transpose", parted, perm=order)

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
