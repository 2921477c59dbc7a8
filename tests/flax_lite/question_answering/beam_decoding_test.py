"""Decoding of beams: the best valid answers, with probabilities that sum to 1."""

import math

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from flax_lite.models.params import with_params
from flax_lite.question_answering.answers import token_span
from flax_lite.question_answering.beam import BeamQuestionAnswering, beam_objective
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import question_windows
from flax_lite.tokenization import load_tokenizer
from flax_lite.training.steps import init_state, make_train_step
from tests.flax_lite import tiny
from tests.flax_lite.tokenization import tiny_files

CONTEXT = "The cats sat, unwanted. A cat-b sat … the ½ cát's cat; " * 3
PADDED = 7
STEPS = 40


@pytest.fixture(scope="module", params=["unigram", "wordpiece"])
def tokenizer(request, tmp_path_factory):
    write = {"unigram": tiny_files.write_sentencepiece, "wordpiece": tiny_files.write_vocab}[request.param]
    return load_tokenizer(write(tmp_path_factory.mktemp(request.param)))


def windows_of(tokenizer):
    return question_windows(tokenizer, ["the cat"], [CONTEXT], max_length=32, doc_stride=9)


def random_beams(draw, window, starts=9, ends=6):
    """Returns beams of random distinct tokens, including tokens of the question and of the padding."""
    width = len(window.tokens) + PADDED
    return Beams(
        start_tokens=draw.permutation(width)[:starts],
        start_log_probs=-draw.exponential(size=starts),
        end_tokens=np.stack([draw.permutation(width)[:ends] for _ in range(starts)]),
        end_log_probs=-draw.exponential(size=(starts, ends)),
        null_logit=float(draw.normal()),
    )


def brute_force(windows, beams, longest):
    scores = {}
    for window, row in zip(windows, beams, strict=True):
        shown = [token for token, (start, end) in enumerate(window.spans) if start < end]
        for k, first in enumerate(row.start_tokens):
            for m, last in enumerate(row.end_tokens[k]):
                if {first, last} <= set(shown) and 0 <= last - first < longest and window.is_best[first]:
                    span = window.spans[first, 0], window.spans[last, 1]
                    score = row.start_log_probs[k] + row.end_log_probs[k, m]
                    scores[span] = max(score, scores.get(span, -math.inf))
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("seed", range(10))
def test_decoding_returns_the_best_answers_of_the_beams(tokenizer, seed):
    draw = np.random.default_rng(seed)
    windows = windows_of(tokenizer)
    beams = [random_beams(draw, window) for window in windows]
    n_best, longest = int(draw.integers(1, 12)), int(draw.integers(1, 12))
    expected = brute_force(windows, beams, longest)[:n_best]

    answers, logit = decode_beams(windows, beams, CONTEXT, n_best=n_best, max_answer_length=longest)
    assert [(answer.start, answer.end) for answer in answers] == [span for span, _ in expected]
    np.testing.assert_allclose([answer.score for answer in answers], [score for _, score in expected], rtol=1e-12)
    assert all(answer.text == CONTEXT[answer.start : answer.end] != "" for answer in answers)
    assert logit == min(row.null_logit for row in beams)
    if answers:
        no_answer = 1 / (1 + math.exp(-logit))
        assert sum(answer.probability for answer in answers) == pytest.approx(1 - no_answer)
        ratio = answers[0].probability / answers[-1].probability
        assert math.log(ratio) == pytest.approx(answers[0].score - answers[-1].score)

    order = draw.permutation(len(windows))
    shuffled = [[each[number] for number in order] for each in (windows, beams)]
    assert decode_beams(*shuffled, CONTEXT, n_best=n_best, max_answer_length=longest) == (answers, logit)


def test_most_random_beams_have_an_answer(tokenizer):
    windows = windows_of(tokenizer)
    draws = [np.random.default_rng(seed) for seed in range(10)]
    assert sum(bool(brute_force(windows, [random_beams(draw, each) for each in windows], 9)) for draw in draws) > 5


