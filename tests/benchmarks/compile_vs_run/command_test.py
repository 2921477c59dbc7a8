"""The command as a user types it, and what it measures when it is repeated. No timing is asserted."""

import contextlib
import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from matplotlib import image

from benchmarks.compile_vs_run import __main__ as command
from benchmarks.compile_vs_run import worker
from benchmarks.compile_vs_run.results import Row
from benchmarks.harness.results import Results
from benchmarks.harness.serving import answer
from tests.benchmarks.compile_vs_run.examples import MEASURED, record

CIRCUMSTANCES = {"device": "none", "versions": {"jax": "0"}, "sizes": {"vocab_size": 1}}
JSON = "compile_vs_run.json"


@contextlib.contextmanager
def cache_settings_kept():
    """Restores the cache settings that a worker changes in JAX."""
    names = [name for name in jax.config.values if "compilation_cache" in name or "persistent_cache" in name]
    before = {name: jax.config.values[name] for name in names}
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def run_smoke(folder):
    """Writes the results, the printed text, and whether each start of a case found it in the cache.

    The first request goes to a real worker; the others are answered in this process, the starts of the second case as
    those of the first.
    """
    starts = []

    def ask(request, action, limit_seconds, **asked):
        if action == "circumstances":
            return worker.ask(request, action, limit_seconds)
        if action == "start" and len(starts) == 2:
            return starts[-1]
        if action == "start":
            # JAX opens one cache in a process, at its first use.
            compilation_cache.reset_cache()
        question = {"do": action, "request": dataclasses.asdict(request), **asked}
        found = json.loads(json.dumps(answer(worker.HANDLERS, json.loads(json.dumps(question)))))
        starts.extend([found] if action == "start" else [])
        return found

    with pytest.MonkeyPatch.context() as patch, cache_settings_kept(), contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(command, "ask", ask)
        assert command.main(["--smoke", "--output", str(folder)]) == 0
    (folder / "printed").write_text(out.getvalue())
    (folder / "hits").write_text(json.dumps([one["hit"] for one in starts]))


@pytest.fixture
def smoke(once):
    return once("compile_vs_run", run_smoke)


def test_the_command_measures_builds_runs_and_starts_from_the_cache(smoke):
    (series,) = json.loads((smoke / "compile_vs_run.json").read_text())["series"]
    assert series["circumstances"]["versions"]["jax"]
    assert series["circumstances"]["commit"]
    assert "host" not in series["circumstances"]
    rows = series["rows"]
    assert [(row["case"]["num_layers"], row["case"]["unroll"]) for row in rows] == [(3, 1), (3, 0)]
    for row in rows:
        one = row["outcome"]
        assert row["load_before"] >= 0
        assert one["warm_hit"]
        assert len(one["run_seconds"]) == 3
        assert all(seconds > 0 for seconds in (*one["builds"][0], one["first_seconds"], *one["run_seconds"]))
        assert one["total_bytes"] >= one["temporary_bytes"] + one["argument_bytes"]
        np.testing.assert_allclose(one["outcome"], rows[0]["outcome"]["outcome"], rtol=1e-4, atol=1e-5)
    scanned, unrolled = (row["outcome"]["program_lines"] for row in rows)
    assert unrolled != scanned
    assert json.loads((smoke / "hits").read_text()) == [False, True]


def test_the_command_prints_and_draws_what_it_writes(smoke):
    tables = (smoke / "printed").read_text().strip().split("\n\n")
    assert len(tables) == 2
    page = (smoke / "compile_vs_run.md").read_text()
    assert all(table in page for table in tables)
    pictures = sorted(path.name for path in smoke.glob("*.png"))
    assert pictures == ["compile_vs_run.png", "compile_vs_run_break_even.png", "compile_vs_run_memory.png"]
    for name in pictures:
        pixels = image.imread(smoke / name)
        assert pixels.ndim == 3
        assert pixels.shape[0] > 200
        assert np.var(pixels) > 1e-3


@pytest.fixture
def workers(monkeypatch):
    """Replaces workers by fixed answers; returns the list of requests, and the answers."""
    asked, answers = [], {"circumstances": CIRCUMSTANCES, "measure": record(MEASURED)}
    answers["start"] = {"stages": [0.1, 0.1, 0.1], "hit": True}

    def ask(request, action, limit_seconds, **more):
        asked.append((action, more.get("case", {}).get("family")))
        return answers[action]

    monkeypatch.setattr(command, "ask", ask)
    return asked, answers


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves plots out, which take most of a command's time; the smoke run draws them."""
    monkeypatch.setattr(command, "draw_all", lambda *_: None)


