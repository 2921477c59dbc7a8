"""The benchmark measures what it says: numbers belong to the case, the table to the numbers. No timing is judged."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import compile_vs_run
from benchmarks.cases import Case, Sizes
from tests.conftest import REPOSITORY

SIZES = Sizes(vocab_size=50, hidden_size=16, embedding_size=8, batch_size=2, sequence_length=8, max_predictions=3)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The command as a user types it: two depths, scanned and rematerialised."""
    folder = tmp_path_factory.mktemp("results")
    sizes = [word for name, value in vars(SIZES).items() for word in (f"--{name}", str(value))]
    options = ["--families", "albert", "bert", "--depths", "2", "6", "--remat", "none", "full", "--repeats", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile_vs_run", *options, "--output", folder, *sizes],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


def test_compile_vs_run_writes_every_combination(results):
    folder, printed = results
    record = json.loads((folder / "compile_vs_run.json").read_text())
    cases = {(row["case"]["family"], row["case"]["remat"], row["case"]["num_layers"]) for row in record["measurements"]}
    assert cases == {
        (family, remat, depth) for family in ("albert", "bert") for remat in ("none", "full") for depth in (2, 6)
    }
    assert record["environment"]["versions"]["jax"]
    assert "host" not in record["environment"]
    lines = printed.splitlines()
    assert len(lines) == 2 + 8
    assert len({line.count("|") for line in lines}) == 1
    assert printed.strip() in (folder / "compile_vs_run.md").read_text()
    assert (folder / "compile_vs_run.png").read_bytes().startswith(b"\x89PNG")


def test_compile_vs_run_numbers_follow_the_case(results):
    """Activations kept for the backward pass grow with depth; whole layers recomputed keep fewer. A shared layer's
    state does not grow, a stack's does."""
    rows = json.loads((results[0] / "compile_vs_run.json").read_text())["measurements"]
    found = {(row["case"]["family"], row["case"]["remat"], row["case"]["num_layers"]): row for row in rows}
    for family in ("albert", "bert"):
        assert found[family, "none", 6]["temporary_mib"] > found[family, "none", 2]["temporary_mib"]
        assert found[family, "full", 6]["temporary_mib"] < found[family, "none", 6]["temporary_mib"]
    assert found["albert", "none", 6]["state_mib"] == found["albert", "none", 2]["state_mib"]
    assert found["bert", "none", 6]["state_mib"] > 2 * found["bert", "none", 2]["state_mib"]
    assert all(row["step_seconds"] is None for row in rows)
    assert "not run" in results[1]


def test_measure_builds_and_runs_as_often_as_asked():
    measured = compile_vs_run.measure(Case(family="distilbert", num_layers=1, sizes=SIZES), repeats=2, steps=1)
    assert len(measured.all_build_seconds) == 2
    assert measured.step_seconds > 0
    assert "not run" not in compile_vs_run.table([measured])
