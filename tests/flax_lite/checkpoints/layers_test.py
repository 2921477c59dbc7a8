"""Tests that chosen layers of a checkpoint are the same in pick_layers, convert and distillation's student.layers."""

import numpy as np
import pytest
from flax import nnx

from flax_lite import convert
from flax_lite.checkpoints import open_source, pick_layers
from flax_lite.distillation.initialization import init_from_teacher
from flax_lite.models.params import get_params, with_params
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files

pytestmark = pytest.mark.compat


@pytest.mark.parametrize(
    ("family", "head", "file_format", "layers"),
    [
        ("bert", "MaskedLM", "safetensors", (0, 2)),
        ("bert", "Encoder", "flax", (2, 0)),
        ("bert", "SequenceClassification", "safetensors", (1,)),
        ("distilbert", "QuestionAnswering", "flax", (0, 0, 2, 1)),
    ],
)
def test_chosen_layers_are_those_of_convert_and_of_a_student(family, head, file_format, layers, tmp_path):
    config = tiny.FAMILIES[family](num_hidden_layers=3)
    teacher = files.saved(tmp_path / "one", head, config, format=file_format)
    student = tiny.make(head, config.replace(num_hidden_layers=len(layers)), seed=5)
    wrap = (lambda params: {"encoder": params}) if head == "Encoder" else dict
    expected = init_from_teacher(wrap(get_params(student)), wrap(get_params(teacher)), layers)
    expected = with_params(nnx.graphdef(student), expected["encoder"] if head == "Encoder" else expected)
    picked = tiny.MODELS[head].from_pretrained(pick_layers(open_source(tmp_path / "one"), layers))
    files.assert_same_parameters(expected, picked)
    lines = convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("safetensors",), layers=layers)
    assert f"{len(layers)} layers" in lines[0]
    converted = tiny.MODELS[head].from_pretrained(tmp_path / "two")
    files.assert_same_parameters(expected, converted)
    assert converted.config.num_hidden_layers == picked.config.num_hidden_layers == len(layers)


def test_layers_of_an_albert_without_shared_parameters_can_be_chosen(tmp_path):
    model = files.saved(tmp_path, "Encoder", tiny.albert(num_hidden_layers=3, num_hidden_groups=3))
    picked = tiny.MODELS["Encoder"].from_pretrained(pick_layers(open_source(tmp_path), (2, 1)))
    assert (picked.config.num_hidden_layers, picked.config.num_hidden_groups) == (2, 2)
    for path, array in files.flat(picked).items():
        expected = files.flat(model)[path]
        assert (array == (expected[np.array([2, 1])] if path.startswith("layers/") else expected)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"3 layers of this model share 1 set of parameters, .*; give a depth instead \(convert: --layers 6"),
        ({"num_hidden_groups": 2}, "share 2 sets of parameters, so single layers cannot be chosen$"),
        ({"num_hidden_layers": 2, "num_hidden_groups": 1, "inner_group_num": 2}, "share 2 sets of parameters"),
    ],
)
def test_shared_layers_cannot_be_chosen(changes, message, tmp_path):
    files.saved(tmp_path, "Encoder", tiny.albert(**{"num_hidden_layers": 3, **changes}))
    with pytest.raises(ValueError, match=rf"model.safetensors: layers=\(0, 1\): .*{message}"):
        pick_layers(open_source(tmp_path), (0, 1))


@pytest.mark.parametrize("layers", [(), (3,), (0, -1), (0, "1")])
def test_unknown_layers_are_refused(layers, tmp_path):
    files.saved(tmp_path, "Encoder", tiny.bert(num_hidden_layers=3))
    with pytest.raises(ValueError, match="expected one or more numbers from 0 to 2"):
        pick_layers(open_source(tmp_path), layers)


def test_older_names_are_chosen_and_a_second_name_of_a_tensor_is_refused(tmp_path):
    """Files converted from Google's call the parameters of LayerNorm gamma and beta."""
    model = files.saved(tmp_path, "MaskedLM", tiny.bert(num_hidden_layers=3))
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def renamed(name):
        return next((name.replace(new, older) for new, older in old.items() if name.endswith(new)), name)

    files.edit(tmp_path, lambda arrays: {renamed(name): array for name, array in arrays.items()})
    picked = tiny.MODELS["MaskedLM"].from_pretrained(pick_layers(open_source(tmp_path), (2,)))
    found = files.flat(picked)["encoder/layer/attention/layer_norm/scale"]
    assert (found == files.flat(model)["encoder/layers/attention/layer_norm/scale"][2]).all()
    name = "bert.encoder.layer.2.output.LayerNorm"
    files.edit(tmp_path, lambda arrays: {**arrays, f"{name}.weight": arrays[f"{name}.gamma"]})
    with pytest.raises(ValueError, match=f"holds {name}.weight twice"):
        pick_layers(open_source(tmp_path), (2,))


def test_unknown_tensors_are_still_reported(tmp_path):
    files.saved(tmp_path, "Encoder", tiny.bert(num_hidden_layers=3))
    files.edit(tmp_path, lambda arrays: {**arrays, "encoder.layer.1.adapter.weight": arrays["pooler.dense.bias"]})
    with pytest.raises(ValueError, match="adapter"):
        tiny.MODELS["Encoder"].from_pretrained(pick_layers(open_source(tmp_path), (0, 2)))
