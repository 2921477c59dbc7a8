"""The programs are the steps of the real jobs, and what is measured of them belongs to the case."""

import jax
import pytest

from benchmarks.compile_vs_run import stages
from benchmarks.compile_vs_run.analysis import disagreements
from benchmarks.compile_vs_run.batches import make_batch
from benchmarks.compile_vs_run.cases import FAMILIES, Case, Sizes
from benchmarks.compile_vs_run.programs import make_program
from benchmarks.compile_vs_run.worker import Request, circumstances, measure
from train.mesh import make_mesh

SIZES = Sizes(vocab_size=50, hidden_size=16, embedding_size=8, batch_size=4, sequence_length=16, max_predictions=3)
LOSSES = {
    ("albert", "pretraining"): {"mlm_loss", "sop_loss"},
    ("bert", "pretraining"): {"mlm_loss", "nsp_loss"},
    ("distilbert", "pretraining"): {"mlm_loss"},
    **{(name, "distillation"): {"soft_cross_entropy_loss", "mlm_loss", "cosine_loss"} for name in FAMILIES},
}


@pytest.mark.parametrize(("family", "kind"), LOSSES)
def test_steps_have_the_losses_of_their_jobs(family, kind):
    program = make_program(Case(family=family, kind=kind, num_layers=4), SIZES, "float32")
    state, constants = jax.eval_shape(program.make, jax.random.key(0))
    _, metrics = jax.eval_shape(program.function, state, make_batch(SIZES, 4), *constants)
    assert {name for name in metrics if name.endswith("_loss")} == LOSSES[family, kind]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_has_half_of_its_teachers_layers(family):
    program = make_program(Case(family=family, kind="distillation", num_layers=6), SIZES, "bfloat16")
    state, (teacher,) = jax.eval_shape(program.make, jax.random.key(0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(teacher)} == {"bfloat16"}
    assert {leaf.shape[0] for leaf in jax.tree.leaves(teacher["encoder"]["layers"])} == {6}
    own = state["params"]["encoder"]
    assert ("layer" in own) == (family == "albert")
    if family != "albert":
        assert {leaf.shape[0] for leaf in jax.tree.leaves(own["layers"])} == {3}


def test_executions_do_the_same_work_in_other_memory():
    request = Request(sizes=SIZES, repeats=1, runs=2)
    scan = Case(family="distilbert", num_layers=6)
    measured = {
        case: measure(case, request) for case in (scan, Case(family="distilbert", num_layers=6, unroll=2, remat="full"))
    }
    assert disagreements(measured) == []
    plain, recomputed = measured.values()
    assert recomputed.temporary_bytes < plain.temporary_bytes
    assert recomputed.program_lines > plain.program_lines
    assert [len(one.run_seconds) for one in measured.values()] == [2, 2]


def test_a_distillation_runs_and_a_target_is_not_run():
    ran = measure(Case(family="albert", kind="distillation", num_layers=2), Request(sizes=SIZES, repeats=1, runs=1))
    assert (len(ran.builds), len(ran.run_seconds)) == (1, 1)
    forward = Case(family="bert", kind="forward", num_layers=2)
    described = measure(forward, Request(sizes=SIZES, target="8xcpu", repeats=2))
    assert len(described.builds) == 2
    assert described.first_seconds is None
    assert (described.run_seconds, described.outcome) == ([], [])
    assert described.temporary_bytes > 0


def test_circumstances_tell_sizes_targets_and_dtypes_apart():
    here = circumstances(Request(sizes=SIZES))
    assert here["dtype"] == "float32"
    assert here["sizes"]["hidden_size"] == 16
    there = circumstances(Request(sizes=SIZES, target="v5e:2x4"))
    assert (there["target"], there["dtype"]) == ("v5e:2x4", "bfloat16")
    assert "device" not in there


class _Idle:
    """An executable that returns what it was given."""

    def __call__(self, state, batch, *constants):
        return state, {"loss": jax.numpy.float32(1), "grad_norm": jax.numpy.float32(1)}


def test_steps_that_do_nothing_are_no_measurement():
    program = make_program(Case(family="albert", num_layers=1), SIZES, "float32")
    with pytest.raises(RuntimeError, match="3 steps left step 0"):
        stages.run(program, _Idle(), make_batch(SIZES, 4), make_mesh(1, 1), 2, 10.0)


def test_repetition_ends_at_the_limit():
    assert stages.repeated(lambda: 1.0, 10, 2.5) == [1.0] * 3
    assert stages.repeated(lambda: 1.0, 2, 2.5) == [1.0] * 2
    assert stages.repeated(lambda: 9.0, 2, 2.5) == [9.0]
