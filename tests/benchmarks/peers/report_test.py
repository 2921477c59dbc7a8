"""Tables of the measurements, with empty cells if there are none."""

import dataclasses

import pytest

from benchmarks.peers import results
from benchmarks.peers.plot import draw
from benchmarks.peers.report import markdown, table
from benchmarks.peers.results import Key, Measured, Row
from train.errors import UserError

DESCRIPTION = {"timed": "all of it", "settings": "as it comes", "lacks": ["a term"]}
ENVIRONMENT = {"commit": "abc", "started": "now", "load_before": 0.1}


def measured(kind="forward", model="bert", layers=None, **rows):
    settings = {"rounds": 3, "tokens": 4096}
    return Measured(key=Key(kind, model, layers), settings=settings, environment=ENVIRONMENT, rows=rows)


def row(title, seconds, **others):
    return Row(title, description=DESCRIPTION, seconds=seconds, **others)


GROUP = measured(
    ours=row("flax_lite", [1.0, 1.0, 1.0]),
    hf_flax=row("Other", [2.0, 1.5, 3.0]),
    keras_hub=Row("Absent", reason="no time: nowhere"),
)


def test_a_ratio_is_rival_over_flax_lite_with_its_spread():
    lines = table([GROUP]).splitlines()
    assert lines[2] == "| BERT-base | flax_lite | 1.000 |  |"
    assert lines[3] == "| BERT-base | Other | 2.000 [1.500, 3.000] | 2.00 [1.50, 3.00] |"
    assert lines[4] == "| BERT-base | Absent | no time: nowhere |  |"


@pytest.mark.parametrize(
    ("build", "step", "text"),
    [(5.0, 0.9, "30"), (5.0, 1.1, "never"), (1.0, 0.9, "0"), (1.0, 1.1, "10 until ahead")],
)
def test_break_even_is_the_step_at_which_a_shorter_compilation_is_used_up(build, step, text):
    def lines(spread):
        facts = [{"step_seconds": one, "step_least": one - spread, "step_most": one + spread} for one in (1.0, step)]
        rows = {
            "ours": row("flax_lite", [2.0, 2.0, 2.0], facts=facts[0]),
            "hf_flax": row("Other", [build] * 3, facts=facts[1]),
        }
        return table([measured("compile", layers=48, **rows)]).splitlines()

    assert lines(0.01)[3].startswith("| BERT, 48 layers |")
    assert lines(0.01)[3].endswith(f"| {step:.3f} | {text} |")
    assert lines(0.06)[3].endswith(f"| {step:.3f} | {text} (steps within their spread) |")


def test_memory_is_compared_and_a_step_that_did_not_run_has_no_rate():
    rows = {
        "ours": row("flax_lite", [2.0] * 3, facts={"temporary_mib": 500.0}),
        "hf_flax": Row("Other", facts={"temporary_mib": 20000.0}, reason="not run: too much"),
    }
    lines = table([measured("memory", "albert-large", **rows)]).splitlines()
    assert lines[2].endswith("| 500 | 1.0 | 2048 |")
    assert lines[3] == "| ALBERT-large | Other | not run: too much |  | 20000 | 40.0 |  |"


def test_the_report_describes_the_timed_work_and_what_is_lacking():
    text = markdown([GROUP, measured("mlm", ours=GROUP.rows["ours"])])
    assert "- Other: all of it. as it comes. Differs or lacks: a term." in text
    assert text.count("- commit abc:") == 1
    assert "forward, BERT-base: started now, load_before 0.1; nothing compared" in text


def test_results_are_read_back_as_they_were(tmp_path):
    results.write(tmp_path / "peers.json", [GROUP])
    assert results.read(tmp_path / "peers.json") == [GROUP]
    assert results.read(tmp_path / "none.json") == []


def test_results_of_another_form_are_refused(tmp_path):
    file = tmp_path / "peers.json"
    file.write_text('{"groups": [{"key": ["mlm", "bert", null]}]}')
    with pytest.raises(UserError, match="was not written by this version of the command"):
        results.read(file)
    results.write(file, [measured("compile", ours=row("flax_lite", [1.0], facts={"step_seconds": 1.0}))])
    with pytest.raises(UserError, match="was not written by this version of the command"):
        results.read(file)


def test_a_group_is_of_its_own_settings_and_circumstances():
    assert GROUP.is_of(GROUP.settings, {"commit": "abc"})
    assert not GROUP.is_of({**GROUP.settings, "rounds": 5}, {"commit": "abc"})
    assert not GROUP.is_of(GROUP.settings, {"commit": "another"})
    assert not GROUP.is_of(GROUP.settings, {"commit": "abc", "device": "another"})


def test_a_group_answers_for_rivals_with_times():
    assert GROUP.answers(["ours", "hf_flax"])
    assert not GROUP.answers(["ours", "keras_hub"])
    assert not GROUP.answers(["hf_torch"])
    GROUP.rows["keras_hub"].final = True
    assert GROUP.answers(["keras_hub"])


def test_settings_that_differ_are_listed_for_each_group():
    other = dataclasses.replace(GROUP, key=Key("forward", "albert", None), settings={"rounds": 5, "tokens": 4096})
    assert "\nrounds 3, tokens 4096.\n" in markdown([GROUP])
    assert "\n- BERT-base: rounds 3, tokens 4096\n- ALBERT-base: rounds 5, tokens 4096\n" in markdown([GROUP, other])


def test_the_plot_is_drawn(tmp_path):
    draw([GROUP], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
