"""The command as a user types it, on the CPU and on a fake device. No timing is asserted."""

import itertools
import json
import sys

import pytest

from benchmarks.gpu_steps import __main__ as command
from benchmarks.gpu_steps import measuring, worker
from benchmarks.gpu_steps.cases import REAL
from benchmarks.gpu_steps.plan import groups, plan
from benchmarks.harness.serving import answer
from benchmarks.harness.workers import WorkerError
from benchmarks.peers.environments import SetupError

DEVICE = {"circumstances": {"device": "a GPU", "commit": "abc"}, "peak": 1e15, "floor": 5e14}
HANDLERS = worker.handlers()
ONE = ("--models", "albert_base", "--lengths", "128")


@pytest.fixture
def device(monkeypatch, tmp_path):
    """Replaces the workers by a fake one; returns a function that sets its behavior."""

    def use(**fake):
        monkeypatch.setenv("GPU_STEPS_FAKE", json.dumps({"device": DEVICE} | fake))

    for name in ("_WORKER", "_TORCH_WORKER"):
        monkeypatch.setattr(measuring, name, "tests.benchmarks.gpu_steps.fake_worker")
    use()
    return use


def run(folder, *argv, torch=sys.executable):
    return command.main(["--output", str(folder), "--torch", torch, *argv])


def written(folder):
    record = json.loads((folder / "gpu_steps.json").read_text())
    return record["rows"], record["not_run"], (folder / "gpu_steps.md").read_text()


class WorkerHere:
    """The real worker in this process. Compiling takes long: one case is measured, and its answers serve for all."""

    has_answered, known = True, {}

    def __init__(self, module, environment):
        assert module == "benchmarks.gpu_steps.worker"

    def send(self, do, **arguments):
        if do not in self.known:
            request = json.loads(json.dumps({"do": do, **arguments}))
            self.known[do] = json.dumps(answer(HANDLERS, request))
        self.found = json.loads(self.known[do])

    def receive(self, limit_seconds):
        if "error" in self.found:
            raise WorkerError(self.found["error"])
        return self.found

    def ask(self, do, limit_seconds, **arguments):
        self.send(do, **arguments)
        return self.receive(limit_seconds)

    def kill(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_the_command_on_the_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring.workers, "Worker", WorkerHere)
    monkeypatch.setattr(WorkerHere, "known", {})
    assert run(tmp_path, "--smoke", "--models", "albert_base", "--lengths", "16", torch="none") == 0
    printed = capsys.readouterr().out.strip()
    rows, not_run, page = written(tmp_path)
    by_setting = {(row["case"]["rows"], *row["case"]["setting"].values()): row["outcome"] for row in rows}
    for unroll in (0, 1):
        assert len(by_setting[4, unroll, "xla", "none", False]["step_seconds"]) == 3
        assert by_setting[4, unroll, "xla", "none", False]["build_seconds"] > 0
    # The other three: more rows of the first, and two variants of it.
    assert len(rows) == 5
    assert {(one["case"]["setting"], one["reason"]) for one in not_run} == {(None, "PyTorch was not asked for")}
    assert page.count("| not run: PyTorch was not asked for |") == len(not_run) == 2
    assert page.startswith("# The pretraining step on a GPU: tiny sizes")
    assert printed in page
    assert "| ALBERT-base | 16 |" in printed


def test_a_missing_gpu_is_reported(tmp_path, capsys):
    assert run(tmp_path / "none") == 2
    assert capsys.readouterr().err == "gpu_steps: no GPU that computes in bfloat16 here, but cpu (cpu)\n"
    assert not (tmp_path / "none").exists()


def test_a_case_that_dies_is_a_row_and_the_others_run(device, tmp_path, capsys):
    """The time per row is constant, so more rows are tried until memory ends."""
    device(memory_rows=256)
    assert run(tmp_path, *ONE) == 0
    rows, not_run, page = written(tmp_path)
    assert not not_run
    failed = [row for row in rows if isinstance(row["outcome"], str)]
    assert {row["case"]["rows"] for row in failed} == {512}
    assert {row["case"]["setting"]["remat"] for row in failed} == {"none", "full"}
    assert len(rows) > len(failed) + 5
    assert page.count("| failed: SIGKILL, 512 rows, flax_lite |  |") == 2
    assert "failed" in capsys.readouterr().err


def test_every_case_of_the_plan_has_a_row(device, tmp_path):
    assert run(tmp_path, "--lengths", "128") == 0
    rows, not_run, page = written(tmp_path)
    assert not not_run
    record = command.read(tmp_path / "gpu_steps.json", DEVICE | {"circumstances": _circumstances(tmp_path)})
    assert set(record.speeds) == set(plan(REAL, groups(REAL, list(REAL.models), [128]), record.speeds))
    assert page.count("| measured |") == len(rows)


def _circumstances(folder):
    return json.loads((folder / "gpu_steps.json").read_text())["circumstances"]


def test_cases_without_time_are_not_run_and_the_next_call_runs_them(device, tmp_path, capsys):
    assert run(tmp_path, *ONE, "--minutes", "0") == 0
    rows, not_run, page = written(tmp_path)
    assert not rows
    assert {one["reason"] for one in not_run} == {"not reached"}
    assert page.count("| not run: not reached |") == len(not_run) > 5
    assert "| ALBERT-base | 128 |  | not run |  |  |  | 45% |  |  | not run |  | 1.2 |" in capsys.readouterr().out
    assert run(tmp_path, *ONE) == 0
    known, not_run, _ = written(tmp_path)
    assert known
    assert not not_run
    assert run(tmp_path, *ONE) == 0
    assert written(tmp_path)[0] == known


