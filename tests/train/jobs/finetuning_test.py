"""Batches of contrastive pairs and of evaluation on any mesh, and scores that are NaN."""

import math

import numpy as np
import pytest

from tests.train.jobs.prepared import prepared_of
from train.errors import UserError
from train.jobs.finetuning import _check_comparisons, eval_batches, summarize
from train.jobs.language_model import _summary
from train.jobs.seeds import summarize as over_seeds
from train.machine.mesh import devices_of, make_mesh, put_batch
from train.tasks.rows import Row, RowSet


@pytest.mark.parametrize(
    ("data", "fsdp", "devices"), [(-1, 1, 8), (1, 1, 1), (2, 1, 2), (3, 1, 3), (3, 2, 6), (1, 7, 7)]
)
@pytest.mark.parametrize("tokens", [1, 64, 1000])
def test_evaluation_batches_divide_by_the_mesh(data, fsdp, devices, tokens):
    """Also by a mesh of fewer devices than the 8 of these tests."""
    sizes = np.random.default_rng(0).integers(1, 25, size=13)
    rows = [Row(i, (np.full(size, i + 1, np.int32),), (size,), {}) for i, size in enumerate(sizes)]
    assert devices_of({"mesh.data": data, "mesh.fsdp": fsdp}) == devices
    mesh, seen = make_mesh(data, fsdp), []
    for batch in eval_batches(RowSet(rows, 0, (16, 32), {}), tokens, devices):
        placed = put_batch(batch, mesh)
        assert placed["input_ids"].sharding.num_devices == devices
        seen += [row for row in batch["row"].tolist() if row >= 0]
    assert sorted(seen) == list(range(13))


@pytest.mark.parametrize(
    ("size", "accumulation", "pairs", "message"),
    [
        (8, 1, 8, None),
        (2, 1, 9, None),
        (16, 1, 8, "batch_size=16 with 8 training pairs. Give a batch_size from 2 to 8"),
        (1, 1, 8, "batch_size=1 with 8 training pairs. Give a batch_size from 2 to 8"),
        (8, 2, 8, "accumulation_steps=2 these would be those of a micro-batch. Give accumulation_steps=1"),
        (8, 8, 99, "accumulation_steps=8 these would"),
    ],
)
def test_contrastive_batches_are_whole_and_have_distinct_pairs(size, accumulation, pairs, message):
    values = {"sentences.objective": "contrastive", "batch_size": size, "accumulation_steps": accumulation}
    if message is None:
        _check_comparisons(values, pairs)
        return
    with pytest.raises(UserError, match=f"sentences.objective=contrastive .*{message}"):
        _check_comparisons(values, pairs)


LABELS = {"single_label": [0, 1, 1, 0], "regression": [1.0, 4.0, 2.0, 2.5], "constant": [5.0, 5.0, 5.0, 5.0]}


@pytest.mark.parametrize(
    ("labels", "odd", "is_number"),
    [
        ("single_label", None, True),
        ("single_label", np.nan, False),  # argmax returns the position of NaN, which may be right
        ("single_label", np.inf, False),
        ("regression", None, True),
        ("regression", np.nan, False),
        ("constant", None, False),  # the correlation with a constant is undefined
    ],
)
def test_scores_of_outputs_that_are_not_finite_are_nan(labels, odd, is_number):
    problem = "single_label" if labels == "single_label" else "regression"
    prepared = prepared_of(problem, LABELS[labels])
    logits = np.random.default_rng(0).normal(size=(8, 2 if problem == "single_label" else 1)).astype(np.float32)
    if odd is not None:
        logits[5, 0] = odd
    found = summarize(prepared, [{"row": np.arange(8), "logits_0": logits, "task_loss": 2.0, "weight": 8.0}])
    metrics = {"accuracy"} if problem == "single_label" else {"mean", "pearson", "spearman"}
    assert found.keys() == {"loss", *metrics, *(f"more_{name}" for name in metrics)}
    assert {math.isfinite(found[name]) for name in metrics} == {is_number}
    assert math.isfinite(found["loss"]) == (odd is None)


@pytest.mark.parametrize(("total", "weight", "loss"), [(6.0, 3.0, 2.0), (0.1, 0.25, 0.4), (0.0, 0.0, math.nan)])
def test_the_loss_is_divided_by_its_weight(total, weight, loss):
    """Also by a weight below one; without labels the loss is NaN."""
    prepared = prepared_of("single_label", LABELS["single_label"])
    logits = np.zeros((8, 2), np.float32)
    result = {"row": np.arange(8), "logits_0": logits, "task_loss": np.float32(total), "weight": np.float32(weight)}
    assert summarize(prepared, [result])["loss"] == pytest.approx(loss, nan_ok=True)


@pytest.mark.parametrize(
    ("weights", "missing"),
    [
        ({"mlm_loss": 4.0, "sop_loss": 2.0}, set()),
        ({"mlm_loss": 0.5, "sop_loss": 2.0}, set()),
        ({"mlm_loss": 0.0, "sop_loss": 2.0}, {"mlm_loss", "loss"}),
        ({"mlm_loss": 4.0, "sop_loss": 2.0, "measured": 0.0}, {"measured"}),
    ],
)
def test_a_held_out_loss_without_rows_is_nan(weights, missing):
    """Not 0, which would be the best."""
    flat = {f"weights/{name}": weight for name, weight in weights.items()}
    flat |= {f"sums/{name}": 3.0 * weight for name, weight in weights.items()}
    found = _summary(flat, {"mlm_loss": 1.0, "sop_loss": 1.0})
    assert {name for name, value in found.items() if math.isnan(value)} == missing
    assert {found[name] for name in weights if name not in missing} == {3.0}


def test_the_mean_over_seeds_is_nan_if_one_is_missing():
    found = over_seeds({0: {"f1": 0.5, "loss": 1.0}, 1: {"f1": None, "loss": 3.0}}, "f1")["metrics"]
    assert found["loss"] == {"mean": 2.0, "min": 1.0, "max": 3.0}
    assert all(map(math.isnan, found["f1"].values()))
