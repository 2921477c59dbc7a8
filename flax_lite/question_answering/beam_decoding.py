"""Answers from what BeamQuestionAnswering returns."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from flax_lite.question_answering.answers import AnswerSpan, Candidate, answer_spans, best_places
from flax_lite.question_answering.windows import Window


@dataclasses.dataclass(frozen=True, slots=True)
class Beams:
    """One row of a BeamAnswersOutput: K starts with M ends each.

    Attributes:
        start_tokens: where the starts are.
        start_log_probs: their logarithmic probabilities.
        end_tokens: where the ends behind each start are.
        end_log_probs: their logarithmic probabilities behind that start.
        null_logit: the logit of "no answer".
    """

    start_tokens: Int[np.ndarray, "K"]
    start_log_probs: Float[np.ndarray, "K"]
    end_tokens: Int[np.ndarray, "K M"]
    end_log_probs: Float[np.ndarray, "K M"]
    null_logit: float


def decode_beams(
    windows: Sequence[Window],
    beams: Sequence[Beams],
    context: str,
    *,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> tuple[list[AnswerSpan], float]:
    """The best answers in all windows together, as `best_places` ranks them, and the logit of "no answer".

    An answer's score is log p(start) + log p(end | start). That of "no answer" is the least of the windows' logits:
    whichever window sees an answer decides. Its sigmoid is the probability of "no answer"; the answers share the rest
    by their scores.

    Args:
        windows: all those of one question, in any order.
        beams: of each window.
        context: which the windows are of.
        n_best: answers to return at most.
        max_answer_length: of an answer, in tokens.

    Returns:
        Answers, none where no beam holds one, and the logit, to be compared with a threshold.

    Raises:
        ValueError: if beams are not as many as windows, or as `best_places`.

    Source: google-research/albert, run_squad_v2.py.
    """
    if len(windows) != len(beams):
        raise ValueError(f"beams of {len(beams)} rows for {len(windows)} windows")
    candidates = [_candidates(window, row) for window, row in zip(windows, beams, strict=True)]
    places = best_places(windows, candidates, n_best=n_best, max_answer_length=max_answer_length)
    null_logit = min(float(row.null_logit) for row in beams)
    answered = np.logaddexp.reduce([score for _, _, score in places]) if places else 0.0
    return answer_spans(context, places, float(answered) + null_logit), null_logit


def _candidates(window: Window, row: Beams) -> Iterator[Candidate]:
    size = len(window.tokens)
    for first, score, ends, end_scores in zip(
        row.start_tokens, row.start_log_probs, row.end_tokens, row.end_log_probs, strict=True
    ):
        for last, end_score in zip(ends, end_scores, strict=True):
            # Where a row has fewer candidates than the beam is wide, the rest of it is anywhere, also in the padding.
            if first < size and last < size:
                yield int(first), int(last), float(score) + float(end_score)
