"""Converts answers to tokens and back: answers of SQuAD's development sets, all pairs of tokens, thresholds."""

import collections
import functools

import numpy as np
import pytest

from flax_lite.question_answering.answers import best_threshold, decode_answers, find_answer, null_score, token_span
from flax_lite.question_answering.windows import question_windows
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization import tiny_files
from train.tasks.readers.squad import read_squad

CONTEXT = "The cats sat, unwanted. A cat-b sat … the ½ cát's cat; " * 3


@pytest.fixture(scope="module", params=["unigram", "wordpiece"])
def tokenizer(request, tmp_path_factory):
    write = {"unigram": tiny_files.write_sentencepiece, "wordpiece": tiny_files.write_vocab}[request.param]
    return load_tokenizer(write(tmp_path_factory.mktemp(request.param)))


def windows_of(tokenizer, context=CONTEXT, max_length=32, doc_stride=9):
    return question_windows(tokenizer, ["the cat"], [context], max_length=max_length, doc_stride=doc_stride)


def random_logits(draw, windows, padded=0):
    return [draw.normal(size=len(window.tokens) + padded).astype(np.float32) for window in windows]


def oracle(windows, start, end):
    """Returns logits that point at an answer in each window that contains it, and at [CLS] in the others."""
    logits = [[np.zeros(len(window.tokens), np.float32) for window in windows] for _ in range(2)]
    for number, window in enumerate(windows):
        for side, token in zip(logits, token_span(window, start, end), strict=True):
            side[number][token] = 1.0
    return logits


def near(spans, start, end):
    """Returns the spans of the tokens around an answer that have characters."""
    return [span for span in spans if span[0] < span[1] and span[1] > start - 99 and span[0] < end + 99]


def covering(spans, start, end):
    """Returns the character span of the smallest run of whole tokens that covers an answer."""
    runs = [
        (spans[first][0], spans[last][1])
        for first, last in ((first, last) for first in range(len(spans)) for last in range(first, len(spans)))
        if spans[first][0] <= start and end <= spans[last][1]
    ]
    return min(runs, key=lambda run: run[1] - run[0])


@functools.cache
def answered(shared_data, version):
    """Returns the questions of a development set that have an answer."""
    file, articles = {"v1": ("dev-v1.1.rebuilt.json", 48), "v2": ("dev-v2.0.rebuilt.json", 35)}[version]
    examples = read_squad(str(shared_data / "qa" / file), version, eval_articles=articles).evaluation["dev"]
    return [example for example in examples if example.answers]


def check_round_trip(shared_data, tokens, version, every=1):
    """Decodes every answer from logits that point at it; returns the numbers of questions and of answers inside tokens.

    An answer that ends inside a token must be decoded as the smallest run of tokens around it, any other as itself.
    """
    examples = answered(shared_data, version)[::every]
    tokenizer = load_tokenizer(shared_data / "tokenizers" / tokens)
    questions, contexts = ([getattr(example, name) for example in examples] for name in ("question", "context"))
    windows = collections.defaultdict(list)
    for window in question_windows(tokenizer, questions, contexts, max_length=384, doc_stride=128):
        windows[window.example].append(window)
    unique = list(dict.fromkeys(contexts))
    spans = dict(zip(unique, (spans for _, spans in tokenizer.encode_with_spans(unique)), strict=True))
    inside = 0
    for index, example in enumerate(examples):
        starts, ends = (set(side) for side in zip(*spans[example.context], strict=True))
        for answer in set(example.answers):
            start = find_answer(example.context, answer.text, answer.start)
            expected = start, start + len(answer.text)
            logits = oracle(windows[index], *expected)
            found = decode_answers(windows[index], *logits, example.context, n_best=1, max_answer_length=100)[0]
            if not (expected[0] in starts and expected[1] in ends):
                inside += 1
                expected = covering(near(spans[example.context], *expected), *expected)
            assert found.score == 2.0
            assert (found.start, found.end) == expected
            assert found.text == example.context[slice(*expected)]
    return len(examples), inside


@pytest.mark.parametrize("tokens", ["albert", "bert-base-uncased"])
def test_answers_of_squad_survive_a_round_trip(shared_data, tokens):
    questions, inside = check_round_trip(shared_data, tokens, "v1", every=120)
    assert questions == 89
    assert inside > 0


@pytest.mark.slow  # minutes of decoding; the test above takes every 120th question
@pytest.mark.parametrize(
    ("tokens", "version", "expected"),
    [
        ("albert", "v1", (10570, 79)),
        ("albert", "v2", (5928, 42)),
        ("bert-base-uncased", "v1", (10570, 55)),
        ("bert-base-uncased", "v2", (5928, 21)),
    ],
)
def test_every_answer_of_squad_survives_a_round_trip(shared_data, tokens, version, expected):
    assert check_round_trip(shared_data, tokens, version) == expected


