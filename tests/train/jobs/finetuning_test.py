"""The figures of a fine-tuning, from what its evaluation step kept of each batch."""

from types import SimpleNamespace

import numpy as np
import pytest

from train.jobs import finetuning

HELD_OUT = SimpleNamespace(predictions=lambda task, results: {}, scores=lambda scorer, found: {"accuracy": 0.5})
PREPARED = SimpleNamespace(task=None, scorer=None, held_out=HELD_OUT)


@pytest.mark.parametrize(
    ("sums", "weights", "loss"),
    [
        ([6.0], [3.0], 2.0),
        ([1.0, 2.0], [1.0, 3.0], 0.75),
        ([0.1, 0.0], [0.25, 0.0], 0.4),  # a weight below one divides as any other
        ([0.0, 0.0], [0.0, 0.0], None),  # no label is known: there is no loss
    ],
)
def test_summarise_divides_by_the_weight_itself(sums, weights, loss):
    results = [
        {"task_loss": np.float32(total), "weight": np.float32(weight), "row": np.arange(2)}
        for total, weight in zip(sums, weights, strict=True)
    ]
    found = finetuning.summarise(PREPARED, results)
    assert found.pop("accuracy") == 0.5
    assert found == ({} if loss is None else {"loss": pytest.approx(loss)})
