"""From an answer's characters to tokens, and from logits of tokens back to an answer's characters."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from flax_lite.question_answering.windows import Window

# What a head proposes as an answer: its first and its last token in a window, and its score.
Candidate = tuple[int, int, float]
# The first character of an answer in its context and the one after its last, and its score.
Place = tuple[int, int, float]


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerSpan:
    """A piece of a context as an answer.

    Attributes:
        text: the characters `start` to `end` of the context.
        start: its first character.
        end: the character after its last.
        score: its head's, such as the logit of its first token as a start plus the logit of its last as an end.
        probability: softmax over the scores of the answers found and of "no answer".
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


def token_span(window: Window, answer_start: int, answer_end: int) -> tuple[int, int]:
    """The first and the last token of the smallest run that covers an answer.

    Args:
        window: a part of the answer's context.
        answer_start: first character of the answer in the context.
        answer_end: the character after its last.

    Returns:
        Indices in the window's tokens; (0, 0), where [CLS] stands, if the answer is not wholly in this part.
    """
    starts, ends = window.spans.T
    visible = np.flatnonzero(starts < ends)
    if answer_start < starts[visible].min(initial=answer_end) or answer_end > ends[visible].max(initial=answer_start):
        return 0, 0
    touched = visible[(starts[visible] < answer_end) & (ends[visible] > answer_start)]
    return (int(touched[0]), int(touched[-1])) if len(touched) else (0, 0)


def null_score(start_logits: Sequence[Float[np.ndarray, "_"]], end_logits: Sequence[Float[np.ndarray, "_"]]) -> float:
    """The score of "no answer": that of [CLS] in the window that is least sure of it (BERT's run_squad.py)."""
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
    """The best answers of all windows together, best first; of equal scores the one that stands first.

    An answer starts at a token of the context that has its maximal context in that window, and ends there or later in
    the same window. All such pairs take part, where BERT's run_squad.py takes those of the best starts and ends alone.

    Args:
        windows: all those of one question, in any order.
        start_logits: of each window, [t] or longer where it was padded.
        end_logits: likewise.
        context: which the windows are of.
        n_best: answers to return at most.
        max_answer_length: of an answer, in tokens.

    Returns:
        Answers that differ in their place; none where no window shows a character of the context.

    Raises:
        ValueError: if there are no windows, they are of several questions, logits are too few, or a number is below 1.
    """
    _check(windows, start_logits, end_logits)
    check_limits(n_best, max_answer_length)
    candidates = [
        _candidates(window, start, end, n_best, max_answer_length)
        for window, start, end in zip(windows, start_logits, end_logits, strict=True)
    ]
    places = best_places(windows, candidates, n_best=n_best, max_answer_length=max_answer_length)
    return answer_spans(context, places, null_score(start_logits, end_logits))


def best_places(
    windows: Sequence[Window], candidates: Iterable[Iterable[Candidate]], *, n_best: int, max_answer_length: int
) -> list[Place]:
    """The best of what a head proposes in all windows together, best first; of equal scores what stands first.

    Left out is what is no answer: it starts or ends outside the context or at a token without a character, ends before
    it starts, is longer than `max_answer_length` tokens, or starts at a token that another window shows with more
    context. Of proposals for the same characters the best counts.

    Args:
        windows: all those of one question, in any order.
        candidates: of each window.
        n_best: places to return at most.
        max_answer_length: of an answer, in tokens.

    Raises:
        ValueError: if there are no windows, they are of several questions, candidates are not as many, or a number is
            below 1.
    """
    _check_windows(windows)
    check_limits(n_best, max_answer_length)
    found: dict[tuple[int, int], float] = {}
    for window, proposals in zip(windows, candidates, strict=True):
        visible = window.spans[:, 0] < window.spans[:, 1]
        for first, last, score in proposals:
            inside = first <= last < first + max_answer_length and visible[first] and visible[last]
            if inside and window.is_best[first]:
                place = int(window.spans[first, 0]), int(window.spans[last, 1])
                found[place] = max(score, found.get(place, -np.inf))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:n_best]
    return [(*place, score) for place, score in ranked]


