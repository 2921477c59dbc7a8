"""ONNX files: outputs in onnxruntime equal the model's for any batch size; files are valid, with every weight once."""

import importlib
import sys

import jax
import numpy as np
import pytest

import flax_lite
import flax_lite.export  # imported here because the last test imports it again
from flax_lite.exporting import onnx_file
from flax_lite.exporting.onnx_model import ACTIVATION_NODES
from flax_lite.exporting.tasks import Sizes, input_names
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import ACTIVATION_FUNCTIONS
from flax_lite.models.tasks import EXPORTS
from tests.flax_lite import tiny
from tests.flax_lite.exporting import cases

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# onnxruntime and XLA sum in different orders; measured 1e-6 on these models.
TOLERANCE = 1e-5


def run(file, inputs):
    """Returns the outputs of onnxruntime by name."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feeds = {name: np.asarray(values, np.int64) for name, values in inputs.items()}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def assert_equal_to_model(model, file, inputs):
    expected = cases.expected(model, inputs)
    cases.assert_close(run(file, inputs), expected, TOLERANCE)
    return expected


def written(model, directory, **options):
    onnx_file.write_onnx(model, directory, **options)
    return str(directory / "model.onnx")


@pytest.mark.compat
@pytest.mark.parametrize(
    ("family", "task"),
    [
        # Each case compiles a model; the other cases have no additional kinds of nodes.
        pytest.param(family, task, marks=() if (family, task) in cases.SELECTED else pytest.mark.slow)
        for family in tiny.FAMILIES
        for task in EXPORTS
    ],
)
def test_file_equals_the_model(family, task, tmp_path):
    """One file for batches of several sizes, with padding; it is valid, including its declared shapes."""
    model = cases.model(family, task)
    file, inputs = written(model, tmp_path), cases.batch(model.config)
    onnx.checker.check_model(file, full_check=True)
    expected = assert_equal_to_model(model, file, inputs)
    inputs, expected = cases.sliced(model, inputs, expected)
    cases.assert_close(run(file, inputs), expected, TOLERANCE)


@pytest.mark.parametrize("name", cases.VARIANTS)
def test_variants_equal_the_model(name, tmp_path):
    """The variants and the cases above cover every activation."""
    model = cases.variant(name)
    assert_equal_to_model(model, written(model, tmp_path), cases.batch(model.config))


def test_every_activation_of_a_config_can_be_written():
    assert ACTIVATION_NODES.keys() == ACTIVATION_FUNCTIONS.keys()


def test_encoder_without_pooler_has_no_pooled_output():
    graph = onnx_file.onnx_model(cases.without_pooler()).graph
    assert [output.name for output in graph.output] == ["last_hidden_state"]
    assert not any(constant.name.startswith("pooler") for constant in graph.initializer)


def test_padding_row_is_finite_and_changes_no_other(tmp_path):
    model = cases.model("albert", "fill-mask")
    file, inputs = written(model, tmp_path), cases.batch(model.config)
    inputs["attention_mask"][1] = 0
    expected = assert_equal_to_model(model, file, inputs)
    assert np.isfinite(expected["logits"]).all()
    single = run(file, {name: values[:1] for name, values in inputs.items()})["logits"]
    np.testing.assert_allclose(run(file, inputs)["logits"][:1], single, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_inputs_and_outputs_are_those_of_hugging_face_exports(family):
    """int64 ids, open axes with optimum's names, no token types for DistilBERT, opset 17."""
    model = cases.model(family, "question-answering")
    proto = onnx_file.onnx_model(model)
    names = ("input_ids", "attention_mask") + (() if family == "distilbert" else ("token_type_ids",))
    assert tuple(value.name for value in proto.graph.input) == names == input_names(model.config)
    for value in proto.graph.input:
        assert value.type.tensor_type.elem_type == onnx.TensorProto.INT64
        assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == ["batch_size", "sequence_length"]
    assert [value.name for value in proto.graph.output] == ["start_logits", "end_logits"]
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 17)]
    assert proto.ir_version == 8


