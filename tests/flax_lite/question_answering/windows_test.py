"""Windows over contexts: they cover every token, each token is best in one window, and invalid calls are errors."""

import numpy as np
import pytest

from flax_lite.question_answering.windows import question_windows
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization import tiny_files

WORDS = ["the", "cat", "sat", "unwanted", "cats,", "a-b", "ab.", "½", "…", "Ünwanted", "the\u200bcat"]


@pytest.fixture(scope="module", params=["unigram", "wordpiece"])
def tokenizer(request, tmp_path_factory):
    write = {"unigram": tiny_files.write_sentencepiece, "wordpiece": tiny_files.write_vocab}[request.param]
    return load_tokenizer(write(tmp_path_factory.mktemp(request.param)))


def texts(draw, count, words):
    return ["  ".join(draw.choice(WORDS, size=int(draw.integers(1, words)))) for _ in range(count)]


def bert_best(parts, position):
    """Returns the part that has the maximal context of a token, found as in run_squad.py: one part after the other."""
    best_score = best_part = None
    for number, (start, stop) in enumerate(parts):
        if start <= position < stop:
            score = min(position - start, stop - 1 - position) + 0.01 * (stop - start)
            if best_score is None or score > best_score:
                best_score, best_part = score, number
    return best_part


@pytest.mark.parametrize("seed", range(15))
def test_every_token_is_in_some_window_and_best_in_one(tokenizer, seed):
    draw = np.random.default_rng(seed)
    scale = int(draw.choice([1, 8]))  # in windows of hundreds of tokens, the length term is as large as one token
    questions, contexts = texts(draw, 6, 6), texts(draw, 6, 40 * scale)
    contexts[3] = contexts[0]
    limit, max_length = int(draw.integers(1, 12)), int(draw.integers(16, 60)) * scale
    stride = int(draw.integers(1, 25)) * scale
    windows = question_windows(
        tokenizer, questions, contexts, max_length=max_length, doc_stride=stride, max_question_length=limit
    )
    assert [window.example for window in windows] == sorted(window.example for window in windows)
    for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        ids, spans = tokenizer.encode_with_spans([context])[0]
        prefix = [tokenizer.cls_id, *tokenizer.encode([question])[0][:limit], tokenizer.sep_id]
        room = max_length - len(prefix) - 1
        example_windows = [window for window in windows if window.example == index]
        starts = [number * min(stride, room) for number in range(len(example_windows))]
        parts = [(start, min(start + room, len(ids))) for start in starts]
        best = [bert_best(parts, position) for position in range(len(ids))]
        assert parts[-1][1] == len(ids)
        for number, (window, (start, stop)) in enumerate(zip(example_windows, parts, strict=True)):
            assert window.tokens.dtype == np.int32
            assert window.tokens.tolist() == [*prefix, *ids[start:stop], tokenizer.sep_id]
            assert window.second == len(prefix)
            inner = [list(span) for span in spans[start:stop]]
            assert window.spans.tolist() == [[-1, -1]] * len(prefix) + inner + [[-1, -1]]
            expected = [best[position] == number for position in range(start, stop)]
            assert window.is_best.tolist() == [False] * len(prefix) + expected + [False]
        covered = np.concatenate([np.arange(*part) for part in parts])
        assert set(covered.tolist()) == set(range(len(ids)))
        assert sum(window.is_best.sum() for window in example_windows) == len(ids)


def test_windows_end_with_the_context(tokenizer):
    context = " ".join(["cat"] * 10)
    size = len(tokenizer.encode([context])[0])
    room = {"max_length": len(tokenizer.encode(["the"])[0]) + size + 3}
    assert len(question_windows(tokenizer, ["the"], [context], doc_stride=1, **room)) == 1
    assert len(question_windows(tokenizer, ["the"], [context], doc_stride=None, **room)) == 1
    room["max_length"] -= 1
    assert len(question_windows(tokenizer, ["the"], [context], doc_stride=1, **room)) == 2


def test_a_shared_context_is_encoded_once(tokenizer, monkeypatch):
    calls, encode = [], tokenizer.encode_with_spans
    monkeypatch.setattr(tokenizer, "encode_with_spans", lambda texts: calls.append(list(texts)) or encode(texts))
    questions, contexts = ["the", "a", "the"], ["the cat", "a cat", "the cat"]
    windows = question_windows(tokenizer, questions, contexts, max_length=32, doc_stride=4)
    assert calls == [["the", "a"], ["the cat", "a cat"]]
    assert [window.example for window in windows] == [0, 1, 2]


@pytest.mark.parametrize(
    ("questions", "contexts", "options", "message"),
    [
        (["the"], [], {}, "1 questions but 0 contexts"),
        (["the", " \n"], ["cat", "cat"], {}, "question 1 is empty to the tokenizer"),
        (["the"], [""], {}, "context 0 is empty to the tokenizer"),
        (["the"], ["cat"], {"doc_stride": 0}, "doc_stride=0; expected at least 1"),
        (["the"], ["cat"], {"max_question_length": 0}, "max_question_length=0; expected at least 1"),
        (["cat, " * 20], ["cat"], {"max_length": 20, "max_question_length": 17}, "no room for context .*17 tokens of"),
        (["the"], ["cat, " * 20], {"doc_stride": None}, "context 0 has .* tokens.*give a doc_stride"),
    ],
)
def test_invalid_calls_are_errors(tokenizer, questions, contexts, options, message):
    options = {"max_length": 24, "doc_stride": 8, **options}
    with pytest.raises(ValueError, match=message):
        question_windows(tokenizer, questions, contexts, **options)


def test_no_questions_give_no_windows(tokenizer):
    assert question_windows(tokenizer, [], [], max_length=8, doc_stride=4) == []