def test_beams_that_point_at_an_answer_decode_to_it(tokenizer):
    windows = windows_of(tokenizer)
    start = CONTEXT.index("unwanted", 60)
    beams = []
    for window in windows:
        first, last = token_span(window, start, start + len("unwanted"))
        one = np.zeros(1)
        beams.append(Beams(np.array([first]), one, np.array([[last]]), one[None], 1.0 if first == 0 else -1.0))
    answers, logit = decode_beams(windows, beams, CONTEXT)
    assert [(answer.text, answer.start, answer.score) for answer in answers] == [("unwanted", start, 0.0)]
    assert logit == -1.0


@pytest.mark.slow  # compiles a train step; its parts are compared with formulas here and in beam_answers_test.py
def test_a_trained_head_answers_or_predicts_no_answer(tmp_path):
    """All parts in combination: windows, labels, a few train steps, beams and characters."""
    tokenizer = load_tokenizer(tiny_files.write_vocab(tmp_path))
    questions = ["cat", "want"] * 2
    contexts = ["the sat cats, a b", "the sat cats, a b", "a unwanted cats. the sat", "a unwanted sat. the"]
    golds = ["cats", "", "cats", "unwanted"]
    windows = question_windows(tokenizer, questions, contexts, max_length=15, doc_stride=None)
    spans = [
        token_span(window, context.index(gold), context.index(gold) + len(gold)) if gold else (0, 0)
        for window, context, gold in zip(windows, contexts, golds, strict=True)
    ]
    batch = {name: np.zeros((len(windows), 15), np.int32) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, window in enumerate(windows):
        batch["input_ids"][row, : len(window.tokens)] = window.tokens
        batch["attention_mask"][row, : len(window.tokens)] = 1
        batch["token_type_ids"][row, window.second : len(window.tokens)] = 1
    labels = {"starts": np.array(spans)[:, 0], "ends": np.array(spans)[:, 1], "row_weights": np.ones(4, np.float32)}

    no_dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    config = tiny.albert(vocab_size=tokenizer.vocab_size, num_hidden_layers=1, **no_dropout)
    model = tiny.make(BeamQuestionAnswering, config)
    optimizer = optax.adam(2e-2)
    step = jax.jit(make_train_step(nnx.graphdef(model), beam_objective(), optimizer, seed=0))
    state = init_state(model, optimizer)
    for _ in range(STEPS):
        state, metrics = step(state, {**batch, **labels})
    assert float(metrics["loss"]) < 0.3

    found = tiny.call(with_params(nnx.graphdef(model), state["params"]), **batch)
    for row, (window, context, gold) in enumerate(zip(windows, contexts, golds, strict=True)):
        fields = (found.start_tokens, found.start_log_probs, found.end_tokens, found.end_log_probs)
        beams = Beams(*(np.asarray(field[row]) for field in fields), float(found.null_logits[row]))
        answers, logit = decode_beams([window], [beams], context)
        assert ("" if logit > 0 else answers[0].text) == gold


def test_beams_without_an_answer_decode_to_an_empty_list(tokenizer):
    windows = windows_of(tokenizer)
    cls = Beams(np.zeros(1, int), np.zeros(1), np.zeros((1, 1), int), np.zeros((1, 1)), 3.0)
    assert decode_beams(windows, [cls] * len(windows), CONTEXT) == ([], 3.0)


def test_invalid_calls_are_errors(tokenizer):
    windows = windows_of(tokenizer)
    beams = [random_beams(np.random.default_rng(0), window) for window in windows]
    others = question_windows(tokenizer, ["a", "b"], ["cat", "cat"], max_length=16, doc_stride=4)
    for arguments, options, message in [
        (([], []), {}, "no windows"),
        ((windows, beams[1:]), {}, "expected one row per window"),
        ((others, beams[:2]), {}, "several questions"),
        ((windows, beams), {"n_best": 0}, "n_best=0; expected at least 1"),
        ((windows, beams), {"max_answer_length": 0}, "max_answer_length=0; expected at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            decode_beams(*arguments, CONTEXT, **options)
