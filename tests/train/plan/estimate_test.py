"""Estimates of a plan against traced programs and programs compiled for 8 CPU devices."""

import contextlib
import dataclasses
import math

import jax
import numpy as np
import pytest

from flax_lite.models.flops import word_head_flops
from tests.flax_lite import jaxprs
from tests.train.conftest import write_table
from train import distill, finetune, pretrain
from train.machine.chips import parse_target
from train.machine.mesh import make_mesh
from train.machine.signals import Guard
from train.options import cli
from train.plan.compiling import compile_step
from train.plan.estimate import estimate
from train.plan.rehearsal import rehearse
from train.run.programs import abstract_state

# Every parameter is above compiling._LARGE or far below it; large kernels are sharded over "fsdp".
_SIZES = (
    "model.hidden_size=256",
    "model.num_attention_heads=4",
    "model.intermediate_size=1024",
    "model.num_hidden_layers=4",
    "model.max_position_embeddings=128",
    "data.sequence_length=128",
    "batch_size=32",
    "execution.unroll=1",
)
_LM = ("data.max_predictions=20", "tokenizer=train:unigram:8000")
JOBS = {
    "albert": (pretrain, ("--config", "configs/albert_base.py"), _LM),
    "bert": (pretrain, ("--config", "configs/bert_base.py"), _LM),
    "distill": (
        distill,
        ("--config", "configs/distilbert_base.py"),
        (*_LM, "teacher=random", "losses.cosine=0", "student.init=random"),
    ),
}


@contextlib.contextmanager
def planned(job, *more, target="8xcpu"):
    module, argv, overrides = JOBS[job]
    options = (f"--config.{option}" for option in (*_SIZES, *overrides, *more))
    request = cli.parse(job, module.OPTIONS, [*argv, *options], Guard())
    with rehearse(module.rehearsal(request), parse_target(target)) as found:
        yield found


def numbers(plan):
    steps = plan.request.config.accumulation_steps
    return estimate(plan.job, plan.batch, plan.constants, plan.sizes, accumulation_steps=steps, loops_reduce=True)


@pytest.fixture(autouse=True)
def _in_checkout(monkeypatch, repository):
    monkeypatch.chdir(repository)


def assert_holds(plan, memory, collectives):
    """Asserts that the plan's estimates agree with a compiled step.

    Bytes of arguments and collectives agree exactly except for sums and norms, so a data-parallel step gathers no
    parameters. Temporaries agree within a fifth, because fusion is up to the compiler.
    """
    expected = numbers(plan)
    batch_bytes = sum(array.nbytes for array in plan.batch.values()) // 8
    kept = expected.parameter_bytes + expected.optimizer_bytes + expected.constant_bytes
    assert memory["arguments"] == pytest.approx(kept + batch_bytes, abs=64)

    assert collectives.keys() == expected.collectives.keys()
    assert ("all-gather" in collectives) == (plan.sizes[1] > 1)
    gathered = collectives.get("all-gather", 0) - expected.collectives.get("all-gather", 0)
    # A distillation draws its masks over the batch: every device sorts all tokens, by two keys of four bytes.
    assert gathered == (2 * 4 * expected.tokens if plan.job.costs.word_chunks else 0)
    small = expected.collectives["all-reduce"] - collectives["all-reduce"]
    assert 0 <= small < 0.05 * expected.collectives["all-reduce"]

    if (
        plan.job.costs.teacher is None
    ):  # with a teacher, a chunk of all tokens' logits dominates, which the estimate omits
        working = expected.activation_bytes + expected.gradient_bytes + expected.gathered_bytes
        assert memory["temporaries"] == pytest.approx(working, rel=0.2)


# Slow: each compiles a large step for eight devices. By default one step with both axes is compiled, and the first two
# are compared with recorded results, below.
@pytest.mark.parametrize(
    ("job", "mesh", "more"),
    [
        pytest.param("albert", (8, 1), (), marks=pytest.mark.slow),
        pytest.param("albert", (1, 8), ("execution.remat=full",), marks=pytest.mark.slow),
        ("bert", (2, 4), ("execution.remat=dots",)),
        pytest.param("albert", (2, 4), ("accumulation_steps=2",), marks=pytest.mark.slow),
        pytest.param("bert", (8, 1), (), marks=pytest.mark.slow),
        pytest.param("bert", (1, 8), (), marks=pytest.mark.slow),
        pytest.param("distill", (2, 4), (), marks=pytest.mark.slow),
    ],
)
def test_a_plan_agrees_with_the_compiled_step(job, mesh, more):
    with planned(job, *more, f"mesh.data={mesh[0]}", f"mesh.fsdp={mesh[1]}") as plan:
        compiled = compile_step(plan)
        assert_holds(plan, compiled.memory, compiled.collectives)


