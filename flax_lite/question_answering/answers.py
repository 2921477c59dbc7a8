"""Converts an answer's characters to tokens, and logits of tokens back to an answer's characters."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from flax_lite.question_answering.windows import Window

# A possible answer in a window: first token, last token, score.
Candidate = tuple[int, int, float]
# A possible answer in a context: first character, character after the last one, score.
ScoredSpan = tuple[int, int, float]


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerSpan:
    """A span of a context as an answer.

    Attributes:
        text: the characters `start` to `end` of the context.
        start: index of the first character.
        end: index after the last character.
        score: the head's score, such as the start logit of the first token plus the end logit of the last.
        probability: softmax over the scores of the returned answers and of "no answer".
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


def token_span(window: Window, answer_start: int, answer_end: int) -> tuple[int, int]:
    """Returns the first and last token of the smallest token span that covers an answer.

    Args:
        window: a window of the answer's context.
        answer_start: index of the answer's first character in the context.
        answer_end: index after its last character.

    Returns:
        Indices into the window's tokens; (0, 0), the position of [CLS], if the window does not contain the whole
        answer.
    """
    starts, ends = window.spans.T
    visible = np.flatnonzero(starts < ends)
    if answer_start < starts[visible].min(initial=answer_end) or answer_end > ends[visible].max(initial=answer_start):
        return 0, 0
    overlapping = visible[(starts[visible] < answer_end) & (ends[visible] > answer_start)]
    return (int(overlapping[0]), int(overlapping[-1])) if len(overlapping) else (0, 0)


def null_score(start_logits: Sequence[Float[np.ndarray, "_"]], end_logits: Sequence[Float[np.ndarray, "_"]]) -> float:
    """Returns the score of "no answer", the lowest of [CLS] in any window (google-research/bert, run_squad.py)."""
    return min(float(start[0]) + float(end[0]) for start, end in zip(start_logits, end_logits, strict=True))


def decode_answers(
    windows: Sequence[Window],
    start_logits: Sequence[Float[np.ndarray, "_"]],
    end_logits: Sequence[Float[np.ndarray, "_"]],
    context: str,
    *,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> list[AnswerSpan]:
    """Returns the best answers over all windows, best first; ties go to the earlier span.

    An answer starts at a token of the context that has its maximal context in this window, and ends at that or a later
    token of the same window. All such pairs are considered; BERT's run_squad.py considers only pairs of the best starts
    and ends.

    Args:
        windows: all windows of one question, in any order.
        start_logits: logits of each window, [t], or longer if padded.
        end_logits: logits of each window, likewise.
        context: the context of the windows.
        n_best: maximum number of answers to return.
        max_answer_length: maximum number of tokens of an answer.

    Returns:
        Answers with distinct spans; an empty list if no window has a character of the context.

    Raises:
        ValueError: if there are no windows, they belong to several questions, there are too few logits, or a number is
            below 1.
    """
    _check(windows, start_logits, end_logits)
    check_limits(n_best, max_answer_length)
    candidates = [
        _candidates(window, start, end, n_best, max_answer_length)
        for window, start, end in zip(windows, start_logits, end_logits, strict=True)
    ]
    spans = best_spans(windows, candidates, n_best=n_best, max_answer_length=max_answer_length)
    return answer_spans(context, spans, null_score(start_logits, end_logits))


def best_spans(
    windows: Sequence[Window], candidates: Iterable[Iterable[Candidate]], *, n_best: int, max_answer_length: int
) -> list[ScoredSpan]:
    """Returns the best valid candidates over all windows, best first; ties go to the earlier span.

    A candidate is invalid if it starts or ends outside the context or at a token without a character, ends before it
    starts, has more than `max_answer_length` tokens, or starts at a token that has more context in another window. Of
    candidates with the same characters, the best counts.

    Args:
        windows: all windows of one question, in any order.
        candidates: candidates of each window.
        n_best: maximum number of spans to return.
        max_answer_length: maximum number of tokens of an answer.

    Raises:
        ValueError: if there are no windows, they belong to several questions, windows and candidates differ in number,
            or a number is below 1.
    """
    _check_windows(windows)
    check_limits(n_best, max_answer_length)
    found: dict[tuple[int, int], float] = {}
    for window, window_candidates in zip(windows, candidates, strict=True):
        visible = window.spans[:, 0] < window.spans[:, 1]
        for first, last, score in window_candidates:
            is_valid = first <= last < first + max_answer_length and visible[first] and visible[last]
            if is_valid and window.is_best[first]:
                span = int(window.spans[first, 0]), int(window.spans[last, 1])
                found[span] = max(score, found.get(span, -np.inf))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:n_best]
    return [(*span, score) for span, score in ranked]


