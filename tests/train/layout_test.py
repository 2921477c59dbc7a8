"""The same run on other arrangements of devices: 8 simulated ones (tests/conftest.py), dropout on."""

from typing import NamedTuple

import numpy as np
import pytest

from tests.train.commands import series
from train import cli, distill, finetune, pretrain
from train.leaves import DISTILL_LEAVES, PRETRAIN_LEAVES
from train.task_leaves import FINETUNE_LEAVES

# Wide enough for flax_lite.sharding to split: 2^16 elements are 128 x 512, the feed-forward kernels, and 1000 x 128.
_SIZES = ("hidden_size=128", "intermediate_size=512", "num_attention_heads=2", "num_hidden_layers=2")
_DROPOUT = ("hidden_dropout_prob=0.1", "attention_probs_dropout_prob=0.1")
_CADENCE = (
    "total_steps=20",
    "log_every_steps=1",
    "eval_every_steps=10",
    "checkpoint_every_steps=20",
    "plot=false",
    "optimizer.warmup_steps=2",
    "batch_size=16",
)
# The quick one splits the batch over both axes and the parameters over one of them.
LAYOUTS = [pytest.param((8, 1), marks=pytest.mark.slow), (2, 4), pytest.param((1, 8), marks=pytest.mark.slow)]


class _JobCase(NamedTuple):
    main: object
    options: tuple[str, ...]


JOBS = {
    "pretrain": _JobCase(
        lambda argv: cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, argv),
        ("--config", "configs/albert_tiny.py:smoke", "--config.accumulation_steps=2"),
    ),
    "distill": _JobCase(
        lambda argv: cli.main("distill", DISTILL_LEAVES, distill.run, argv),
        (
            "--config",
            "configs/distilbert_tiny.py:smoke",
            "--config.teacher=random",
            "--config.losses.cosine=0",
            "--config.student.init=random",
        ),
    ),
    "finetune": _JobCase(
        lambda argv: cli.main("finetune", FINETUNE_LEAVES, finetune.run_request, argv),
        (
            "--config",
            "configs/glue.py:sst2,smoke",
            "--config.evaluations=none",
            "--config.tokenizer=train:wordpiece:1000",
        ),
    ),
}


def run(job, workdir, data, fsdp):
    case = JOBS[job]
    leaves = (*(f"model.{size}" for size in (*_SIZES, *_DROPOUT)), *_CADENCE, f"mesh.data={data}", f"mesh.fsdp={fsdp}")
    assert case.main([*case.options, "--workdir", str(workdir), *(f"--config.{leaf}" for leaf in leaves)]) == 0
    return series(workdir)


@pytest.fixture(
    scope="module", params=["pretrain", *(pytest.param(job, marks=pytest.mark.slow) for job in ("distill", "finetune"))]
)
def single(request, tmp_path_factory, repository):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        return request.param, run(request.param, tmp_path_factory.mktemp("single"), 1, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_is_the_same_on_every_layout(single, layout, tmp_path, monkeypatch, repository):
    """Losses agree to 1e-4 over 20 steps (DESIGN.md): masks and dropout are drawn for the global batch, and sums are
    divided by global weights.
    """
    monkeypatch.chdir(repository)
    job, expected = single
    found = run(job, tmp_path / "work", *layout)
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    assert len(found) >= 22
    for ours, theirs in zip(found, expected, strict=True):
        for name in (key for key in ours if key.endswith("loss")):
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4, err_msg=f"{name} at {ours['step']}")