@pytest.mark.parametrize(
    ("mesh", "remat", "memory", "collectives"),
    [
        ((8, 1), "none", {"arguments": 23660800, "temporaries": 60163504}, {"all-reduce": 21413120}),
        (
            (1, 8),
            "full",
            {"arguments": 3963136, "temporaries": 36188016},
            {"all-reduce": 21413120, "all-gather": 7503872},
        ),
    ],
)
def test_a_plan_agrees_with_recorded_compilations(mesh, remat, memory, collectives):
    """Recorded from the slow cases above with jaxlib 0.10."""
    with planned("albert", f"execution.remat={remat}", f"mesh.data={mesh[0]}", f"mesh.fsdp={mesh[1]}") as plan:
        assert_holds(plan, memory, collectives)


@pytest.mark.parametrize("job", JOBS)
def test_operations_are_the_matrix_products_of_the_traced_step(job):
    """Without remat, a step has the products of the model and its gradient, plus those that the estimate omits.

    These are pooler and sentence head, and in a distillation the recomputed logits of all tokens.
    """
    with planned(job, "batch_size=8", "mesh.data=1", target="1xcpu") as plan:
        state = jax.eval_shape(plan.job.init_state, jax.random.key(0))
        program = jaxprs.trace(plan.job.train_step, state, dict(plan.batch), *plan.constants)
        found, expected = 2 * jaxprs.multiply_adds(program), plan.job.costs.flops(plan.batch)
    config, teacher = plan.job.costs.config, plan.job.costs.teacher
    if teacher is None:
        left_out = 3 * 2 * 8 * config.hidden_size * (config.hidden_size + 2)
    else:
        left_out = 8 * 128 * (word_head_flops(config) + word_head_flops(teacher))
    assert found == expected + left_out


def test_memory_of_a_device_falls_with_fsdp():
    """Large parameters and their moments are sharded by the size of the axis; small ones are replicated."""
    sizes = {}
    with planned("bert") as plan:
        for fsdp in (1, 2, 8):
            sizes[fsdp] = numbers(dataclasses.replace(plan, sizes=(8 // fsdp, fsdp)))
    whole = sizes[1].parameter_bytes
    split = whole - sizes[8].parameter_bytes  # seven eighths of the sharded parameters
    assert 0.8 * whole < split * 8 / 7 <= whole
    assert sizes[2].parameter_bytes == whole - split * 8 // 7 // 2
    assert sizes[8].optimizer_bytes < 2.1 * sizes[8].parameter_bytes


def test_state_on_a_device_agrees_with_the_plan():
    """For a state placed on 8 devices as a run places it."""
    with planned("albert", "mesh.data=2", "mesh.fsdp=4") as plan:
        expected = numbers(plan)
        mesh = make_mesh(2, 4)
        abstract, shardings = abstract_state(plan.job, mesh)
        state = jax.device_put(jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), abstract), shardings)

    def held(tree):
        return sum(
            math.prod(array.addressable_shards[0].data.shape) * array.dtype.itemsize for array in jax.tree.leaves(tree)
        )

    assert held(state["params"]) == expected.parameter_bytes
    assert held(state["opt_state"]) == expected.optimizer_bytes


def test_a_plan_uses_the_longest_rows(tmp_path):
    """The batches of a fine-tuning have several lengths, and the longest has to fit."""
    write_table(tmp_path, 200)
    argv = ["--config", "configs/classify.py:smoke", f"--config.data.source=files:{tmp_path}", "--config.mesh.data=1"]
    request = cli.parse("finetune", finetune.OPTIONS, argv, Guard(), plans=True)
    with rehearse(finetune.rehearsal(request), parse_target("1xcpu")) as plan:
        lengths = [next(plan.job.train_batches(step))["input_ids"].shape[1] for step in range(16)]
    assert plan.batch["input_ids"].shape[1] == max(lengths) > min(lengths)
