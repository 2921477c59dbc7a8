"""Converts questions and contexts to rows; a context that is too long for one row is split into overlapping windows.

The windows and the maximal-context rule are those of BERT's SQuAD code (google-research/bert, run_squad.py).
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from flax_lite.tokenization import Tokenizer

# Ids and character spans of a text.
_Encoded = tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n 2"]]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A question with a part of its context: [CLS] question [SEP] part [SEP], or as the tokenizer joins texts.

    Attributes:
        example: index of the question.
        tokens: int32 ids.
        second: index of the first token of type 1; with BERT's template, of the part's first token.
        spans: character span [start, end) of each of the part's tokens in the context, without white space at its ends.
            start = end if a token has no character of its own; -1 for tokens outside the part.
        is_best: whether a token of the part has its maximal context in this window, the context being the smaller of
            the numbers of tokens before and after it; true in exactly one window.
        question_length: number of tokens of the question before it was truncated.
    """

    example: int
    tokens: Int[np.ndarray, "t"]
    second: int
    spans: Int[np.ndarray, "t 2"]
    is_best: Bool[np.ndarray, "t"]
    question_length: int


def question_windows(
    tokenizer: Tokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    max_length: int,
    doc_stride: int | None,
    max_question_length: int = 64,
) -> list[Window]:
    """Returns the windows over all contexts, in the order of the questions and of the text.

    Args:
        tokenizer: tokenizer of questions and contexts; a context shared by several questions is encoded once.
        questions: questions; those of more than `max_question_length` tokens are truncated at the end.
        contexts: the context of each question.
        max_length: maximum number of tokens of a window.
        doc_stride: number of tokens between the starts of two consecutive windows, at most a window's part. None: the
            context must fit into one window.
        max_question_length: maximum number of tokens of a question.

    Raises:
        ValueError: if questions and contexts differ in number, a length or stride is below 1, a question or context has
            no token with a character, a question leaves no room for context, or a context does not fit and there is no
            stride.
    """
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions but {len(contexts)} contexts; expected one context for each")
    for name, value in (("doc_stride", doc_stride), ("max_question_length", max_question_length)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    question_tokens = _encode(tokenizer, questions, "question")
    context_tokens = _encode(tokenizer, contexts, "context")
    windows = []
    for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        question_length = len(question_tokens[question][0])
        ids = question_tokens[question][0][:max_question_length]
        room = max_length - len(ids) - tokenizer.template.pair_size
        if room < 1:
            raise ValueError(
                f"max_length={max_length} has no room for context after the {len(ids)} tokens of question {index} and "
                f"{tokenizer.template.pair_size} special tokens; give a larger one, or a smaller max_question_length "
                f"({max_question_length})"
            )
        size = len(context_tokens[context][0])
        if doc_stride is None and size > room:
            raise ValueError(
                f"context {index} has {size} tokens, and {room} fit after its question into max_length={max_length}; "
                "give a doc_stride to split it into several windows"
            )
        parts = _parts(size, room, doc_stride or room)
        for part, best in zip(parts, _is_best(size, parts), strict=True):
            windows.append(_window(tokenizer, index, ids, question_length, context_tokens[context], part, best))
    return windows


def _encode(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> dict[str, _Encoded]:
    """Returns ids and spans by text; a repeated text is encoded once."""
    found = {}
    unique = list(dict.fromkeys(texts))
    for text, (ids, spans) in zip(unique, tokenizer.encode_with_spans(unique), strict=True):
        spans = np.array(spans, np.int32).reshape(-1, 2)
        if not (spans[:, 0] < spans[:, 1]).any():
            raise ValueError(f"{name} {list(texts).index(text)} is empty to the tokenizer: {text[:60]!r}")
        found[text] = (np.array(ids, np.int32), spans)
    return found


def _parts(size: int, room: int, stride: int) -> list[slice]:
    """Returns the slices into which a context of `size` tokens is split."""
    parts = [slice(0, min(size, room))]
    while parts[-1].stop < size:
        start = parts[-1].start + min(room, stride)
        parts.append(slice(start, min(size, start + room)))
    return parts


def _is_best(size: int, parts: Sequence[slice]) -> Iterator[Bool[np.ndarray, "p"]]:
    """Yields for each part which of its tokens have their maximal context in it; ties go to the first part."""
    best, owners = np.full(size, -1.0), np.zeros(size, np.int32)
    for number, part in enumerate(parts):
        length = part.stop - part.start
        before = np.arange(length)
        # The second term prefers longer parts (run_squad.py, _check_is_max_context).
        score = np.minimum(before, length - 1 - before) + 0.01 * length
        better = score > best[part]
        best[part][better], owners[part][better] = score[better], number
    for number, part in enumerate(parts):
        yield owners[part] == number


def _window(
    tokenizer: Tokenizer,
    example: int,
    question: Int[np.ndarray, "q"],
    question_length: int,
    context: _Encoded,
    part: slice,
    best: Bool[np.ndarray, "p"],
) -> Window:
    ids, context_spans = context
    tokens, second = tokenizer.pair_row(question.tolist(), ids[part].tolist())
    spans, is_best = np.full((len(tokens), 2), -1, np.int32), np.zeros(len(tokens), np.bool_)
    first = len(tokenizer.template.pair_prefix(question.tolist()))
    inner = slice(first, first + len(best))
    spans[inner], is_best[inner] = context_spans[part], best
    return Window(example, np.array(tokens, np.int32), second, spans, is_best, question_length)
