"""A graph as an ONNX file; the only module here that needs the package onnx."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax_lite
from flax_lite.exporting.onnx_graph import Graph
from flax_lite.exporting.onnx_model import build_graph
from flax_lite.exporting.tasks import Sizes, input_names, outputs_of
from flax_lite.models.tasks import BATCH, LENGTH

if TYPE_CHECKING:
    import onnx

MODEL, EXTERNAL_DATA = "model.onnx", "model.onnx_data"
# The first opset with LayerNormalization, and the version of the format that belongs to it: the oldest readers then do.
_OPSET, _IR_VERSION = 17, 8
# The names that Hugging Face's exports give the axes.
_OPEN_AXES = {BATCH: "batch_size", LENGTH: "sequence_length"}
# Protocol buffers hold less than 2 GiB; nodes and names take a small part of it.
_MOST_BYTES_INSIDE = 2**31 - 2**24


def require_onnx() -> None:
    """Raises ValueError if the package onnx is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise ValueError("writing ONNX needs the package onnx: pip install 'flax-lite[onnx]'")


def onnx_model(model: Any, sizes: Sizes | None = None) -> "onnx.ModelProto":
    """The forward pass of a model as an ONNX model: int64 inputs, float32 outputs, named as Hugging Face's exports.

    Raises:
        ValueError: if the package onnx is not installed, the model is of no task to export or does not compute in
            float32, or has no such sizes.
    """
    require_onnx()
    from onnx import TensorProto, helper, numpy_helper

    sizes = sizes or Sizes()
    sizes.check(model.config)
    graph = build_graph(model)
    axes = _axis_sizes(model.config, sizes)
    rows = [axes[BATCH], axes[LENGTH]]
    proto = helper.make_graph(
        _nodes(graph),
        model.config.model_type,
        [helper.make_tensor_value_info(name, TensorProto.INT64, rows) for name in input_names(model.config)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [axes[axis] for axis in shape])
            for name, shape in outputs_of(model).items()
        ],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    return helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="flax_lite",
        producer_version=flax_lite.__version__,
    )


def write_onnx(
    model: Any, directory: Path, sizes: Sizes | None = None, *, most_bytes_inside: int = _MOST_BYTES_INSIDE
) -> None:
    """Writes model.onnx to a directory that exists; weights of more bytes than that go to a file beside it.

    Raises:
        ValueError: as `onnx_model`.
    """
    proto = onnx_model(model, sizes)
    import onnx

    num_bytes = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if num_bytes > most_bytes_inside:
        onnx.save_model(
            proto, directory / MODEL, save_as_external_data=True, location=EXTERNAL_DATA, all_tensors_to_one_file=True
        )
    else:
        onnx.save_model(proto, directory / MODEL)


def _axis_sizes(config: Any, sizes: Sizes) -> Mapping[str, int | str]:
    fields = {axis: getattr(config, axis) for axis in ("hidden_size", "num_labels", "vocab_size")}
    return {
        **fields,
        BATCH: sizes.batch or _OPEN_AXES[BATCH],
        LENGTH: sizes.length or _OPEN_AXES[LENGTH],
    }


def _nodes(graph: Graph) -> "list[onnx.NodeProto]":
    """The nodes; values that the graph gives take the names it gives them under."""
    from onnx import TensorProto, helper

    given = {value: name for name, value in graph.outputs.items()}

    def attributes(of: Mapping[str, Any]) -> dict[str, Any]:
        return {name: TensorProto.DataType.Value(value) if name == "to" else value for name, value in of.items()}

    return [
        helper.make_node(
            node.operator,
            [given.get(value, value) for value in node.inputs],
            [given.get(node.name, node.name)],
            name=node.name,
            **attributes(node.attributes),
        )
        for node in graph.nodes
    ]