def answer_spans(context: str, spans: Sequence[ScoredSpan], no_answer: float) -> list[AnswerSpan]:
    """Returns the spans with their text and probability.

    Args:
        context: the context of the spans.
        spans: spans as returned by `best_spans`.
        no_answer: the score of "no answer", on the same scale.
    """
    scores = np.array([*(score for _, _, score in spans), no_answer])
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return [
        AnswerSpan(context[start:end], start, end, score, float(probability))
        for (start, end, score), probability in zip(spans, probabilities, strict=False)
    ]


def check_limits(n_best: int, max_answer_length: int) -> None:
    """Raises ValueError if a number is below 1."""
    for name, value in (("n_best", n_best), ("max_answer_length", max_answer_length)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")


def find_answer(context: str, text: str, start: int) -> int | None:
    """Returns the index of an answer in its context: `start`, or its nearest other occurrence; None if there is none.

    Ties go to the earlier occurrence. Copies of SQuAD rebuilt from the articles have some wrong start indices.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    before, after = context.rfind(text, 0, max(0, start + len(text))), context.find(text, max(0, start))
    found = [index for index in (before, after) if index >= 0]
    return min(found, key=lambda index: abs(index - start), default=None)


def best_threshold(
    null_odds: Float[np.ndarray, "n"],
    scores: Float[np.ndarray, "n"],
    has_answer: Bool[np.ndarray, "n"],
    answered: Bool[np.ndarray, "n"],
) -> tuple[float, float]:
    """Returns the best mean score that a threshold on the odds of "no answer" reaches, and that threshold.

    As in SQuAD's evaluate-v2.0: questions are answered in the order of ascending odds, and the first best position to
    stop is taken, even between equal odds. If it is best to answer no question, the threshold is below all odds; the
    official script returns 0.0 then, which is right only for probabilities.

    Args:
        null_odds: odds of "no answer"; a question with odds above the threshold gets no answer.
        scores: score of each answer, if it is given.
        has_answer: whether the question has an answer; if not, it scores 1 if no answer is given.
        answered: whether the text to give is not empty.

    Returns:
        The mean score and the threshold.

    Raises:
        ValueError: if there is no question.
    """
    if not len(null_odds):
        raise ValueError("no questions: a threshold needs at least one")
    order = np.argsort(null_odds, kind="stable")
    unanswered = float(np.sum(~has_answer))
    totals = unanswered + np.cumsum(np.where(has_answer, scores, -1.0 * answered)[order])
    best = int(np.argmax(totals))
    if totals[best] > unanswered:
        return float(totals[best]) / len(order), float(null_odds[order[best]])
    lowest = float(np.min(null_odds))
    return unanswered / len(order), 0.0 if lowest > 0 else float(np.nextafter(lowest, -np.inf))


def _check(
    windows: Sequence[Window],
    start_logits: Sequence[Float[np.ndarray, "_"]],
    end_logits: Sequence[Float[np.ndarray, "_"]],
) -> None:
    _check_windows(windows)
    if not len(windows) == len(start_logits) == len(end_logits):
        raise ValueError(
            f"{len(start_logits)} arrays of start logits and {len(end_logits)} of end logits for {len(windows)} "
            "windows; expected one of each per window"
        )
    for window, start, end in zip(windows, start_logits, end_logits, strict=True):
        if min(len(start), len(end)) < len(window.tokens):
            raise ValueError(
                f"{len(start)} start and {len(end)} end logits for a window of {len(window.tokens)} tokens; expected "
                "at least one per token"
            )


def _check_windows(windows: Sequence[Window]) -> None:
    if not windows:
        raise ValueError("no windows; expected all windows of one question")
    if len({window.example for window in windows}) > 1:
        raise ValueError("windows of several questions; expected those of one question")


def _candidates(
    window: Window,
    start_logits: Float[np.ndarray, "_"],
    end_logits: Float[np.ndarray, "_"],
    n_best: int,
    max_answer_length: int,
) -> Iterator[Candidate]:
    """Yields the n_best answers of a window."""
    visible = window.spans[:, 0] < window.spans[:, 1]
    firsts = np.flatnonzero(visible & window.is_best)
    # Tokens after the end of the window are replaced by its last token, [SEP], which is not visible.
    lasts = np.minimum(firsts[:, None] + np.arange(max_answer_length), len(visible) - 1)
    allowed = visible[lasts]
    scores = start_logits[firsts].astype(np.float64)[:, None] + end_logits[lasts]
    scores = np.where(allowed, scores, -np.inf).ravel()
    # In a stable sort ties go to the earlier candidate, for any n_best.
    for best in np.argsort(-scores, kind="stable")[: min(n_best, int(allowed.sum()))]:
        first, length = divmod(int(best), max_answer_length)
        yield int(firsts[first]), int(lasts[first, length]), float(scores[best])
