"""Sizes, and operations counted by hand."""

import dataclasses

import numpy as np
import pytest

from benchmarks.gpu_steps.cases import REAL, SMOKE, Case, Setting
from benchmarks.gpu_steps.results import Measurement, tokens_per_second, utilization
from benchmarks.harness.results import decode


def measurement(seconds=0.5, **changes):
    fields = {"build_seconds": 1.0, "loss": 10.0, "grad_norm": 1.0, "peak_bytes": None, "settings": "none"}
    return Measurement(step_seconds=[seconds, seconds, 9.0], **{**fields, **changes})


def test_utilization_is_model_flops_over_time_and_rate():
    """Counts the operations by hand.

    A layer of BERT-base has 4 * 768^2 + 2 * 768 * 3072 weights, and 2 * 128 * 768 more products in attention; 20 of 128
    tokens go through the head, 768^2 + 768 * 30522. Each product is two operations, three times that with the gradient.
    ALBERT's embeddings are projected, 128 * 768, and its head is 128 * (768 + 30000).
    """
    one = Case(model="bert_base", length=128, rows=256)
    encoder = 12 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 128 * 768)
    head = 768**2 + 768 * 30522
    expected = 3 * 2 * 256 * (128 * encoder + 20 * head)
    assert REAL.flops(one) == expected
    assert utilization(expected, measurement(), 1e15) == pytest.approx(expected / 0.5 / 1e15)
    assert utilization(expected, measurement(), None) is None
    assert tokens_per_second(one, measurement()) == 65536
    albert = dataclasses.replace(one, model="albert_base", setting=Setting(remat="full"))
    expected = 3 * 2 * 256 * (128 * (encoder + 128 * 768) + 20 * 128 * (768 + 30000))
    assert REAL.flops(albert) == expected


@pytest.mark.parametrize("work", [REAL, SMOKE])
def test_every_size_divides_into_rows_that_fit_the_model(work):
    for name, model in work.models.items():
        for length, predictions in work.predictions.items():
            assert all(tokens % length == 0 for tokens in model.tokens)
            assert sorted(model.tokens) == list(model.tokens)
            assert work.config(name).max_position_embeddings >= length > predictions


def test_a_batch_has_the_sizes_of_the_model():
    case = Case(model="bert_base", length=16, rows=4)
    batch = SMOKE.batch(case)
    assert batch["input_ids"].shape == (4, 16)
    assert batch["masked_positions"].shape == (4, 3)
    assert batch["input_ids"].max() < 50
    for name, array in SMOKE.batch(dataclasses.replace(case, setting=None)).items():
        np.testing.assert_array_equal(array, batch[name])


@pytest.mark.parametrize("setting", [None, Setting(unroll=0, attention="cudnn", remat="dots", deterministic=True)])
def test_a_case_is_read_as_it_was_written(setting):
    case = Case(model="albert_base", length=128, rows=8, setting=setting)
    assert decode(Case, dataclasses.asdict(case)) == case
