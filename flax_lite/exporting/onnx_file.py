"""Writes a graph as an ONNX file; the only module that imports the package onnx, which is in the extra `onnx`."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax_lite
from flax_lite.exporting.onnx_graph import Graph, Node
from flax_lite.exporting.onnx_model import build_graph
from flax_lite.exporting.tasks import Sizes, input_names, outputs_of
from flax_lite.models.tasks import BATCH, LENGTH

if TYPE_CHECKING:
    import onnx

MODEL, EXTERNAL_DATA = "model.onnx", "model.onnx_data"
# The first opset with LayerNormalization, and its version of the format, for compatibility with old runtimes.
_OPSET, _IR_VERSION = 17, 8
# Names of the open axes in Hugging Face's exports.
_OPEN_AXES = {BATCH: "batch_size", LENGTH: "sequence_length"}
# A protocol buffer is limited to 2 GiB, of which nodes and names take a small part.
_MAX_INLINE_BYTES = 2**31 - 2**24


def require_onnx() -> None:
    """Raises ValueError if the package onnx is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise ValueError("writing ONNX needs the package onnx: pip install 'flax-lite[onnx]'")


def onnx_model(model: Any, sizes: Sizes | None = None) -> "onnx.ModelProto":
    """Returns the forward pass of a model as an ONNX model, with the names of Hugging Face's exports.

    Args:
        model: a model of one of `flax_lite.models.tasks.EXPORTS`, in float32.
        sizes: fixed sizes; batch and length are open if None.

    Returns:
        A model with int64 inputs [batch, length] and float32 outputs.

    Raises:
        ValueError: if the package onnx is not installed, the model has no task to export or does not compute in
            float32, or a size is invalid.
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
    model: Any, directory: Path, sizes: Sizes | None = None, *, max_inline_bytes: int = _MAX_INLINE_BYTES
) -> None:
    """Writes model.onnx to an existing directory.

    Args:
        model: as for `onnx_model`.
        directory: the directory to write to.
        sizes: as for `onnx_model`.
        max_inline_bytes: weights of more bytes in total are written to a separate file, model.onnx_data.

    Raises:
        ValueError: as `onnx_model`.
    """
    proto = onnx_model(model, sizes)
    import onnx

    num_bytes = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if num_bytes > max_inline_bytes:
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
    """Converts the nodes; values that are outputs of the graph have their output names."""
    from onnx import TensorProto, helper

    output_names = {value: name for name, value in graph.outputs.items()}

    def attributes(node: Node) -> dict[str, Any]:
        return {
            name: TensorProto.DataType.Value(value) if name == "to" else value
            for name, value in node.attributes.items()
        }

    return [
        helper.make_node(
            node.operator,
            [output_names.get(value, value) for value in node.inputs],
            [output_names.get(node.name, node.name)],
            name=node.name,
            **attributes(node),
        )
        for node in graph.nodes
    ]
