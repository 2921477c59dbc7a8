"""Decodes answers from the output of BeamQuestionAnswering."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from flax_lite.question_answering.answers import AnswerSpan, Candidate, answer_spans, best_spans
from flax_lite.question_answering.windows import Window


@dataclasses.dataclass(frozen=True, slots=True)
class Beams:
    """One row of a BeamAnswersOutput: K starts with M ends each.

    Attributes:
        start_tokens: token indices of the starts.
        start_log_probs: their log probabilities.
        end_tokens: token indices of the ends for each start.
        end_log_probs: their log probabilities given that start.
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
    """Returns the best answers over all windows, ranked as by `best_spans`, and the logit of "no answer".

    An answer's score is log p(start) + log p(end | start). The logit of "no answer" is the lowest of all windows: one
    window that sees an answer is enough. Its sigmoid is the probability of "no answer"; the answers share the rest in
    proportion to exp(score).

    Args:
        windows: all windows of one question, in any order.
        beams: beams of each window.
        context: the context of the windows.
        n_best: maximum number of answers to return.
        max_answer_length: maximum number of tokens of an answer.

    Returns:
        The answers, an empty list if no beam has a valid one; and the logit, to compare with a threshold.

    Raises:
        ValueError: if windows and beams differ in number, or as `best_spans`.

    Source: google-research/albert, run_squad_v2.py.
    """
    if len(windows) != len(beams):
        raise ValueError(f"beams of {len(beams)} rows for {len(windows)} windows; expected one row per window")
    candidates = [_candidates(window, row) for window, row in zip(windows, beams, strict=True)]
    spans = best_spans(windows, candidates, n_best=n_best, max_answer_length=max_answer_length)
    null_logit = min(float(row.null_logit) for row in beams)
    log_total = np.logaddexp.reduce([score for _, _, score in spans]) if spans else 0.0
    return answer_spans(context, spans, float(log_total) + null_logit), null_logit


def _candidates(window: Window, row: Beams) -> Iterator[Candidate]:
    size = len(window.tokens)
    for first, score, ends, end_scores in zip(
        row.start_tokens, row.start_log_probs, row.end_tokens, row.end_log_probs, strict=True
    ):
        for last, end_score in zip(ends, end_scores, strict=True):
            # If a row has fewer allowed tokens than the beam is wide, the other entries may point into the padding.
            if first < size and last < size:
                yield int(first), int(last), float(score) + float(end_score)
