"""Rows of questions and predictions from logits: logits that point at the answers get full scores."""

import numpy as np
import pytest

from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization import tiny_files
from train.errors import UserError
from train.tasks.examples import Answer, SpanExample, TaskData
from train.tasks.kinds import spans
from train.tasks.kinds.spans import Spans
from train.tasks.readers.squad import read_squad
from train.tasks.rows import collect_rows
from train.tasks.scores.squad_metric import squad_scores

CONTEXT = "the cat sat, unwanted, a cat sat, the cats sat-cat; " * 3


def example(number, *answers, context=CONTEXT):
    return SpanExample(id=f"q{number}", question="the cat", context=context, answers=answers)


EXAMPLES = [
    example(0, Answer("unwanted", 13)),
    example(1),
    example(2, Answer("dog", 3), Answer("a cat", 20)),  # the first does not occur, the second begins at 23
    example(3, Answer("cats sat-cat", CONTEXT.rindex("cats"))),
    example(4, Answer("cat", 4), context="the cat"),
]


def data_of(examples, train=()):
    return TaskData(kind="spans", train=list(train), evaluation={"dev": examples})


def make(data, tokenizer, max_length=40, **options):
    defaults = {"doc_stride": 10, "max_question_length": 8, "n_best": 5, "max_answer_length": 30, "version": "v2"}
    return Spans(data, tokenizer, max_length, **{**defaults, **options})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(tiny_files.write_vocab(tmp_path_factory.mktemp("wordpiece")))


def scores_of(examples, predictions, version="v2"):
    """Scores the best answers, also of questions predicted as unanswerable, with the null odds."""
    odds = {each.id: each.probabilities[0] for each in predictions}
    return squad_scores(examples, {each.id: each.answers[0].text for each in predictions}, version, odds)


def oracle(rows, sharp=1.0):
    """Returns logits that point at the labels of each row, padded and in batches of any order, as in an evaluation."""
    results = []
    for batch in reversed(list(rows.all_batches(200))):
        shape = batch["input_ids"].shape
        logits = {name: np.zeros(shape, np.float32) for name in ("logits_0", "logits_1")}
        for each, name in zip(logits.values(), ("starts", "ends"), strict=True):
            each[np.arange(shape[0]), batch[name]] = sharp
        results.append({**logits, "row": batch["row"], "task_loss": np.float32(0)})
    return collect_rows(results, rows)


def test_rows_are_windows_that_point_at_the_answer_or_at_cls(tokenizer):
    rows = make(data_of(EXAMPLES), tokenizer).rows(EXAMPLES)
    found = {index: set() for index in range(len(EXAMPLES))}
    for row in rows.rows:
        assert row.length <= 40
        start, end = int(row.labels["starts"]), int(row.labels["ends"])
        assert row.labels["starts"].dtype == row.labels["ends"].dtype == np.int32
        if start:
            assert row.seconds[0] <= start <= end
            found[row.example].add(tokenizer.decode(row.tokens[0][start : end + 1]))
        else:
            assert end == 0
    assert found == {0: {"unwanted"}, 1: set(), 2: {"a cat"}, 3: {"cats sat - cat"}, 4: {"cat"}}
    assert any(not row.labels["starts"] for row in rows.rows if row.example == 0)
    batch = next(iter(rows.all_batches(400)))
    assert batch["starts"].shape == batch["ends"].shape == batch["row_weights"].shape


def test_logits_that_point_at_the_answers_get_full_scores(tokenizer):
    task = make(data_of(EXAMPLES), tokenizer)
    rows = task.rows(EXAMPLES)
    predictions = task.predict(EXAMPLES, rows, oracle(rows))
    assert [each.id for each in predictions] == ["q0", "q1", "q2", "q3", "q4"]
    assert [each.value for each in predictions] == ["unwanted", "", "a cat", "cats sat-cat", "cat"]
    odds = [each.probabilities[0] for each in predictions]
    assert odds[1] == 2.0
    assert max(odds[:1] + odds[2:]) == -2.0
    scores = scores_of(EXAMPLES, predictions)
    assert next(iter(scores)) == "f1"
    assert {name: value for name, value in scores.items() if "threshold" not in name} == dict.fromkeys(
        ["f1", "exact_match", "has_answer_f1", "has_answer_exact_match", "no_answer", "best_f1", "best_exact_match"],
        100.0,
    )
    assert scores["best_f1_threshold"] == -2.0


