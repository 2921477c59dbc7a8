"""Programs are the steps of the real jobs, and measurements belong to their case."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compile_vs_run import stages
from benchmarks.compile_vs_run.analysis import disagreements
from benchmarks.compile_vs_run.cases import SMOKE_SIZES as SIZES
from benchmarks.compile_vs_run.cases import Case, make_batch
from benchmarks.compile_vs_run.programs import Program, make_program
from benchmarks.compile_vs_run.worker import Request, circumstances, measure
from tests.benchmarks.compile_vs_run.examples import series
from train.machine.mesh import make_mesh

LOSSES = {
    ("albert", "pretraining"): {"mlm_loss", "sop_loss"},
    ("bert", "pretraining"): {"mlm_loss", "nsp_loss"},
    ("distilbert", "pretraining"): {"mlm_loss"},
    **{
        (name, "distillation"): {"soft_cross_entropy_loss", "mlm_loss", "cosine_loss"}
        for name in ("albert", "distilbert")
    },
}


@pytest.mark.parametrize(("family", "kind"), LOSSES)
def test_steps_have_the_losses_and_layers_of_their_jobs(family, kind):
    """A student has half of its teacher's layers."""
    program = make_program(Case(family=family, kind=kind, num_layers=4), SIZES, "bfloat16")
    state, constants = jax.eval_shape(program.make, jax.random.key(0))
    _, metrics = jax.eval_shape(program.function, state, make_batch(SIZES, 4), *constants)
    assert {name for name in metrics if name.endswith("_loss")} == LOSSES[family, kind]
    encoder = state["params"]["encoder"]
    assert ("layer" in encoder) == (family == "albert")
    if family != "albert":
        assert {param.shape[0] for param in jax.tree.leaves(encoder["layers"])} == {2 if kind == "distillation" else 4}
    if kind == "distillation":
        (teacher,) = constants
        assert {param.dtype.name for param in jax.tree.leaves(teacher)} == {"bfloat16"}
        assert {param.shape[0] for param in jax.tree.leaves(teacher["encoder"]["layers"])} == {4}


@pytest.mark.slow  # two training steps with a teacher take minutes to compile; the smoke runs compile smaller programs
def test_executions_do_the_same_work_in_other_memory():
    request = Request(sizes=SIZES, repeats=1, runs=2)
    scan = Case(family="distilbert", kind="distillation", num_layers=8)
    measured = {case: measure(case, request) for case in (scan, dataclasses.replace(scan, unroll=2, remat="full"))}
    assert disagreements(series(measured)) == []
    plain, recomputed = measured.values()
    assert recomputed.temporary_bytes < plain.temporary_bytes
    assert recomputed.program_lines > plain.program_lines
    assert [len(one.run_seconds) for one in measured.values()] == [2, 2]


def test_a_program_compiled_for_a_target_is_not_run():
    forward = Case(family="bert", kind="forward", num_layers=2)
    measured = measure(forward, Request(sizes=SIZES, target="8xcpu", repeats=2))
    assert len(measured.builds) == 2
    assert measured.first_seconds is None
    assert (measured.run_seconds, measured.outcome) == ([], [])
    assert measured.temporary_bytes > 0


def test_circumstances_include_sizes_target_and_dtype():
    here = circumstances(Request(sizes=SIZES))
    assert here["dtype"] == "float32"
    assert here["sizes"]["hidden_size"] == 16
    there = circumstances(Request(sizes=SIZES, target="v5e:2x4"))
    assert (there["target"], there["dtype"]) == ("v5e:2x4", "bfloat16")
    assert "device" not in there


@pytest.mark.parametrize(("steps", "losses"), [(0, (1.0, 0.9, 0.8)), (1, (1.0, 1.0, 1.0)), (1, (1.0, 0.9, np.nan))])
def test_steps_that_do_not_do_their_work_are_refused(steps, losses):
    program = Program(lambda: None, lambda key: ({"step": jnp.int32(0)}, ()), trains=True)
    given = iter(losses)

    def executable(state, batch):
        metrics = {"loss": jnp.float32(next(given)), "grad_norm": jnp.float32(1)}
        return {**state, "step": state["step"] + steps}, metrics

    with pytest.raises(RuntimeError, match=r"after 3 steps|not finite"):
        stages.run(program, executable, make_batch(SIZES, 4), make_mesh(1, 1), 2, 10.0)
