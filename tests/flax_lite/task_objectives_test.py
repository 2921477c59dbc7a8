"""What fine-tuning optimises, against formulas in NumPy; padding, and a teacher of the same task."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from flax_lite.heads import MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification
from flax_lite.state import get_params
from flax_lite.task_objectives import Teaching, make_task_eval_step, task_objective
from flax_lite.training import averages
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
    """A batch whose last row only fills it up."""
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
    """A model that says the same whatever it reads."""
    names = {"start_logits": logits[0], "end_logits": logits[1]} if kind == "spans" else {"logits": logits}
    output = types.SimpleNamespace(**jax.tree.map(jnp.asarray, names))
    return lambda **inputs: output


def arrays(batch):
    return jax.tree.map(jnp.asarray, batch)


def measured(objective, model, batch, *constants):
    batch = arrays(batch)
    sums, weights = objective.sums(model, batch, None, *constants), objective.weights(batch)
    assert sums.keys() == weights.keys() == set(objective.names)
    return {name: float(value) for name, value in averages(sums, weights, objective.losses).items()}


def test_classification_is_the_mean_cross_entropy_of_real_rows():
    batch, logits = batch_of("classification"), logits_of("classification")
    expected = -special.log_softmax(logits, -1)[range(3), batch["labels"][:3]].mean()
    found = measured(task_objective("classification"), stub("classification", logits), batch)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert found["task_accuracy"] == pytest.approx((logits.argmax(-1) == batch["labels"])[:3].mean())


def test_class_weights_weigh_examples_and_divide_by_their_sum():
    batch, logits, weights = batch_of("classification"), logits_of("classification"), [0.5, 2.0, 3.0]
    each = -special.log_softmax(logits, -1)[range(3), batch["labels"][:3]]
    expected = np.average(each, weights=np.take(weights, batch["labels"][:3]))
    objective = task_objective("classification", class_weights=weights)
    assert measured(objective, stub("classification", logits), batch)["loss"] == pytest.approx(expected, rel=1e-6)


def test_several_labels_take_the_binary_cross_entropy_of_each():
    batch, logits = batch_of("classification", "multi_label"), logits_of("classification")
    shares, labels = special.expit(logits)[:3], batch["labels"][:3]
    expected = -(labels * np.log(shares) + (1 - labels) * np.log(1 - shares)).mean()
    found = measured(task_objective("classification", "multi_label"), stub("classification", logits), batch)
    assert found == {"loss": pytest.approx(expected, rel=1e-5), "task_loss": pytest.approx(expected, rel=1e-5)}


def test_a_number_takes_the_squared_error():
    batch, logits = batch_of("classification", "regression"), logits_of("classification")
    expected = ((logits - batch["labels"])[:3] ** 2).mean()
    found = measured(task_objective("classification", "regression"), stub("classification", logits), batch)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_tags_count_where_words_begin():
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


def test_the_right_choice_takes_the_cross_entropy():
    batch, logits = batch_of("choices"), logits_of("choices")
    expected = -special.log_softmax(logits, -1)[range(3), batch["labels"][:3]].mean()
    assert measured(task_objective("choices"), stub("choices", logits), batch)["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", MODELS)
def test_padding_and_filling_rows_count_for_nothing(kind):
    model = MODELS[kind](tiny.bert(labels=("a", "b", "c")), rngs=nnx.Rngs(0))
    batch = batch_of(kind)
    disturbed = {name: array.copy() for name, array in batch.items()}
    disturbed["input_ids"] = np.where(batch["attention_mask"] > 0, batch["input_ids"], 7)
    disturbed["input_ids"][3] = 9
    for objective in (task_objective(kind), task_objective(kind, task_weight=0.5)):
        assert measured(objective, model, disturbed) == pytest.approx(measured(objective, model, batch), abs=1e-6)
    kept = make_task_eval_step(nnx.graphdef(model), kind)(get_params(model), arrays(batch))
    loss = float(kept["task_loss"] / kept["weight"])
    assert loss == pytest.approx(measured(task_objective(kind), model, batch)["loss"], rel=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn_from_it(kind):
    model = MODELS[kind](tiny.bert(labels=("a", "b", "c")), rngs=nnx.Rngs(0))
    names = ("soft_cross_entropy", "logit_mse", "hidden_mse")
    structure, params = nnx.graphdef(model), get_params(model)
    teaching = Teaching(structure=structure, losses=dict.fromkeys(names, 0.5), layer_map=((0, 0), (2, 2)))
    objective = task_objective(kind, task_weight=0.5, teaching=teaching)
    found = measured(objective, model, batch_of(kind), params)
    assert [found[f"{name}_loss"] for name in names] == pytest.approx([0, 0, 0], abs=1e-9)
    assert found["loss"] == pytest.approx(0.5 * found["task_loss"], abs=1e-6)
    other = MODELS[kind](tiny.bert(labels=("a", "b", "c")), rngs=nnx.Rngs(1))
    found = measured(objective, other, batch_of(kind), params)
    assert all(found[f"{name}_loss"] > 1e-6 for name in names)

    def loss(taught):
        return objective.sums(other, arrays(batch_of(kind)), None, taught)["hidden_mse_loss"]

    assert all(not np.any(leaf) for leaf in jax.tree.leaves(jax.grad(loss)(get_params(other))))


@pytest.mark.parametrize("kind", MODELS)
def test_kept_logits_teach_as_the_teacher_does(kind):
    student, teacher = (MODELS[kind](tiny.bert(labels=("a", "b", "c")), rngs=nnx.Rngs(seed)) for seed in (0, 1))
    losses = {"soft_cross_entropy": 1.0, "logit_mse": 0.1}
    batch, structure, params = batch_of(kind), nnx.graphdef(teacher), get_params(teacher)
    kept = make_task_eval_step(structure, kind)(params, arrays(batch))
    logits = {f"teacher_{name.removeprefix('logits_')}": kept[name] for name in kept if name.startswith("logits_")}
    beside = measured(
        task_objective(kind, teaching=Teaching(structure=structure, losses=losses)), student, batch, params
    )
    alone = measured(task_objective(kind, teaching=Teaching(structure=None, losses=losses)), student, batch | logits)
    assert alone == pytest.approx(beside, rel=1e-6)
    spans = logits_of(kind) if kind == "spans" else None
    if spans is None:
        return
    student_spans, batch = stub(kind, spans), batch | logits
    taught = measured(task_objective(kind, teaching=Teaching(structure=None, losses=losses)), student_spans, batch)
    shares = [
        [special.log_softmax(np.asarray(x)[row, : LENGTHS[row]] / 2) for x in (spans[at], batch[f"teacher_{at}"])]
        for at in range(2)
        for row in range(3)
    ]
    expected = np.mean([4 * np.sum(np.exp(t) * (t - s)) for s, t in shares])
    assert taught["soft_cross_entropy_loss"] == pytest.approx(expected, rel=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no kind of task 'words'"):
        task_objective("words")
    with pytest.raises(ValueError, match="class weights are for classes that exclude each other"):
        task_objective("classification", "regression", class_weights=[1.0])
    soft = Teaching(structure=None, losses={"soft_cross_entropy": 1.0})
    with pytest.raises(ValueError, match="take logit_mse for multi_label"):
        task_objective("classification", "multi_label", teaching=soft)
    with pytest.raises(ValueError, match="hidden_mse needs the teacher itself"):
        task_objective("classification", teaching=Teaching(structure=None, losses={"hidden_mse": 1.0}))
