"""The command as a user types it: its files, the page without its plots' files, and the arguments that it refuses."""

import base64
import io
import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from benchmarks.harness.results import Results
from benchmarks.harness.serving import answer
from benchmarks.study import __main__ as command
from benchmarks.study import worker
from benchmarks.study.models import MODELS
from benchmarks.study.results import Row
from benchmarks.study.worker import PARTS
from tests.benchmarks.study.example import CIRCUMSTANCES

JSON = "study.json"
_COMPARED = [row for row, model in MODELS.items() if model.is_compared]


class Page(HTMLParser):
    """A parsed page: addresses that it loads, its text, its images and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.images: list[bytes] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        loaded = given.get("src") or (given.get("href") if tag == "link" else None)
        if loaded and loaded.startswith("data:image/png;base64,"):
            self.images.append(base64.b64decode(loaded.split(",")[1], validate=True))
        elif loaded:
            self.loads.append(loaded)

    def handle_data(self, data):
        self.text += data


def run_smoke(folder):
    """Answers in this process: sizes of every row, and the other parts of the first row in place of all."""
    known = {}

    def answered(asked):
        key = (asked["part"], asked["row"] if asked["part"] == "size" else "")
        if key not in known:
            request = {"do": "measure", "asked": json.loads(json.dumps(asked)), "directory": "."}
            known[key] = json.dumps(answer(worker.HANDLERS, request))
        return json.loads(known[key])

    def ask(questions, limit_seconds, *, smoke=False):
        assert smoke or questions == [{"part": "circumstances"}]
        return [answered({"row": "", **asked}) for asked in questions]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ask", ask)
        assert command.main(["--smoke", "--output", str(folder)]) == 0


@pytest.fixture
def smoke(once):
    return once("study", run_smoke)


def check_measured(folder):
    (series,) = Results(folder / JSON, Row).series
    assert series.circumstances["versions"]["jax"]
    found: dict[tuple[str, str], Any] = {(one.asked["row"], one.asked["part"]): one.outcome for one in series.rows}
    expected = {(row, part) for row in _COMPARED for part in PARTS if part != "quality"}
    assert set(found) == expected | {(row, "size") for row in MODELS}
    for row in _COMPARED:
        assert all(seconds > 0 for runs in found[row, "latency"]["seconds"].values() for seconds in runs)
        assert found[row, "throughput"]["tokens"]["16"] < 4 * 16  # padding is not counted
        assert found[row, "training"]["losses"][0] != found[row, "training"]["losses"][-1]
        assert found[row, "pass"]["pairs"] == sum(found[row, "pass"]["buckets"].values()) == 6
        assert found[row, "disk"]["bytes"] >= 4 * found[row, "size"]["parts"]["masked_lm_head"]
        for part in ("inference_memory", "training_memory"):
            assert found[row, part]["bytes"] is None or found[row, part]["bytes"] > 0


def test_the_command_measures_every_part_of_every_row(smoke):
    check_measured(smoke)


@pytest.mark.slow  # each row builds and compiles four models; the default measures one row
def test_every_row_is_measured_in_a_real_worker(tmp_path):
    assert command.main(["--smoke", "--output", str(tmp_path)]) == 0
    check_measured(tmp_path)


def test_the_page_loads_nothing_and_its_plots_are_not_blank(smoke):
    text = (smoke / "study.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.images) == 6
    beside = {file.read_bytes() for file in smoke.glob("study_*.png")}
    assert beside == set(page.images)
    markdown = (smoke / "study.md").read_text(encoding="utf-8")
    assert all(f"]({file.name})" in markdown for file in smoke.glob("study_*.png"))
    for file in page.images:
        pixels = image.imread(io.BytesIO(file))
        assert pixels.shape[0] > 300
        codes = np.round(255 * pixels).astype(np.int64) @ 256 ** np.arange(pixels.shape[-1])
        colors, counts = np.unique(codes, return_counts=True)
        assert len(colors) > 20
        assert counts.max() < 0.98 * counts.sum()  # not an empty frame


def test_page_and_markdown_show_every_row_and_mark_published_scores(smoke):
    text, markdown = ((smoke / f"study.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    page = Page(text)
    for model in MODELS.values():
        assert model.title in page.text
        assert model.title in markdown
    assert '<td class="published"><i>77.0</i><sup>†<a href="#source-1">1</a></sup></td>' in text
    assert "*77.0*&nbsp;†1" in markdown
    cited = {given["href"] for tag, given in page.tags if tag == "a"}
    assert cited <= {f"#{given['id']}" for _, given in page.tags if "id" in given}
    assert "ModernBERT" in page.text
    assert "not run" in markdown
    assert "TINY MODELS" in page.text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rows", "gpt"], "there is no such row"),
        (["--data", "nowhere"], "there is no glue/STS-B/dev.tsv"),
        (["--checkpoints", "bert-base"], "expected ROW=SOURCE"),
        (["--checkpoints", "distilbert=nowhere"], "give --data too"),
        (["--data", "nowhere", "--checkpoints", "distilbert=./nowhere"], "nowhere"),
        (["--data", "x", "--rows", "distilbert", "--checkpoints", "bert-base=y"], "bert-base is not among --rows"),
        (["--data", "x", "--checkpoints", "bert-large=y"], "of bert-large only sizes are measured; name it in --rows"),
        (["--parts", "quality"], "give --checkpoints"),
        (["--lengths", "1024"], "end at 512"),
        (["--repeats", "0"], "--repeats: expected"),
    ],
)
def test_the_command_refuses_with_one_line(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main([*argv, "--smoke", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def questions(monkeypatch):
    """Replaces workers, which answer sizes and fail otherwise; returns the list of requests."""
    asked = []

    def ask(questions, limit_seconds, smoke=False):
        if questions[0]["part"] == "circumstances":
            return [CIRCUMSTANCES]
        asked.extend((one["row"], one["part"]) for one in questions)
        size = {"parameters": 1, "parts": {"layer": 1}, "flops_per_token": {"32": 1}}
        return [size if one["part"] == "size" else "failed: no memory" for one in questions]

    monkeypatch.setattr(command, "ask", ask)
    return asked


def test_the_command_resumes(questions, tmp_path, capsys):
    argv = ["--rows", "bert-base", "--parts", "size", "disk", "--output", str(tmp_path)]
    assert command.main(argv) == 1
    assert "no memory" in (tmp_path / "study.md").read_text()
    questions.clear()
    assert command.main(argv) == 1
    assert questions == [("bert-base", "disk")]
    questions.clear()
    command.main([*argv, "--lengths", "64"])
    assert ("bert-base", "size") in questions


def test_figures_of_other_settings_are_not_compared(questions, tmp_path):
    argv = ["--parts", "size", "--output", str(tmp_path), "--rows"]
    command.main([*argv, "bert-base", "albert-base"])
    assert "9 x fewer" in (tmp_path / "study.md").read_text()
    command.main([*argv, "albert-base", "--pairs", "20"])
    assert "| BERT-base |" not in (tmp_path / "study.md").read_text()
    assert [len(series.rows) for series in Results(tmp_path / JSON, Row).series] == [2, 1]


def test_the_command_refuses_results_of_another_form(questions, tmp_path, capsys):
    (tmp_path / "study.json").write_text(json.dumps({"rows": []}))
    assert command.main(["--output", str(tmp_path)]) == 2
    assert "another --output" in capsys.readouterr().err


def test_committed_results_are_reported_without_a_measurement(questions, tmp_path, repository):
    results = repository / "docs" / "results"
    assert command.main(["--report", str(results / JSON), "--output", str(tmp_path)]) == 0
    assert questions == []
    assert (tmp_path / "study.md").read_text() == (results / "study.md").read_text()
