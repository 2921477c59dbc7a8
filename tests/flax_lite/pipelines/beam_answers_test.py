"""Answers of a model with a beam head: where it is read from, what its scores are, and what comes without an answer."""

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
def test_answers_are_those_of_the_decoding(pipe, context):
    """Without words to widen, what the model's own outputs decode to; of equal texts the shares are added."""
    found = pipe(question=QUESTION, context=context, top_k=100, align_to_words=False, handle_impossible_answer=True)
    request = pipe._request({"question": QUESTION, "context": context}, 0, pipe._defaults)
    kept = [outputs for _, outputs in sorted(pipe._programs(request.rows), key=lambda each: each[0])]
    beams = [pipe._read(request, number, outputs, pipe._defaults) for number, outputs in enumerate(kept)]
    answers, null_logit = decode_beams(request.notes, beams, context, n_best=100, max_answer_length=15)
    shares = {}
    for answer in answers:
        shares[answer.text.lower()] = shares.get(answer.text.lower(), 0.0) + answer.probability
    shares[""] = 1 / (1 + np.exp(-null_logit))
    assert {each["answer"].lower(): each["score"] for each in found} == pytest.approx(shares)
    assert sum(each["score"] for each in found) == pytest.approx(1.0)
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    assert len(answers) > 1


def test_answers_are_whole_words_of_the_context(pipe):
    for answer in pipe(question=QUESTION, context="unwanted unwanted " * 9, top_k=9):
        assert set(answer["answer"].split()) == {"unwanted"}
    best = pipe(question=QUESTION, context=LONG)
    assert LONG[best["start"] : best["end"]] == best["answer"] != ""


@pytest.mark.parametrize("null_logit", [-3e38, -1e3, 1e3, 3e38])
@pytest.mark.parametrize("log_prob", [0.0, -1e5])
def test_outputs_at_the_edge_of_numbers_are_answered(pipe, null_logit, log_prob, monkeypatch):
    """Without a warning, which is an error here; "no answer" is sure or impossible, and the shares are numbers."""
    run = pipe._programs

    def far(rows):
        for number, found in run(rows):
            probs = {name: np.full_like(found[name], log_prob) for name in ("start_log_probs", "end_log_probs")}
            yield number, {**found, **probs, "null_logits": np.float32(null_logit)}

    monkeypatch.setattr(pipe, "_programs", far)
    asked = {"question": QUESTION, "context": SHORT}
    for found in pipe([asked, asked], top_k=50, handle_impossible_answer=True):
        assert sum(each["score"] for each in found) == pytest.approx(1.0)
        assert {each["answer"]: each["score"] for each in found}[""] == (null_logit > 0)
    assert all(answer["answer"] for answer in pipe([asked, asked]))


def test_no_answer_in_any_beam_is_none(pipe, monkeypatch):
    monkeypatch.setattr("flax_lite.pipelines.question_answering.decode_beams", lambda *arguments, **limits: ([], 0.0))
    assert pipe(question=QUESTION, context=SHORT) == {"score": 0.5, "start": 0, "end": 0, "answer": ""}


def test_a_model_object_is_taken_too(directory, pipe):
    model, tokenizer = fl.BeamQuestionAnswering.from_pretrained(directory), fl.load_tokenizer(directory)
    other = fl.pipeline("question-answering", model, tokenizer=tokenizer, batch_size=cases.ROWS)
    assert isinstance(other, BeamAnswers)
    asked = {"question": QUESTION, "context": SHORT}
    assert other(asked) == pipe(asked)
    np.testing.assert_allclose(other(asked)["score"], pipe([asked] * 3)[1]["score"], atol=1e-5)


def test_simple_heads_stay_simple():
    assert not isinstance(cases.pipe("question-answering"), BeamAnswers)