def test_a_case_that_the_deadline_cuts_short_is_not_a_failure(device, tmp_path, monkeypatch):
    times = itertools.chain([0.0, 0.0, 0.0], itertools.repeat(60.0))
    given = command._arguments(["--output", str(tmp_path), "--minutes", "1", "--torch", "none", *ONE])
    session = command.Session(given, clock=lambda: next(times))
    monkeypatch.setattr(measuring, "measure", lambda _, cases, *__: ((case, "not built after 60 s") for case in cases))
    session.run()
    assert not session.results.rows


def test_targets_are_compared_with_the_measurements(device, tmp_path, capsys):
    """A row takes a millisecond, which is 128,000 tokens per second; PyTorch's batch takes one whatever its size."""
    assert run(tmp_path, *ONE) == 0
    flops = REAL.flops(plan(REAL, groups(REAL, ["albert_base"], [128]), {})[0]) / 256 / 1e-3
    expected = ["ALBERT-base", "128", "256", "unrolled, cudnn", "256.00", "128,000", f"{flops / 1e15:.1%}", "45%"]
    expected += [f"{flops / 5e14:.1%}", "1024", "131,072,000", "0.00", "1.2"]
    assert f"| {' | '.join(expected)} |" in capsys.readouterr().out


def test_an_unfinished_comparison_is_marked(device, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "plan", lambda *given: [one for one in plan(*given) if one.rows == 256])
    assert run(tmp_path, *ONE) == 0
    monkeypatch.setattr(command, "plan", plan)
    assert run(tmp_path, *ONE, "--minutes", "0") == 0
    assert "| 1.00, PyTorch with more rows not run |" in capsys.readouterr().out.replace("0.00,", "1.00,")


def test_settings_that_disagree_end_with_status_1(device, tmp_path, capsys):
    device(loss={"xla": 10.5})
    assert run(tmp_path, *ONE) == 1
    assert "not the same result: albert_base, 256 rows of 128, unrolled, xla: loss" in capsys.readouterr().err
    assert "## Not the same result" in written(tmp_path)[2]


def test_cases_built_together_run_one_after_another(device, tmp_path):
    """Five at a time have the same outcomes as alone; 1024 rows fail too, built before 512 are known not to fit."""
    device(memory_rows=256, journal=str(tmp_path / "journal"))
    assert run(tmp_path / "together", *ONE, "--together", "5") == 0
    rows, not_run, _ = written(tmp_path / "together")
    assert not not_run
    assert {row["case"]["rows"] for row in rows if isinstance(row["outcome"], str)} == {512, 1024}
    events = (tmp_path / "journal").read_text().split()
    assert events[:5] == ["built"] * 5
    running = [event for event in events if event != "built"]
    assert running == ["runs", "ran"] * (len(running) // 2)
    assert len(running) // 2 == len([row for row in rows if not isinstance(row["outcome"], str)])


def test_a_case_that_is_not_built_in_time_does_not_delay_the_others(device, tmp_path):
    device(never_builds="cudnn")
    cases = plan(REAL, groups(REAL, ["albert_base"], [128]), {})[:4]
    outcomes = dict(measuring.measure("real", cases, sys.executable, 15.0, 15.0))
    late = [case for case, outcome in outcomes.items() if outcome == "not built after 15 s"]
    assert late == [case for case in cases if case.setting and case.setting.attention == "cudnn"]
    assert all(not isinstance(outcomes[case], str) for case in cases if case not in late)


def test_pytorch_runs_in_the_given_environment(device, tmp_path):
    other = tmp_path / "other-python"
    other.symlink_to(sys.executable)
    assert run(tmp_path, *ONE, torch=str(other)) == 0
    by = {(row["case"]["setting"] is None): row["outcome"]["settings"] for row in written(tmp_path)[0]}
    assert by[True] == f"PyTorch by {other}"
    assert by[False] == f"flax_lite by {sys.executable}"


def test_an_environment_that_cannot_be_made_is_tried_once(device, tmp_path, monkeypatch):
    tried = []

    def fail(folder, wanted):
        tried.append((folder, wanted.requirements))
        raise SetupError("pip install ended with 1")

    monkeypatch.setattr(command, "python_of", fail)
    assert run(tmp_path, *ONE, torch="make") == 0
    rows, _, page = written(tmp_path)
    ((folder, requirements),) = tried
    assert folder == tmp_path / "environments" / "hf_torch"
    assert any(one.startswith("torch==") for one in requirements)
    assert rows
    assert "| not run: its environment cannot be made: pip install ended with 1 |" in page


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--together", "0"], "--together 0: expected 1 or more"),
        (["--lengths", "100"], "--lengths 100: expected some of 128, 512"),
        (["--torch", "/nowhere/python"], "--torch /nowhere/python: no such program"),
    ],
)
def test_a_mistake_is_one_line(device, tmp_path, capsys, argv, message):
    assert command.main(["--output", str(tmp_path), *argv]) == 2
    assert capsys.readouterr().err.startswith(f"gpu_steps: {message}")


def test_committed_results_are_reported_without_a_measurement(tmp_path, repository):
    results = repository / "docs" / "results"
    assert command.main(["--report", str(results / "gpu_steps.json"), "--output", str(tmp_path)]) == 0
    assert (tmp_path / "gpu_steps.md").read_text() == (results / "gpu_steps.md").read_text()
