"""Questions with contexts as rows for a model: a context too long for one row is read in windows that overlap.

Windows and the rule of the maximal context are those of BERT's SQuAD code (google-research/bert, run_squad.py).
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from flax_lite.tokenization import Tokenizer

_Piece = tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n 2"]]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A question with a part of its context: [CLS] question [SEP] part [SEP], or as the tokenizer joins texts.

    Attributes:
        example: index of the question.
        tokens: int32 ids.
        second: where tokens begin to be of type 1; of BERT's tokenizers with the part.
        spans: [start, end) of each of the part's tokens in characters of the context, without white space at its ends;
            start = end where a token has no character of its own; -1 for all other tokens.
        is_best: for the part's tokens, whether no other window shows more context on the side where there is less; each
            token of a context is best in one window.
        question_length: tokens of the question, of which a longer one than allowed has lost its end in every window.
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
    """Windows over every context, in the order of the questions and of the text.

    Args:
        tokenizer: of questions and contexts; a context that several questions share is encoded once.
        questions: those longer than `max_question_length` tokens lose their end.
        contexts: one for each question.
        max_length: of a window.
        doc_stride: tokens from the start of a window to the start of the next; where a part is shorter than that, its
            length. None: a context has to fit into one window.
        max_question_length: of a question, in tokens.

    Raises:
        ValueError: if there are more questions than contexts or fewer, lengths or stride are below 1, a question or a
            context has no token with a character of the text, a question leaves no room for context, or, without
            stride, a context does not fit.
    """
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions but {len(contexts)} contexts; expected one context for each")
    for name, value in (("doc_stride", doc_stride), ("max_question_length", max_question_length)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    asked, read = _encoded(tokenizer, questions, "question"), _encoded(tokenizer, contexts, "context")
    windows = []
    for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        whole = asked[question][0]
        ids = whole[:max_question_length]
        room = max_length - len(ids) - tokenizer.template.pair_size
        if room < 1:
            raise ValueError(
                f"max_length={max_length} has no room for context behind the {len(ids)} tokens of question {index} and "
                f"{tokenizer.template.pair_size} special tokens; give more, or a smaller max_question_length "
                f"({max_question_length})"
            )
        size = len(read[context][0])
        if doc_stride is None and size > room:
            raise ValueError(
                f"context {index} has {size} tokens, and {room} fit behind its question in max_length={max_length}; "
                "give a doc_stride to read it in several windows"
            )
        parts = _parts(size, room, doc_stride or room)
        for part, best in zip(parts, _is_best(size, parts), strict=True):
            windows.append(_window(tokenizer, index, ids, len(whole), read[context], part, best))
    return windows


def _encoded(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> dict[str, _Piece]:
    """Ids and spans of each different text."""
    found = {}
    unique = list(dict.fromkeys(texts))
    for text, (ids, spans) in zip(unique, tokenizer.encode_with_spans(unique), strict=True):
        spans = np.array(spans, np.int32).reshape(-1, 2)
        if not (spans[:, 0] < spans[:, 1]).any():
            raise ValueError(f"{name} {list(texts).index(text)} is empty to the tokenizer: {text[:60]!r}")
        found[text] = (np.array(ids, np.int32), spans)
    return found


def _parts(size: int, room: int, stride: int) -> list[slice]:
    """Where to cut a context of `size` tokens."""
    parts = [slice(0, min(size, room))]
    while parts[-1].stop < size:
        start = parts[-1].start + min(room, stride)
        parts.append(slice(start, min(size, start + room)))
    return parts


def _is_best(size: int, parts: Sequence[slice]) -> Iterator[Bool[np.ndarray, "p"]]:
    """For each part, in which of its tokens it has the maximal context; of equals the first part."""
    best, owners = np.full(size, -1.0), np.zeros(size, np.int32)
    for number, part in enumerate(parts):
        length = part.stop - part.start
        before = np.arange(length)
        # The hundredth prefers longer parts (run_squad.py, _check_is_max_context).
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
    context: _Piece,
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