def answer_spans(context: str, places: Sequence[Place], no_answer: float) -> list[AnswerSpan]:
    """Places with their characters and probabilities.

    Args:
        context: which the places are in.
        places: as `best_places` gives them.
        no_answer: the score of "no answer", on the scale of theirs.
    """
    scores = np.array([*(score for _, _, score in places), no_answer])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [
        AnswerSpan(context[start:end], start, end, score, float(share))
        for (start, end, score), share in zip(places, shares, strict=False)
    ]


def check_limits(n_best: int, max_answer_length: int) -> None:
    """Raises ValueError if a number is below 1."""
    for name, value in (("n_best", n_best), ("max_answer_length", max_answer_length)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")


def find_answer(context: str, text: str, start: int) -> int | None:
    """Where an answer begins: at `start`, or else at its nearest other occurrence, of two the earlier; None if nowhere.

    Copies of SQuAD made from the articles have a start that is off here and there.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    before, after = context.rfind(text, 0, max(0, start + len(text))), context.find(text, max(0, start))
    found = [at for at in (before, after) if at >= 0]
    return min(found, key=lambda at: abs(at - start), default=None)


def best_threshold(
    null_odds: Float[np.ndarray, "n"],
    scores: Float[np.ndarray, "n"],
    has_answer: Bool[np.ndarray, "n"],
    answered: Bool[np.ndarray, "n"],
) -> tuple[float, float]:
    """Above which odds of "no answer" it is best to give none: the mean score that this reaches, and the threshold.

    As SQuAD's evaluate-v2.0: questions are answered one after the other by rising odds, and the first best place to
    stop counts, even between equal odds. Where no answer is better than any, the threshold lies below all odds (the
    official 0.0 does so for probabilities alone).

    Args:
        null_odds: the larger, the likelier is it that there is no answer.
        scores: of each answer, if it is given.
        has_answer: whether there is one. Otherwise a question scores 1 if none is given.
        answered: whether the text to give is not empty.

    Raises:
        ValueError: if there is no question.
    """
    if not len(null_odds):
        raise ValueError("no questions: a threshold needs at least one")
    order = np.argsort(null_odds, kind="stable")
    nothing = float(np.sum(~has_answer))
    totals = nothing + np.cumsum(np.where(has_answer, scores, -1.0 * answered)[order])
    best = int(np.argmax(totals))
    if totals[best] > nothing:
        return float(totals[best]) / len(order), float(null_odds[order[best]])
    least = float(np.min(null_odds))
    return nothing / len(order), 0.0 if least > 0 else float(np.nextafter(least, -np.inf))


def _check(
    windows: Sequence[Window],
    start_logits: Sequence[Float[np.ndarray, "_"]],
    end_logits: Sequence[Float[np.ndarray, "_"]],
) -> None:
    _check_windows(windows)
    if not len(windows) == len(start_logits) == len(end_logits):
        raise ValueError(f"logits of {len(start_logits)} starts and {len(end_logits)} ends for {len(windows)} windows")
    for window, start, end in zip(windows, start_logits, end_logits, strict=True):
        if min(len(start), len(end)) < len(window.tokens):
            raise ValueError(
                f"{len(start)} start and {len(end)} end logits for a window of {len(window.tokens)} tokens"
            )


def _check_windows(windows: Sequence[Window]) -> None:
    if not windows:
        raise ValueError("no windows; expected all those of a question")
    if len({window.example for window in windows}) > 1:
        raise ValueError("windows of several questions; expected those of one")


def _candidates(
    window: Window,
    start_logits: Float[np.ndarray, "_"],
    end_logits: Float[np.ndarray, "_"],
    n_best: int,
    max_answer_length: int,
) -> Iterator[Candidate]:
    """The n_best answers of a window."""
    visible = window.spans[:, 0] < window.spans[:, 1]
    firsts = np.flatnonzero(visible & window.is_best)
    # What would lie behind the window becomes its last token, [SEP], which is not visible.
    lasts = np.minimum(firsts[:, None] + np.arange(max_answer_length), len(visible) - 1)
    allowed = visible[lasts]
    scores = start_logits[firsts].astype(np.float64)[:, None] + end_logits[lasts]
    scores = np.where(allowed, scores, -np.inf).ravel()
    # A stable sort takes the earlier of equal scores, whatever the number of answers.
    for best in np.argsort(-scores, kind="stable")[: min(n_best, int(allowed.sum()))]:
        first, length = divmod(int(best), max_answer_length)
        yield int(firsts[first]), int(lasts[first, length]), float(scores[best])
