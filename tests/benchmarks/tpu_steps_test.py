"""The steps of real jobs, compiled for TPUs if the compiler is installed."""

import importlib

import pytest

from benchmarks import tpu_steps
from benchmarks.tpu_steps import ROWS_PER_DEVICE, STEPS, Case, Row, compile_case, read, table
from train.machine.chips import parse_target
from train.machine.signals import Guard
from train.options import command_line
from train.plan.compiling import Compiled

JSON = "tpu_steps.json"
SMALL = Compiled(
    1.5, {"arguments": 2**21, "temporaries": 2**20, "program": 2**19}, {"all-reduce": 2**20}, {"all-reduce": 3}
)


@pytest.fixture
def compiler(monkeypatch, repository):
    """Replaces the compiler by fixed answers; returns the list of requests, and the answers by target."""
    monkeypatch.chdir(repository)
    asked, answers = [], {}

    def compile_elsewhere(job, argv, target, timeout_seconds):
        asked.append((job, argv, target.name))
        return answers.get(target.name, SMALL)

    monkeypatch.setattr(tpu_steps, "compile_elsewhere", compile_elsewhere)
    return asked, answers


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_a_valid_command_of_its_job(step, repository, monkeypatch):
    monkeypatch.chdir(repository)
    real = STEPS[step]
    options = importlib.import_module(f"train.{real.job}").OPTIONS
    request = command_line.parse(real.job, options, real.argv(devices=4, unroll=0), Guard())
    assert request.config.batch_size == 4 * 32
    assert request.config.data.sequence_length == 128
    assert request.config.execution.unroll == 0


def test_a_failure_is_compiled_again_and_a_success_is_not(compiler, tmp_path, capsys):
    asked, answers = compiler
    answers["v6e:2x2"] = "not done after 1 s"
    argv = ["--steps", "albert_base", "--targets", "v5e:2x4", "v6e:2x2", "--output", str(tmp_path)]
    assert tpu_steps.main([*argv, "--unroll", "1"]) == 0
    assert "| ALBERT-base | v6e:2x2 | scanned | not done after 1 s |" in capsys.readouterr().out
    answers.clear()
    assert tpu_steps.main([*argv, "--unroll", "1", "0"]) == 0
    assert [(target, argv[argv.index("--config.execution.unroll=1")][-1]) for _, argv, target in asked[:3]] == [
        ("v5e:2x4", "1"),
        ("v6e:2x2", "1"),
        ("v6e:2x2", "1"),
    ]
    assert len(asked) == 5
    (series,) = read(tmp_path / JSON).series
    rows = series.rows
    assert series.circumstances["versions"]["jax"]
    assert "device" not in series.circumstances
    assert {row.case for row in rows} == {
        ("albert_base", target, unroll) for target in ("v5e:2x4", "v6e:2x2") for unroll in (0, 1)
    }
    assert all(row.outcome == SMALL for row in rows)
    assert table(rows) in (tmp_path / "tpu_steps.md").read_text()
    assert capsys.readouterr().out.strip() == table(rows)


def test_results_of_another_commit_are_another_series(compiler, tmp_path, monkeypatch):
    asked, _ = compiler
    argv = ["--steps", "albert_base", "--targets", "v5e:2x4", "--unroll", "1", "--output", str(tmp_path)]
    assert tpu_steps.main(argv) == 0
    monkeypatch.setattr(tpu_steps, "circumstances", lambda: {"commit": "another"})
    assert tpu_steps.main(argv) == 0
    assert len(asked) == 2
    assert [len(series.rows) for series in read(tmp_path / JSON).series] == [1, 1]
    assert "commit another" in (tmp_path / "tpu_steps.md").read_text()


def test_a_file_of_another_form_is_refused(compiler, tmp_path, capsys):
    (tmp_path / JSON).write_text('{"groups": []}')
    assert tpu_steps.main(["--output", str(tmp_path)]) == 2
    assert "was not written by this version of the command" in capsys.readouterr().err
    assert not compiler[0]


def test_the_table_has_a_row_for_each_case():
    lines = table(
        [
            Row(step=step, target="8xcpu", unroll=unroll, load_before=0.0, outcome=SMALL)
            for step, unroll in (("bert_base", 0), ("albert_base", 1))
        ]
    ).splitlines()
    assert lines[2] == "| ALBERT-base | 8xcpu | scanned | 2 | 0.5 | 2 | 1 | 3 all-reduce | 1 | 0.00 |"
    assert lines[3].startswith("| BERT-base | 8xcpu | unrolled | ")
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.slow  # real sizes, minutes each; needs the compiler for TPUs
@pytest.mark.parametrize("target", ["v5e:2x4", "v6e:2x2"])
@pytest.mark.parametrize("step", STEPS)
def test_steps_compile_for_tpus(step, target, repository, monkeypatch):
    """The real steps, with the layers scanned: parameters are never gathered.

    A distillation draws its masks over the global batch, for which it gathers one float32 per token.
    """
    pytest.importorskip("libtpu")
    monkeypatch.chdir(repository)
    compiled = compile_case(Case(step, target, unroll=1)).outcome
    assert not isinstance(compiled, str), compiled
    assert compiled.memory["temporaries"] > 0
    gathered = {kind: size for kind, size in compiled.collectives.items() if kind != "all-reduce"}
    tokens = ROWS_PER_DEVICE * parse_target(target).devices * 128
    assert gathered == ({"all-gather": 4 * tokens} if STEPS[step].job == "distill" else {})


def test_committed_results_are_reported_without_a_measurement(compiler, tmp_path, repository):
    results = repository / "docs" / "results"
    assert tpu_steps.main(["--report", str(results / JSON), "--output", str(tmp_path)]) == 0
    assert not compiler[0]
    assert (tmp_path / "tpu_steps.md").read_text() == (results / "tpu_steps.md").read_text()
