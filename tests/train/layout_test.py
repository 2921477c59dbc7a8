"""The same run with other meshes of 8 simulated devices (tests/conftest.py), with dropout."""

import numpy as np
import pytest

from tests.train.commands import Command, series

# Wide enough for flax_lite.models.params to shard, which it does from 2^16 elements: the feed-forward kernels have
# 128 x 512, the embeddings 1000 x 128.
_SIZES = ("hidden_size=128", "intermediate_size=512", "num_attention_heads=2", "num_hidden_layers=2")
_DROPOUT = ("hidden_dropout_prob=0.1", "attention_probs_dropout_prob=0.1")
_LONG = (
    *(f"model.{option}" for option in (*_SIZES, *_DROPOUT)),
    "total_steps=20",
    "log_every_steps=1",
    "eval_every_steps=10",
    "checkpoint_every_steps=20",
    "plot=false",
    "optimizer.warmup_steps=2",
    "batch_size=16",
)
_RANDOM = ("teacher=random", "losses.cosine=0", "student.init=random")
JOBS = {
    "pretrain": Command("pretrain", "configs/albert_tiny.py:smoke", (*_LONG, "accumulation_steps=2")),
    "distill": Command("distill", "configs/distilbert_tiny.py:smoke", (*_LONG, *_RANDOM)),
    "finetune": Command(
        "finetune", "configs/glue.py:sst2,smoke", (*_LONG, "evaluations=none", "tokenizer=train:wordpiece:1000")
    ),
}


def run(command, workdir, data, fsdp):
    assert command.main(workdir, f"mesh.data={data}", f"mesh.fsdp={fsdp}", "plot=false") == 0
    return series(workdir)


def assert_same(found, expected):
    """Losses agree within 1e-4 over 20 smoke steps: another layout takes sums in another order.

    Masks and dropout do not depend on the layout, because they are drawn for the global batch.
    """
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, reference in zip(found, expected, strict=True):
        if row["step"] <= 20:
            for name in (key for key in row if key.endswith("loss")):
                message = f"{name} at step {row['step']}"
                np.testing.assert_allclose(row[name], reference[name], rtol=0, atol=1e-4, err_msg=message)
            np.testing.assert_allclose(row["loss"], reference["loss"], rtol=1e-4, err_msg=f"step {row['step']}")


@pytest.mark.compat
@pytest.mark.parametrize(("job", "layout"), [("distill", (4, 2)), ("finetune", (8, 1))])
def test_a_finished_run_is_the_same_on_eight_devices(job, layout, request, tmp_path):
    finished = request.getfixturevalue(f"finished_{job}")
    assert_same(run(finished.command, tmp_path / "work", *layout), series(finished.workdir))


@pytest.fixture(
    scope="module",
    # Slow: four wide runs of 20 steps each. The test above covers both jobs with narrow models.
    params=["pretrain", *(pytest.param(job, marks=pytest.mark.slow) for job in ("distill", "finetune"))],
)
def single(request, tmp_path_factory):
    return JOBS[request.param], run(JOBS[request.param], tmp_path_factory.mktemp("single"), 1, 1)


# The fast case shards the batch over both axes and parameters over one; the slow cases use a single axis.
@pytest.mark.parametrize(
    "layout", [pytest.param((8, 1), marks=pytest.mark.slow), (2, 4), pytest.param((1, 8), marks=pytest.mark.slow)]
)
def test_a_long_run_is_the_same_on_every_layout(single, layout, tmp_path):
    command, expected = single
    assert len(expected) >= 22
    assert_same(run(command, tmp_path / "work", *layout), expected)