def test_sizes_can_be_fixed(tmp_path):
    model = cases.model("bert", "text-classification")
    file = written(model, tmp_path, sizes=Sizes(batch=2, length=16))
    assert_equal_to_model(model, file, cases.batch(model.config))
    for other in ((2, 15), (3, 16)):
        with pytest.raises(Exception, match="invalid dimensions"):
            run(file, cases.batch(model.config, other))
    with pytest.raises(ValueError, match="batch=0; expected at least 1"):
        onnx_file.onnx_model(model, Sizes(batch=0))


def test_rows_beyond_the_maximum_are_refused(tmp_path):
    model = cases.model("bert", "text-classification")
    with pytest.raises(Exception, match=r"broadcast|Incompatible dimensions"):
        run(written(model, tmp_path), cases.batch(model.config, (2, 17)))


@pytest.mark.parametrize("family", ["albert", "bert"])
def test_weights_are_stored_once(family, tmp_path):
    """Apart from nodes, the file has the size of the parameters, with tied and shared ones counted once."""
    config = tiny.FAMILIES[family](hidden_size=96, intermediate_size=384, num_hidden_layers=6, vocab_size=3000)
    model = tiny.make("MaskedLM", config)
    written(model, tmp_path)
    size = (tmp_path / "model.onnx").stat().st_size
    assert cases.num_bytes(model) < size < cases.num_bytes(model) + 100_000


def test_deeper_albert_adds_only_nodes(tmp_path):
    """Its layer is applied nine more times; the constants are the same."""
    protos = [
        onnx_file.onnx_model(tiny.make("MaskedLM", tiny.albert(num_hidden_layers=depth))).graph for depth in (3, 12)
    ]
    constants = [{each.name: each.raw_data for each in graph.initializer} for graph in protos]
    assert constants[0] == constants[1]
    assert len(protos[1].node) > 3 * len(protos[0].node)


def test_names_are_unique():
    graph = onnx_file.onnx_model(cases.model("albert", "fill-mask")).graph
    nodes = [node.name for node in graph.node]
    values = [name for node in graph.node for name in node.output] + [each.name for each in graph.initializer]
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
    assert "layer_1/attention/Softmax" in nodes


def test_large_weights_go_to_a_separate_file(tmp_path):
    """With a limit of one kilobyte instead of 2 GiB."""
    model = tiny.make("MaskedLM", tiny.albert(hidden_size=96, intermediate_size=384))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    file = written(model, tmp_path / "two", max_inline_bytes=1000)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"model.onnx", "model.onnx_data"}
    sizes = [(tmp_path / "two" / name).stat().st_size for name in ("model.onnx", "model.onnx_data")]
    assert sizes[0] < 0.2 * sizes[1]
    onnx.checker.check_model(file, full_check=True)
    inputs = cases.batch(model.config)
    np.testing.assert_array_equal(*(run(each, inputs)["logits"] for each in (file, written(model, tmp_path / "one"))))


def test_other_dtypes_are_refused():
    model = tiny.make("MaskedLM", tiny.bert(), execution=Execution(dtype="bfloat16"))
    with pytest.raises(ValueError, match="float32, given a model that computes in bfloat16"):
        onnx_file.onnx_model(model)


def test_parameters_of_another_dtype_are_written_in_float32(tmp_path):
    model = jax.tree.map(lambda array: array.astype("bfloat16"), cases.model("bert", "fill-mask"))
    file = written(model, tmp_path)
    wide = jax.tree.map(lambda array: array.astype("float32"), model)
    assert_equal_to_model(wide, file, cases.batch(model.config))


def test_missing_package_is_named_and_not_imported(monkeypatch, capsys):
    """Without onnx the command can be imported, and its error names the extra to install."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("flax_lite.export")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("export", "exporting"):  # restored after the test; the import below replaces them
        monkeypatch.setattr(flax_lite, name, None, raising=False)
    command = importlib.import_module("flax_lite.export")
    assert command.main(["nowhere/at/all", "out", "--to", "onnx"]) == 2
    expected = "export: writing ONNX needs the package onnx: pip install 'flax-lite[onnx]'\n"
    assert capsys.readouterr().err == expected
