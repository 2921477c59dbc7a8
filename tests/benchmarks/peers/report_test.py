"""Tables say what was measured, and stay empty where nothing was."""

import pytest

from benchmarks.peers import results
from benchmarks.peers.measuring import Row
from benchmarks.peers.plot import draw
from benchmarks.peers.report import markdown, table
from benchmarks.peers.results import Key, Measured

TOLD = {"timed": "all of it", "settings": "as it comes", "lacks": ["a term"]}
ENVIRONMENT = {"commit": "abc", "started": "now", "load_before": 0.1}


def measured(kind="forward", model="bert", layers=None, **rows):
    settings = {"rounds": 3, "tokens": 4096}
    return Measured(key=Key(kind, model, layers), settings=settings, environment=ENVIRONMENT, rows=rows)


def row(title, seconds, **others):
    return Row(title, description=TOLD, seconds=seconds, **others)


GROUP = measured(
    ours=row("flax_lite", [1.0, 1.0, 1.0]),
    hf_flax=row("Other", [2.0, 1.5, 3.0]),
    keras_hub=Row("Absent", reason="no time: nowhere"),
)


def test_a_ratio_is_theirs_over_ours_with_its_spread():
    lines = table([GROUP]).splitlines()
    assert lines[2] == "| BERT-base | flax_lite | 1.000 |  |"
    assert lines[3] == "| BERT-base | Other | 2.000 [1.500, 3.000] | 2.00 [1.50, 3.00] |"
    assert lines[4] == "| BERT-base | Absent | no time: nowhere |  |"


@pytest.mark.parametrize(
    ("build", "step", "said"),
    [(5.0, 0.9, "30"), (5.0, 1.1, "never"), (1.0, 0.9, "0"), (1.0, 1.1, "10 until ahead")],
)
def test_break_even_is_the_step_at_which_a_head_start_is_used_up(build, step, said):
    rows = {
        "ours": row("flax_lite", [2.0, 2.0, 2.0], facts={"step_seconds": 1.0}),
        "hf_flax": row("Other", [build] * 3, facts={"step_seconds": step}),
    }
    lines = table([measured("compile", layers=48, **rows)]).splitlines()
    assert lines[3].startswith("| BERT, 48 layers |")
    assert lines[3].endswith(f"| {step:.3f} | {said} |")


def test_memory_is_compared_and_a_step_that_was_not_run_has_no_rate():
    rows = {
        "ours": row("flax_lite", [2.0] * 3, facts={"temporary_mib": 500.0}),
        "hf_flax": Row("Other", facts={"temporary_mib": 20000.0}, reason="not run: too much"),
    }
    lines = table([measured("memory", "albert-large", **rows)]).splitlines()
    assert lines[2].endswith("| 500 | 1.0 | 2048 |")
    assert lines[3] == "| ALBERT-large | Other | not run: too much |  | 20000 | 40.0 |  |"


def test_the_report_says_what_is_timed_and_what_is_lacking():
    text = markdown([GROUP, measured("mlm", ours=GROUP.rows["ours"])])
    assert "- Other: all of it. as it comes. Differs or lacks: a term." in text
    assert text.count("- commit abc:") == 1
    assert "forward, BERT-base: started now, load_before 0.1; nothing compared" in text


def test_results_are_read_back_as_they_were(tmp_path):
    results.write(tmp_path / "peers.json", [GROUP])
    assert results.read(tmp_path / "peers.json") == [GROUP]
    assert results.read(tmp_path / "none.json") == []


def test_a_group_answers_only_what_was_measured_under_these_settings():
    assert GROUP.answers(GROUP.settings, ["ours", "hf_flax"])
    assert not GROUP.answers({**GROUP.settings, "rounds": 5}, ["ours"])
    assert not GROUP.answers(GROUP.settings, ["ours", "keras_hub"])
    assert not GROUP.answers(GROUP.settings, ["hf_torch"])
    GROUP.rows["keras_hub"].final = True
    assert GROUP.answers(GROUP.settings, ["keras_hub"])


def test_the_plot_is_drawn(tmp_path):
    draw([GROUP], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
