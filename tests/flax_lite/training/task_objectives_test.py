"""Objectives of fine-tuning against formulas in NumPy; padding, and a teacher of the same task."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from flax_lite.models.heads import MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification
from flax_lite.models.params import get_params, with_params
from flax_lite.training.objective import averages
from flax_lite.training.task_objectives import Teaching, make_task_eval_step, task_objective
from tests.flax_lite import tiny

B, T, C = 4, 7, 3
LENGTHS = [7, 5, 3, 6]
MODELS = {
    "classification": SequenceClassification,
    "choices": MultipleChoice,
    "tags": TokenClassification,
    "spans": QuestionAnswering,
}


def batch_of(kind, problem="single_label", seed=0):
    """A batch whose last row only fills it, with weight 0."""
    draw = np.random.default_rng(seed)
    mask = (np.arange(T) < np.array(LENGTHS)[:, None]).astype(np.int32)
    ids = draw.integers(5, 41, size=(B, T)).astype(np.int32) * mask
    batch = {"input_ids": ids, "attention_mask": mask, "row_weights": np.float32([1, 1, 1, 0])}
    if kind == "choices":
        batch |= {name: np.stack([batch[name], batch[name][::-1]], 1) for name in ("input_ids", "attention_mask")}
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    if kind == "tags":
        begins = (draw.random((B, T)) < 0.6) & (mask > 0)
        return batch | {"tags": np.where(begins, draw.integers(0, C, (B, T)), -1).astype(np.int32)}
    if kind == "spans":
        return batch | {"starts": np.int32([1, 0, 2, 1]), "ends": np.int32([3, 0, 2, 1])}
    labels = {
        "single_label": draw.integers(0, 2 if kind == "choices" else C, B).astype(np.int32),
        "multi_label": draw.integers(0, 2, (B, C)).astype(np.float32),
        "regression": draw.normal(size=(B, C)).astype(np.float32),
    }
    return batch | {"labels": labels[problem]}


def logits_of(kind, seed=1):
    draw = np.random.default_rng(seed)
    shapes = {"classification": (B, C), "choices": (B, 2), "tags": (B, T, C)}
    if kind == "spans":
        return tuple(draw.normal(size=(B, T)).astype(np.float32) for _ in range(2))
    return draw.normal(size=shapes[kind]).astype(np.float32)


def stub(kind, logits):
    """A model with the same output for any input."""
    names = {"start_logits": logits[0], "end_logits": logits[1]} if kind == "spans" else {"logits": logits}
    output = types.SimpleNamespace(**jax.tree.map(jnp.asarray, names))
    return lambda **inputs: output


def averages_of(objective, model, batch, *constants):
    sums, weights = objective.sums(model, batch, None, *constants), objective.weights(batch)
    assert sums.keys() == weights.keys() == set(objective.names)
    return averages(sums, weights, objective.losses)


def measured(objective, model, batch):
    found = jax.jit(lambda batch: averages_of(objective, model, batch))(batch)
    return {name: float(value) for name, value in found.items()}


def test_classification_is_the_mean_cross_entropy_of_real_rows():
    batch, logits = batch_of("classification"), logits_of("classification")
    expected = -special.log_softmax(logits, -1)[range(3), batch["labels"][:3]].mean()
    found = measured(task_objective("classification"), stub("classification", logits), batch)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert found["task_accuracy"] == pytest.approx((logits.argmax(-1) == batch["labels"])[:3].mean())


@pytest.mark.parametrize(
    ("weights", "labels"),
    [
        ([0.5, 2.0, 3.0], [0, 1, 2]),
        ([0.11, 10.0, 10.0], [0, 0, 0]),  # a batch of the most frequent class: weights sum to 0.33
        ([1e-6, 1.0, 1.0], [0, 0, 0]),
        ([0.0, 1e-3, 2.0], [0, 1, 0]),
        ([300.0, 2e4, 1.0], [0, 1, 1]),
    ],
)
def test_class_weights_weigh_examples_and_divide_by_their_sum(weights, labels):
    """For any sum of weights, as the mean reduction of torch.nn.CrossEntropyLoss(weight)."""
    batch, logits = batch_of("classification"), logits_of("classification")
    batch["labels"][:3] = labels
    each = -special.log_softmax(logits, -1)[range(3), labels]
    objective = task_objective("classification", class_weights=weights)
    found = measured(objective, stub("classification", logits), batch)
    assert found["loss"] == pytest.approx(np.average(each, weights=np.take(weights, labels)), rel=1e-6)


def test_rows_without_weight_have_a_loss_of_zero():
    """torch returns 0 / 0 there, and NaN would end a training run."""
    batch, logits = batch_of("classification"), logits_of("classification")
    batch["labels"][:3] = 1
    found = measured(task_objective("classification", class_weights=[1, 0, 1]), stub("classification", logits), batch)
    assert found["loss"] == 0.0


def test_multi_label_is_the_mean_binary_cross_entropy():
    batch, logits = batch_of("classification", "multi_label"), logits_of("classification")
    probabilities, labels = special.expit(logits)[:3], batch["labels"][:3]
    expected = -(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities)).mean()
    found = measured(task_objective("classification", "multi_label"), stub("classification", logits), batch)
    assert found == {"loss": pytest.approx(expected, rel=1e-5), "task_loss": pytest.approx(expected, rel=1e-5)}


def test_regression_is_the_mean_squared_error():
    batch, logits = batch_of("classification", "regression"), logits_of("classification")
    expected = ((logits - batch["labels"])[:3] ** 2).mean()
    found = measured(task_objective("classification", "regression"), stub("classification", logits), batch)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_tags_count_at_the_first_token_of_each_word():
    batch, logits = batch_of("tags"), logits_of("tags")
    rows, tokens = np.nonzero(batch["tags"][:3] >= 0)
    expected = -special.log_softmax(logits, -1)[rows, tokens, batch["tags"][rows, tokens]].mean()
    assert measured(task_objective("tags"), stub("tags", logits), batch)["loss"] == pytest.approx(expected, rel=1e-6)


def test_spans_average_start_and_end_over_real_tokens():
    batch, logits = batch_of("spans"), logits_of("spans")
    losses = [
        -special.log_softmax(scores[row, : LENGTHS[row]])[batch[name][row]]
        for scores, name in zip(logits, ("starts", "ends"), strict=True)
        for row in range(3)
    ]
    found = measured(task_objective("spans"), stub("spans", logits), batch)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_choices_are_the_mean_cross_entropy():
    batch, logits = batch_of("choices"), logits_of("choices")
    expected = -special.log_softmax(logits, -1)[range(3), batch["labels"][:3]].mean()
    assert measured(task_objective("choices"), stub("choices", logits), batch)["loss"] == pytest.approx(expected)


def params_of(kind, seed):
    return get_params(tiny.make(MODELS[kind], tiny.bert(labels=("a", "b", "c")), seed))


@functools.cache
def distill(kind):
    """A program (student's parameters, teacher's, batch) that returns the averages with the teacher in the step
    ("in_step"), with its stored logits ("stored"), and the student's evaluation ("eval").
    """
    structure = nnx.graphdef(tiny.make(MODELS[kind], tiny.bert(labels=("a", "b", "c"))))
    losses = {"soft_cross_entropy": 1.0, "logit_mse": 0.1}
    in_step = Teaching(structure=structure, losses=losses | {"hidden_mse": 0.5}, layer_map=((0, 0), (2, 2)))
    stored = Teaching(structure=None, losses=losses)
    evaluate = make_task_eval_step(structure, kind)

    def program(params, teacher, batch):
        student, teacher_eval = with_params(structure, params), evaluate(teacher, batch)
        logits = {name.replace("logits", "teacher"): array for name, array in teacher_eval.items() if "logits" in name}
        return {
            "in_step": averages_of(task_objective(kind, task_weight=0.5, teaching=in_step), student, batch, teacher),
            "stored": averages_of(task_objective(kind, teaching=stored), student, batch | logits),
            "eval": evaluate(params, batch),
        }

    compiled = jax.jit(program)
    return lambda *arguments: jax.tree.map(lambda leaf: leaf.tolist(), jax.device_get(compiled(*arguments)))


@pytest.mark.parametrize("kind", MODELS)
def test_padding_and_rows_without_weight_are_ignored(kind):
    batch, students = batch_of(kind), (params_of(kind, 0), params_of(kind, 1))
    disturbed = {name: array.copy() for name, array in batch.items()}
    disturbed["input_ids"] = np.where(batch["attention_mask"] > 0, batch["input_ids"], 7)
    disturbed["input_ids"][3] = 9
    found, expected = distill(kind)(*students, disturbed), distill(kind)(*students, batch)
    for name in ("in_step", "stored"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6)
    evaluated = expected["eval"]
    assert evaluated["task_loss"] / evaluated["weight"] == pytest.approx(expected["stored"]["task_loss"], rel=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_distillation_losses_of_a_student_that_equals_its_teacher_are_zero(kind):
    student, teacher = params_of(kind, 0), params_of(kind, 1)
    names = ("soft_cross_entropy_loss", "logit_mse_loss", "hidden_mse_loss")
    found = distill(kind)(teacher, teacher, batch_of(kind))["in_step"]
    assert [found[name] for name in names] == pytest.approx([0, 0, 0], abs=1e-9)
    assert found["loss"] == pytest.approx(0.5 * found["task_loss"], abs=1e-6)
    found = distill(kind)(student, teacher, batch_of(kind))["in_step"]
    assert all(found[name] > 1e-6 for name in names)
    expected = 0.5 * found["task_loss"] + np.dot([1.0, 0.1, 0.5], [found[name] for name in names])
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_stored_logits_equal_the_teacher_in_the_step(kind):
    found = distill(kind)(params_of(kind, 0), params_of(kind, 1), batch_of(kind))
    for name, value in found["stored"].items():
        if name != "loss":
            # Float32 sums of numbers near 1 in two different programs.
            assert value == pytest.approx(found["in_step"][name], rel=1e-6, abs=1e-6)


def test_teacher_has_no_gradient():
    structure = nnx.graphdef(tiny.make(MODELS["tags"], tiny.bert(labels=("a", "b", "c"))))
    losses = dict.fromkeys(("soft_cross_entropy", "logit_mse", "hidden_mse"), 1.0)
    objective = task_objective("tags", teaching=Teaching(structure=structure, losses=losses, layer_map=((0, 0),)))

    def loss(teacher, params):
        student = with_params(structure, params)
        return averages_of(objective, student, jax.tree.map(jnp.asarray, batch_of("tags")), teacher)["loss"]

    by_teacher = jax.jit(jax.grad(loss))(params_of("tags", 1), params_of("tags", 0))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_teacher))


def test_soft_cross_entropy_of_spans_is_over_real_tokens():
    spans, (starts, ends) = logits_of("spans"), logits_of("spans", seed=2)
    objective = task_objective("spans", teaching=Teaching(structure=None, losses={"soft_cross_entropy": 1.0}))
    found = measured(objective, stub("spans", spans), batch_of("spans") | {"teacher_0": starts, "teacher_1": ends})
    log_probabilities = [
        [special.log_softmax(x[row, : LENGTHS[row]] / 2) for x in pair]
        for pair in zip(spans, (starts, ends), strict=True)
        for row in range(3)
    ]
    expected = np.mean([4 * np.sum(np.exp(t) * (t - s)) for s, t in log_probabilities])
    assert found["soft_cross_entropy_loss"] == pytest.approx(expected, rel=1e-5)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="no kind of task 'words'"):
        task_objective("words")
    with pytest.raises(ValueError, match="class weights are for classes that exclude each other"):
        task_objective("classification", "regression", class_weights=[1.0])
    soft = Teaching(structure=None, losses={"soft_cross_entropy": 1.0})
    with pytest.raises(ValueError, match="use logit_mse for multi_label"):
        task_objective("classification", "multi_label", teaching=soft)
    with pytest.raises(ValueError, match="hidden_mse needs the teacher itself"):
        task_objective("classification", teaching=Teaching(structure=None, losses={"hidden_mse": 1.0}))