def test_the_best_threshold_uses_answers_that_were_not_predicted(tokenizer):
    task = make(data_of(EXAMPLES), tokenizer)
    rows = task.rows(EXAMPLES)
    logits = oracle(rows)
    for row, each in zip(rows.rows, logits, strict=True):
        if row.example == 0:  # "no answer" is slightly more likely, but less than for the unanswerable question
            each["logits_0"][0] += 2.25
    predictions = task.predict(EXAMPLES, rows, logits)
    assert predictions[0].value == ""
    assert predictions[0].probabilities == (0.25,)
    assert predictions[0].answers[0].text == "unwanted"
    scores = scores_of(EXAMPLES, predictions)
    assert (scores["exact_match"], scores["best_exact_match"]) == (80.0, 100.0)
    assert scores["best_exact_match_threshold"] == 0.25


def test_version_1_always_answers(tokenizer):
    answerable = [each for each in EXAMPLES if each.answers]
    task = make(data_of(answerable), tokenizer, version="v1")
    rows = task.rows(answerable)
    flat = [{name: np.zeros(64, np.float32) for name in ("logits_0", "logits_1")} for _ in rows.rows]
    for each in flat:
        each["logits_0"][0] = 9.0
    predictions = task.predict(answerable, rows, flat)
    assert all(each.value == each.answers[0].text != "" for each in predictions)


def test_predictions_do_not_depend_on_chunks(tokenizer, monkeypatch):
    task = make(data_of(EXAMPLES), tokenizer)
    rows = task.rows(EXAMPLES)
    predictions = task.predict(EXAMPLES, rows, oracle(rows))
    monkeypatch.setattr(spans, "_CHUNK", 2)
    again = task.rows(EXAMPLES)
    assert [row.example for row in again.rows] == [row.example for row in rows.rows]
    assert all((a.tokens[0] == b.tokens[0]).all() for a, b in zip(rows.rows, again.rows, strict=True))
    assert task.predict(EXAMPLES, again, oracle(again)) == predictions


@pytest.mark.parametrize(("longest", "cut"), [(1, 5), (2, 0), (8, 0)])
def test_truncated_questions_are_counted(tokenizer, longest, cut):
    task = make(data_of(EXAMPLES), tokenizer, max_question_length=longest)
    task.rows(EXAMPLES)
    assert task.num_truncated == cut
    line = f"truncated: {cut} texts are longer than data.max_question_length={longest} tokens for a question"
    assert task.describe_truncation() == ([line] if cut else [])


def test_impossible_lengths_raise(tokenizer):
    with pytest.raises(UserError, match="questions q0 to q4: max_length=5 has no room"):
        make(data_of(EXAMPLES), tokenizer, max_length=5).rows(EXAMPLES)
    with pytest.raises(UserError, match="questions q0 to q4: doc_stride=0"):
        make(data_of(EXAMPLES), tokenizer, doc_stride=0).rows(EXAMPLES)


def test_another_number_of_logits_raises(tokenizer):
    task = make(data_of(EXAMPLES), tokenizer)
    rows = task.rows(EXAMPLES)
    with pytest.raises(ValueError, match="zip"):
        task.predict(EXAMPLES, rows, oracle(rows)[:-1])


@pytest.mark.parametrize(("tokens", "lowest"), [("albert", 99.0), ("bert-base-uncased", 99.0)])
def test_labels_of_real_questions_score_nearly_100(shared_data, tokens, lowest):
    file = shared_data / "qa" / "dev-v2.0.rebuilt.json"
    data = read_squad(str(file), "v2", eval_articles=1)
    task = make(data, load_tokenizer(shared_data / "tokenizers" / tokens), 384, doc_stride=128, n_best=1)
    examples = data.evaluation["dev"]
    rows = task.rows(examples)
    predictions = task.predict(examples, rows, oracle(rows))
    scores = scores_of(examples, predictions)
    assert scores["no_answer"] == 100.0
    assert lowest <= scores["exact_match"] <= scores["f1"]
