"""Answers of a model with a beam head: loading, scores, and results without an answer."""

import numpy as np
import pytest

import flax_lite as fl
from flax_lite.pipelines.question_answering import BeamAnswers
from flax_lite.question_answering.beam_decoding import decode_beams
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.pipelines import cases

QUESTION = "the cat?"
SHORT, LONG = "the cat sat, the unwanted cat wanted a b.", "the cat sat, the unwanted cat wanted a b. " * 6


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("beam")
    config = tiny.albert(max_position_embeddings=cases.LENGTH, vocab_size=90)
    files.saved(path, fl.BeamQuestionAnswering, config)
    cases.write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def pipe(directory):
    return fl.pipeline("question-answering", directory, batch_size=cases.ROWS)


@pytest.mark.parametrize("context", [SHORT, LONG])
def test_answers_equal_the_decoded_beams(pipe, context):
    """Without aligning to words; the probabilities of equal texts are added."""
    found = pipe(question=QUESTION, context=context, top_k=100, align_to_words=False, handle_impossible_answer=True)
    request = pipe._request({"question": QUESTION, "context": context}, 0, pipe._defaults)
    run = pipe._programs(request.rows, pipe._rows_per_batch)
    row_outputs = [outputs for _, outputs in sorted(run, key=lambda item: item[0])]
    beams = [pipe._reduce_row(request, number, outputs, pipe._defaults) for number, outputs in enumerate(row_outputs)]
    answers, null_logit = decode_beams(request.notes, beams, context, n_best=100, max_answer_length=15)
    probabilities = {}
    for answer in answers:
        probabilities[answer.text.lower()] = probabilities.get(answer.text.lower(), 0.0) + answer.probability
    probabilities[""] = 1 / (1 + np.exp(-null_logit))
    assert {result["answer"].lower(): result["score"] for result in found} == pytest.approx(probabilities)
    scores = [result["score"] for result in found]
    assert sum(scores) == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert len(answers) > 1


def test_answers_are_whole_words_of_the_context(pipe):
    for answer in pipe(question=QUESTION, context="unwanted unwanted " * 9, top_k=9):
        assert set(answer["answer"].split()) == {"unwanted"}
    best = pipe(question=QUESTION, context=LONG)
    assert LONG[best["start"] : best["end"]] == best["answer"] != ""


@pytest.mark.parametrize("null_logit", [-3e38, -1e3, 1e3, 3e38])
@pytest.mark.parametrize("log_prob", [0.0, -1e5])
def test_extreme_outputs_are_decoded(pipe, null_logit, log_prob, monkeypatch):
    """Without a warning, which is an error here; "no answer" has probability 0 or 1, and all scores are finite."""
    run = pipe._programs

    def extreme(rows, sizes):
        for number, found in run(rows, sizes):
            probs = {name: np.full_like(found[name], log_prob) for name in ("start_log_probs", "end_log_probs")}
            yield number, {**found, **probs, "null_logits": np.float32(null_logit)}

    monkeypatch.setattr(pipe, "_programs", extreme)
    given = {"question": QUESTION, "context": SHORT}
    for found in pipe([given, given], top_k=50, handle_impossible_answer=True):
        assert sum(result["score"] for result in found) == pytest.approx(1.0)
        assert {result["answer"]: result["score"] for result in found}[""] == (null_logit > 0)
    assert all(answer["answer"] for answer in pipe([given, given]))


def test_beams_without_an_answer_give_no_answer(pipe, monkeypatch):
    monkeypatch.setattr("flax_lite.pipelines.question_answering.decode_beams", lambda *arguments, **limits: ([], 0.0))
    assert pipe(question=QUESTION, context=SHORT) == {"score": 0.5, "start": 0, "end": 0, "answer": ""}


def test_a_model_object_is_accepted(directory, pipe):
    model, tokenizer = fl.BeamQuestionAnswering.from_pretrained(directory), fl.load_tokenizer(directory)
    other = fl.pipeline("question-answering", model, tokenizer=tokenizer, batch_size=cases.ROWS)
    assert isinstance(other, BeamAnswers)
    given = {"question": QUESTION, "context": SHORT}
    assert other(given) == pipe(given)
    np.testing.assert_allclose(other(given)["score"], pipe([given] * 3)[1]["score"], atol=1e-5)


def test_span_heads_use_the_span_pipeline():
    assert not isinstance(cases.pipe("question-answering"), BeamAnswers)