def families(asked):
    return [family for action, family in asked if action == "measure"]


def test_a_case_is_measured_once_under_the_same_circumstances(workers, undrawn, tmp_path, capsys):
    asked, answers = workers
    argv = ["--output", str(tmp_path), "--depths", "3", "--families"]
    assert command.main([*argv, "bert"]) == 0
    assert [action for action, _ in asked] == ["circumstances", "measure", "start", "start"]
    assert command.main([*argv, "albert", "bert"]) == 0
    assert families(asked) == ["bert", "albert"]
    answers["circumstances"] = {**CIRCUMSTANCES, "commit": "another"}
    assert command.main([*argv, "bert"]) == 0
    assert families(asked) == ["bert", "albert", "bert"]
    answers["circumstances"] = CIRCUMSTANCES
    capsys.readouterr()
    assert command.main([*argv, "albert", "bert"]) == 0
    assert families(asked) == ["bert", "albert", "bert"]
    assert [len(series.rows) for series in Results(tmp_path / JSON, Row).series] == [1, 2]
    assert (tmp_path / "compile_vs_run.md").read_text().count("\n## none\n") == 2
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2


def test_a_failed_case_is_reported_and_tried_again(workers, tmp_path):
    asked, answers = workers
    argv = ["--output", str(tmp_path), "--families", "bert"]
    good, answers["measure"] = answers["measure"], "not done after 1 s"
    assert command.main(argv) == 1
    page = (tmp_path / "compile_vs_run.md").read_text()
    assert "- bert, pretraining, 12 layers, scanned: not done after 1 s" in page
    answers["measure"] = good
    assert command.main(argv) == 0
    assert families(asked) == ["bert", "bert"]
    assert "Not measured" not in (tmp_path / "compile_vs_run.md").read_text()


def test_a_program_missing_from_the_cache_is_reported(workers, undrawn, tmp_path, capsys):
    _, answers = workers
    answers["start"]["hit"] = False
    assert command.main(["--output", str(tmp_path), "--families", "bert"]) == 0
    assert "0.30, not in the cache" in capsys.readouterr().out


def test_nothing_is_loaded_for_an_absent_slice(workers, undrawn, tmp_path, capsys):
    asked, _ = workers
    assert command.main(["--output", str(tmp_path), "--families", "bert", "--target", "v5e:2x4"]) == 0
    assert [action for action, _ in asked] == ["circumstances", "measure"]
    assert "not tried" in capsys.readouterr().out


def test_executions_that_disagree_are_a_failure(workers, undrawn, tmp_path, capsys):
    _, answers = workers
    argv = ["--output", str(tmp_path), "--families", "bert", "--unroll"]
    assert command.main([*argv, "1"]) == 0
    answers["measure"] = {**answers["measure"], "outcome": [9.0, 2.0]}
    assert command.main([*argv, "1", "0"]) == 1
    assert "not the same result: bert, pretraining, 12 layers, unrolled" in capsys.readouterr().err
    assert "### Not the same result" in (tmp_path / "compile_vs_run.md").read_text()


@pytest.mark.parametrize(
    "argv", [["--target", "v5e"], ["--target", "8xh100"], ["--depths", "0"], ["--unroll", "-1"], ["--runs", "0"]]
)
def test_impossible_requests_are_refused_before_a_worker_starts(argv, workers, tmp_path, capsys):
    assert command.main([*argv, "--output", str(tmp_path)]) == 2
    assert workers[0] == []
    assert "expected" in (message := capsys.readouterr().err) or "there is no compiler" in message


def test_a_file_of_another_version_is_left_alone(workers, tmp_path, capsys):
    file = tmp_path / "compile_vs_run.json"
    file.write_text('{"environment": {}, "measurements": []}')
    assert command.main(["--families", "bert", "--output", str(tmp_path)]) == 2
    assert "was not written by this version of the command" in capsys.readouterr().err
    assert file.read_text() == '{"environment": {}, "measurements": []}'


@pytest.mark.parametrize("stem", ["compile_vs_run", "compile_vs_run_v5e"])
def test_committed_results_are_reported_without_a_measurement(stem, workers, tmp_path, repository):
    results = repository / "docs" / "results"
    assert command.main(["--report", str(results / f"{stem}.json"), "--output", str(tmp_path)]) == 0
    assert workers[0] == []
    assert (tmp_path / f"{stem}.md").read_text() == (results / f"{stem}.md").read_text()
