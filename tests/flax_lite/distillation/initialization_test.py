"""Initialization of students: selected layers, copied bit for bit, also through files."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import flax_lite as fl
from flax_lite.distillation.initialization import init_from_teacher, spread_layers
from flax_lite.models.params import get_params
from tests.flax_lite import tiny


def model(config, seed=0):
    return tiny.make("MaskedLM", config, seed)


def flat(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (12, 6, (0, 2, 4, 7, 9, 11)),  # DistilBERT's
        (6, 3, (0, 3, 5)),
        (12, 3, (0, 6, 11)),
        (24, 6, (0, 5, 9, 14, 18, 23)),
        (12, 12, tuple(range(12))),
        (4, 1, (0,)),
        (2, 2, (0, 1)),
    ],
)
def test_spread_layers(teacher, student, expected):
    assert spread_layers(teacher, student) == expected


def test_spread_layers_are_distinct_and_include_both_ends():
    for teacher in range(2, 30):
        for student in range(2, teacher + 1):
            layers = spread_layers(teacher, student)
            assert (layers[0], layers[-1], len(set(layers))) == (0, teacher - 1, student)


@pytest.mark.parametrize("layers", [None, (2, 0)])
def test_student_copies_the_teacher_s_layers_bit_for_bit(layers):
    teacher = flat(get_params(model(tiny.bert(), seed=1)))
    before = flat(get_params(model(tiny.distilbert(num_hidden_layers=2))))
    student = flat(init_from_teacher(get_params(model(tiny.distilbert(num_hidden_layers=2))), _nested(1), layers))
    assert student.keys() == before.keys()
    for name, leaf in student.items():
        expected = teacher[name][list(layers or (0, 2))] if name.startswith("encoder/layers/") else teacher[name]
        np.testing.assert_array_equal(leaf, expected)


def _nested(seed):
    return get_params(model(tiny.bert(), seed=seed))


def test_student_equals_tensors_renamed_by_hand(tmp_path):
    """Compared as files with PyTorch's names: the teacher's tensors renamed, its layers 0 and 2 numbered 0 and 1."""
    teacher = model(tiny.bert(), seed=1)
    config = tiny.distilbert(num_hidden_layers=2)
    student = model(config)
    nnx.update(student, init_from_teacher(get_params(student), get_params(teacher)))
    student.save_pretrained(tmp_path / "student", format="safetensors")
    teacher.save_pretrained(tmp_path / "teacher", format="safetensors")
    names = {
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    tensors = load_file(tmp_path / "teacher" / "model.safetensors")
    by_hand = {
        f"distilbert.embeddings.{name}": tensors[f"bert.embeddings.{name}"]
        for name in ("word_embeddings.weight", "position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
    }
    for number, layer in enumerate((0, 2)):
        for teacher_name, student_name in names.items():
            for part in ("weight", "bias"):
                tensor = tensors[f"bert.encoder.layer.{layer}.{teacher_name}.{part}"]
                by_hand[f"distilbert.transformer.layer.{number}.{student_name}.{part}"] = tensor
    head = "cls.predictions.transform"
    by_hand |= {f"vocab_transform.{part}": tensors[f"{head}.dense.{part}"] for part in ("weight", "bias")}
    by_hand |= {f"vocab_layer_norm.{part}": tensors[f"{head}.LayerNorm.{part}"] for part in ("weight", "bias")}
    by_hand["vocab_projector.bias"] = tensors["cls.predictions.bias"]
    (tmp_path / "by_hand").mkdir()
    (tmp_path / "by_hand" / "config.json").write_bytes((tmp_path / "student" / "config.json").read_bytes())
    save_file(by_hand, tmp_path / "by_hand" / "model.safetensors")
    read = [flat(get_params(fl.MaskedLM.from_pretrained(str(tmp_path / name)))) for name in ("student", "by_hand")]
    assert read[0].keys() == read[1].keys()
    for name, leaf in read[0].items():
        np.testing.assert_array_equal(leaf, read[1][name])


def test_student_of_a_shared_layer_has_copies_of_it():
    config = tiny.albert(embedding_size=12)
    teacher = get_params(model(config, seed=1))
    student = flat(init_from_teacher(get_params(model(tiny.bert())), teacher))
    layer = flat(teacher["encoder"]["layer"])
    for name, leaf in student.items():
        if name.startswith("encoder/layers/"):
            np.testing.assert_array_equal(leaf, np.stack([layer[name.removeprefix("encoder/layers/")]] * 3))


@pytest.mark.parametrize("layers", [None, (0, 1, 2), (0, 2), (2, 2, 0), (1,)])
def test_student_with_a_shared_layer_has_the_mean_of_the_teacher_s(layers):
    """Bit for bit: summed in float64 in the given order, divided, rounded once. One layer's mean is the layer."""
    teacher = flat(_nested(1))
    student = flat(init_from_teacher(get_params(model(tiny.albert())), _nested(1), layers))
    shared = [name for name in student if name.startswith("encoder/layer/")]
    assert len(shared) == 16
    for name in shared:
        stack = teacher[name.replace("/layer/", "/layers/")]
        chosen = [stack[layer].astype(np.float64) for layer in layers or (0, 1, 2)]
        np.testing.assert_array_equal(student[name], (sum(chosen) / len(chosen)).astype(np.float32))
        if layers == (1,):
            np.testing.assert_array_equal(student[name], stack[1])