@pytest.mark.parametrize("seed", range(10))
def test_decoding_is_the_best_of_all_pairs(tokenizer, seed):
    draw = np.random.default_rng(seed)
    windows = windows_of(tokenizer)
    assert len(windows) > 2
    starts, ends = random_logits(draw, windows, padded=3), random_logits(draw, windows, padded=3)
    n_best, longest = int(draw.integers(1, 40)), int(draw.integers(1, 8))
    scores = {}
    for window, start, end in zip(windows, starts, ends, strict=True):
        context = range(window.second, len(window.tokens) - 1)
        for first in (token for token in context if window.is_best[token]):
            for last in (token for token in context if first <= token < first + longest):
                (begin, first_end), (last_begin, stop) = window.spans[first], window.spans[last]
                if begin < first_end and last_begin < stop:
                    score = float(start[first]) + float(end[last])
                    scores[begin, stop] = max(score, scores.get((begin, stop), -np.inf))
    expected = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:n_best]

    answers = decode_answers(windows, starts, ends, CONTEXT, n_best=n_best, max_answer_length=longest)
    assert [(answer.start, answer.end) for answer in answers] == [span for span, _ in expected]
    np.testing.assert_allclose([answer.score for answer in answers], [score for _, score in expected], rtol=1e-12)
    assert all(answer.text == CONTEXT[answer.start : answer.end] == answer.text.strip() != "" for answer in answers)

    order = draw.permutation(len(windows))
    shuffled = [[each[number] for number in order] for each in (windows, starts, ends)]
    assert decode_answers(*shuffled, CONTEXT, n_best=n_best, max_answer_length=longest) == answers

    weights = np.exp([*(answer.score for answer in answers), null_score(starts, ends)])
    shares = [answer.probability for answer in answers]
    np.testing.assert_allclose(shares, weights[:-1] / weights.sum(), rtol=1e-9)


def test_answers_are_in_the_context(tokenizer):
    windows = windows_of(tokenizer)
    logits = [np.where(window.spans[:, 0] < 0, 100.0, 0.0).astype(np.float32) for window in windows]
    answers = decode_answers(windows, logits, logits, CONTEXT)
    assert len(answers) == 20
    assert {answer.score for answer in answers} == {0.0}
    # Ties go to the earlier spans.
    assert answers == sorted(answers, key=lambda answer: (answer.start, answer.end))
    assert decode_answers(windows[::-1], logits[::-1], logits[::-1], CONTEXT) == answers


def test_an_answer_starts_only_in_the_window_with_its_maximal_context(tokenizer):
    windows = windows_of(tokenizer)
    token = int(np.flatnonzero(~windows[1].is_best & (windows[1].spans[:, 0] < windows[1].spans[:, 1]))[0])
    logits = [np.zeros(len(window.tokens), np.float32) for window in windows]
    logits[1][token] = 50.0
    best = decode_answers(windows, logits, [np.zeros_like(each) for each in logits], CONTEXT)[0]
    assert best.score == 0.0


def test_null_score_is_the_lowest_of_all_windows():
    starts = [np.array([2.0, 9.0]), np.array([1.0, 9.0])]
    ends = [np.array([1.0, 9.0]), np.array([0.5, 9.0])]
    assert null_score(starts, ends) == 1.5


@pytest.mark.parametrize("seed", range(5))
def test_token_span_is_the_smallest_cover_or_cls(tokenizer, seed):
    draw = np.random.default_rng(seed)
    for window in windows_of(tokenizer):
        tokens = [i for i, (start, end) in enumerate(window.spans.tolist()) if start < end]
        low, high = window.spans[tokens[0], 0], window.spans[tokens[-1], 1]
        for _ in range(40):
            start = int(draw.integers(0, len(CONTEXT) - 1))
            end = int(draw.integers(start + 1, min(len(CONTEXT), start + 30) + 1))
            if CONTEXT[start].isspace() or CONTEXT[end - 1].isspace():
                continue
            first, last = token_span(window, start, end)
            if not low <= start < end <= high:
                assert (first, last) == (0, 0)
            else:
                spans = [tuple(window.spans[token]) for token in tokens]
                assert (window.spans[first, 0], window.spans[last, 1]) == covering(spans, start, end)


@pytest.mark.parametrize(
    ("context", "text", "start", "expected"),
    [
        ("a cat, a cat", "cat", 2, 2),
        ("a cat, a cat", "cat", 9, 9),
        ("a cat, a cat", "cat", 8, 9),
        ("a cat, a cat", "cat", 3, 2),
        ("cat cat cat", "cat", 6, 4),
        ("cat. cat", "cat", 99, 5),
        ("cat. cat", "cat", -3, 0),
        ("xaxxxax", "a", 3, 1),
        ("a cat", "dog", 2, None),
        ("", "dog", 0, None),
    ],
)
def test_find_answer_returns_the_nearest_occurrence(context, text, start, expected):
    assert find_answer(context, text, start) == expected


def test_invalid_calls_are_errors(tokenizer):
    windows = windows_of(tokenizer)
    logits = random_logits(np.random.default_rng(0), windows)
    others = question_windows(tokenizer, ["a", "b"], ["cat", "cat"], max_length=16, doc_stride=4)
    short = [each[:-1] for each in logits]
    for arguments, options, message in [
        (([], [], []), {}, "no windows"),
        ((others, logits[:2], logits[:2]), {}, "several questions"),
        ((windows, logits[1:], logits), {}, "arrays of start logits"),
        ((windows, logits, short), {}, "end logits for a window of"),
        ((windows, logits, logits), {"n_best": 0}, "n_best=0; expected at least 1"),
        ((windows, logits, logits), {"max_answer_length": 0}, "max_answer_length=0; expected at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            decode_answers(*arguments, CONTEXT, **options)
    with pytest.raises(ValueError, match="no questions"):
        best_threshold(*[np.zeros(0)] * 2, *[np.zeros(0, bool)] * 2)


@pytest.mark.parametrize("seed", range(20))
def test_best_threshold_reaches_its_score_and_no_other_is_better(seed):
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 25))
    odds, has_answer = draw.normal(size=count) - 1, draw.random(count) < 0.5
    answered, scores = draw.random(count) < 0.8, draw.random(count) * (draw.random(count) < 0.5)
    given = np.where(has_answer, scores, ~answered)

    def reached(threshold):
        return np.mean(np.where(odds > threshold, ~has_answer, given))

    best, threshold = best_threshold(odds, scores, has_answer, answered)
    assert best == pytest.approx(reached(threshold), abs=1e-12)
    assert best == pytest.approx(max(reached(each) for each in (*odds, -np.inf)), abs=1e-12)