@pytest.mark.parametrize("config", [tiny.albert, functools.partial(tiny.albert, num_hidden_groups=2)])
def test_student_of_equal_shape_equals_the_teacher_bit_for_bit(config):
    teacher = flat(get_params(model(config(), seed=1)))
    student = flat(init_from_teacher(get_params(model(config())), get_params(model(config(), seed=1))))
    for name, leaf in student.items():
        np.testing.assert_array_equal(leaf, teacher[name])


def test_student_with_groups_takes_a_layer_for_each_group_and_factorizes_its_embeddings():
    teacher, config = flat(_nested(1)), tiny.albert(num_hidden_groups=2)
    student = flat(init_from_teacher(get_params(model(config)), _nested(1)))
    shared = flat(init_from_teacher(get_params(model(tiny.albert())), _nested(1)))
    for name, leaf in student.items():
        layers = name.startswith("encoder/layers/")
        np.testing.assert_array_equal(leaf, teacher[name][[0, 2]] if layers else shared[name])


def test_factorized_student_survives_saving_and_loading(tmp_path):
    """Through Hugging Face's names and back, bit for bit."""
    student = model(tiny.albert())
    nnx.update(student, init_from_teacher(get_params(student), _nested(1)))
    student.save_pretrained(tmp_path, format="safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["albert.encoder.embedding_hidden_mapping_in.weight"].shape == (12, 8)
    read = fl.MaskedLM.from_pretrained(str(tmp_path))
    before, after = flat(get_params(student)), flat(get_params(read))
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        np.testing.assert_array_equal(after[name], leaf)
    assert read.config.replace(architectures=()) == student.config


def test_student_keeps_parameters_that_the_teacher_does_not_have():
    """For example token types of a BERT with a DistilBERT as teacher."""
    before = get_params(model(tiny.bert()))
    after = init_from_teacher(before, get_params(model(tiny.distilbert(), seed=1)))
    types = [flat(params)["encoder/embeddings/token_type/embedding"] for params in (before, after)]
    np.testing.assert_array_equal(*types)


def test_student_refuses_other_layers_and_shapes():
    student = get_params(model(tiny.distilbert(num_hidden_layers=2)))
    for layers in ((0,), (0, 3), (-1, 1)):
        with pytest.raises(ValueError, match="expected 2 numbers from 0 to 2"):
            init_from_teacher(student, _nested(0), layers)
    with pytest.raises(ValueError, match="student of 4 layers cannot take its layers from a teacher of 3"):
        init_from_teacher(get_params(model(tiny.distilbert(num_hidden_layers=4))), _nested(0))
    with pytest.raises(ValueError, match="do not fit") as caught:
        init_from_teacher(student, get_params(model(tiny.bert(vocab_size=43, intermediate_size=24))))
    for name in ("word/embedding: teacher (43, 12), student (41, 12)", "feed_forward/intermediate/kernel"):
        assert name in str(caught.value)


def test_student_with_a_shared_layer_refuses_other_layers_and_shapes():
    student = get_params(model(tiny.albert()))
    for layers in ((), (3,), (0, -1)):
        with pytest.raises(
            ValueError, match="one shared layer and a teacher of 3: expected one or more numbers from 0 to 2"
        ):
            init_from_teacher(student, _nested(0), layers)
    teacher = tiny.bert(vocab_size=43, intermediate_size=24, hidden_size=15, max_position_embeddings=17)
    with pytest.raises(ValueError, match="do not fit") as caught:
        init_from_teacher(student, get_params(model(teacher)))
    for name in (
        "word/embedding: teacher (43, 8), student (41, 8)",
        "position/embedding: teacher (17, 8), student (16, 8)",
        "projection/kernel: teacher (8, 15), student (8, 12)",
        "layer/feed_forward/intermediate/kernel: teacher (15, 24), student (12, 20)",
        "masked_lm_head/bias: teacher (43,), student (41,)",
    ):
        assert name in str(caught.value)
    with pytest.raises(ValueError, match=r"word/embedding: teacher \(41, 12\), student \(41, 16\)"):
        init_from_teacher(get_params(model(tiny.albert(embedding_size=16))), _nested(0))


def test_student_refuses_parameters_without_an_encoder():
    encoder = get_params(tiny.make("Encoder", tiny.bert()))
    for student, teacher in ((encoder, _nested(0)), (_nested(0), encoder)):
        with pytest.raises(ValueError, match="embeddings, layers, pooler have no encoder/layers/"):
            init_from_teacher(student, teacher)
    alike = flat(init_from_teacher({"encoder": encoder}, _nested(0)))
    np.testing.assert_array_equal(
        alike["encoder/layers/attention/key/kernel"], flat(_nested(0))["encoder/layers/attention/key/kernel"]
    )
