"""Question answering: finds answers in a context, with a span head or with ALBERT's head for SQuAD 2."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from scipy import special

from flax_lite.pipelines.base import InputError, Pipeline, Request
from flax_lite.pipelines.options import check_count
from flax_lite.pipelines.programs import Outputs, Row
from flax_lite.question_answering.answers import AnswerSpan
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import Window, question_windows

# Defaults of transformers' pipeline: maximum tokens of a row, and tokens shared by two windows of a context.
_MAX_LENGTH, _DOC_STRIDE = 384, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions:
    """Options of the task.

    Attributes:
        top_k: number of answers to return, best first; with 1 (default) the answer itself, not a list.
        handle_impossible_answer: whether "" (no answer) is a possible answer.
        max_answer_len: maximum number of tokens of an answer.
        align_to_words: whether to extend answers to whole words.
        doc_stride: number of tokens shared by two consecutive windows of a context that does not fit into one row; half
            a window if a window is not longer than that. Default: 128, or half of max_length if that is less.
        max_question_len: maximum number of tokens of a question; a longer one is truncated, with one warning.
    """

    top_k: int = 1
    handle_impossible_answer: bool = False
    max_answer_len: int = 15
    align_to_words: bool = True
    doc_stride: int | None = None
    max_question_len: int = 64

    def __post_init__(self) -> None:
        for name in ("top_k", "max_answer_len", "max_question_len"):
            check_count(name, getattr(self, name))
        if self.doc_stride is not None:
            check_count("doc_stride", self.doc_stride, 0)


class QuestionAnswering(Pipeline[QuestionAnsweringOptions]):
    """Finds the answer to a question in a context.

    Takes {"question", "context"}, or keyword arguments of these names. Returns a dictionary, or a list of them:

    - score: probability of the answer.
    - start, end: character span of the answer in the context.
    - answer: text of the answer.

    As in Hugging Face's pipeline, the score is the probability of the answer's first token as the start times that of
    its last token as the end, over the tokens of the context and [CLS]. Answers with the same text are merged, and
    their scores added, also over the windows of a long context.
    """

    task = "question-answering"
    options_type = QuestionAnsweringOptions
    _is_by_token = True
    _takes = '{"question": ..., "context": ...}'

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None, **options: Any) -> None:
        """Creates a pipeline, as `Pipeline`, but with a default `max_length` of 384, or the model's maximum if less."""
        default = min(_MAX_LENGTH, model.config.max_position_embeddings)
        super().__init__(model, tokenizer, max_length=max_length or default, **options)

    def __call__(
        self,
        inputs: Any = None,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """Answers one question or several.

        Args:
            inputs: {"question", "context"}, or several of them, as for `Pipeline`.
            question: instead of `inputs`, a question or several.
            context: the context of each question, or one context for all.
            options: options of the task for this call.

        Returns:
            The answers to each question, see the class.

        Raises:
            InputError: if a question or context is not a string, is empty, or does not fit; a ValueError.
            ValueError: if both or neither of `inputs` and keyword arguments are given, or an option is invalid.
            TypeError: if the task has no such option.
        """
        if inputs is None:
            inputs = _as_dictionaries(question, context)
        elif question is not None or context is not None:
            raise ValueError("give dictionaries, or question= and context=, not both")
        return super().__call__(inputs, **options)

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"start": output.start_logits, "end": output.end_logits}

    def _preprocess(self, inputs: Sequence[Any], options: QuestionAnsweringOptions, first: int) -> list[Request]:
        return [self._request(given, first + number, options) for number, given in enumerate(inputs)]

    def _request(self, given: Any, number: int, options: QuestionAnsweringOptions) -> Request:
        if not isinstance(given, Mapping) or given.keys() != {"question", "context"}:
            raise InputError(number, f"is {given!r:.100}; {self.task} takes {self._takes}")
        for name, text in given.items():
            if not isinstance(text, str) or not text.strip():
                raise InputError(number, f"has the {name} {text!r:.50}; expected a string that is not empty")
        try:
            windows = self._windows(given["question"], given["context"], options)
        except ValueError as error:
            raise InputError(number, f"has no room or no text: {error}") from error
        rows = [Row(window.tokens, window.second) for window in windows]
        return Request(given, rows, windows)

    def _windows(self, question: str, context: str, options: QuestionAnsweringOptions) -> list[Window]:
        (ids,) = self.tokenizer.encode([question])
        kept = min(len(ids), options.max_question_len)
        self._warn_truncated(len(ids), kept, "question", f"max_question_len={options.max_question_len}")
        room = self.max_length - kept - self.tokenizer.template.pair_size
        shared = min(_DOC_STRIDE, self.max_length // 2) if options.doc_stride is None else options.doc_stride
        return question_windows(
            self.tokenizer,
            [question],
            [context],
            max_length=self.max_length,
            doc_stride=max(1, room - (shared if shared < room else room // 2)),
            max_question_length=options.max_question_len,
        )

    def _reduce_row(self, request: Request, number: int, outputs: Outputs, options: QuestionAnsweringOptions) -> Any:
        window = request.notes[number]
        size = len(window.tokens)
        allowed = window.spans[:, 0] >= 0
        allowed[0] = True
        start, end = (np.where(allowed, outputs[name][:size].astype(np.float64), -np.inf) for name in ("start", "end"))
        # Log probabilities, so that spans are still ordered if their probabilities underflow to 0.
        return special.log_softmax(start), special.log_softmax(end)

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: QuestionAnsweringOptions) -> Any:
        context, found = request.given["context"], []
        for window, (start, end) in zip(request.notes, outputs, strict=True):
            for first, last, score in _best_spans(window, start, end, options, self._num_candidates(options)):
                if options.align_to_words:
                    first, last = self._whole_words(window, first, last, context)
                found.append(((int(window.spans[first, 0]), int(window.spans[last, 1])), score))
        null_score = None
        if options.handle_impossible_answer:
            null_score = min(np.exp(start[0] + end[0]) for start, end in outputs)
        return merge_answers(context, found, null_score, options.top_k)

    def _num_candidates(self, options: QuestionAnsweringOptions) -> int:
        """Returns the number of candidates, as in transformers' pipeline: some are merged when extended to words."""
        return options.top_k * 2 + 10 if options.align_to_words else options.top_k

    def _whole_words(self, window: Window, first: int, last: int, context: str) -> tuple[int, int]:
        """Returns the first token of the word of `first`, and the last token of the word of `last`."""
        while self._continues_word(window, first, context):
            first -= 1
        while self._continues_word(window, last + 1, context):
            last += 1
        return first, last

    def _continues_word(self, window: Window, token: int, context: str) -> bool:
        """Returns whether a token is in the same word as the token before it."""
        (previous_start, previous_end), (start, end) = window.spans[token - 1], window.spans[token]
        if not 0 <= previous_start < previous_end <= start < end:  # one of the two is not in the context
            return False
        if self.tokenizer.kind == "wordpiece":
            return not self.tokenizer.starts_word[window.tokens[token]]
        return not context[start - 1].isspace()


def _as_dictionaries(question: str | Sequence[str] | None, context: str | Sequence[str] | None) -> Any:
    """Converts keyword arguments to a dictionary, or to a list of dictionaries."""
    if question is None or context is None:
        raise ValueError("question-answering needs a question and a context")
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    questions = [question] if isinstance(question, str) else question
    contexts = [context] * len(questions) if isinstance(context, str) else context
    if len(questions) != len(contexts):
        raise ValueError(
            f"{len(questions)} questions but {len(contexts)} contexts; expected one for each question, or one for all"
        )
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]


def merge_answers(
    context: str, found: Iterable[tuple[tuple[int, int], float]], null_score: float | None, top_k: int
) -> dict[str, Any] | list[dict[str, Any]]:
    """Merges answers with the same text, and returns the best.

    Args:
        context: the context of the answers.
        found: character span and score of each answer. The scores of answers with equal text, ignoring case, are added;
            the first of them determines the span.
        null_score: score of "no answer"; None if it is not a possible answer.
        top_k: maximum number of answers.

    Returns:
        Dictionaries, best first; with a `top_k` of 1 the best one, not a list.
    """
    answers: dict[str, dict[str, Any]] = {}
    for (start, end), score in found:
        text = context[start:end]
        answer = answers.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
        answer["score"] += score
    results = list(answers.values())
    if null_score is not None:
        results.append({"score": float(null_score), "start": 0, "end": 0, "answer": ""})
    results.sort(key=lambda result: -result["score"])
    return results[0] if top_k == 1 else results[:top_k]


def _best_spans(
    window: Window,
    start: Float[np.ndarray, "t"],
    end: Float[np.ndarray, "t"],
    options: QuestionAnsweringOptions,
    count: int,
) -> list[tuple[int, int, float]]:
    """Returns the `count` most likely token spans (first, last) of a window with their scores.

    `start` and `end` are log probabilities; a score is exp(start + end).
    """
    visible = window.spans[:, 0] < window.spans[:, 1]
    allowed = np.tril(np.triu(np.outer(visible, visible)), options.max_answer_len - 1)
    scores = np.where(allowed, start[:, None] + end, -np.inf)
    best = np.argsort(-scores, axis=None, kind="stable")[: min(count, int(allowed.sum()))]
    spans = np.stack(np.unravel_index(best, scores.shape), axis=1).tolist()
    return [(first, last, float(np.exp(scores[first, last]))) for first, last in spans]


_BEAMS = ("start_tokens", "start_log_probs", "end_tokens", "end_log_probs")


class BeamAnswers(QuestionAnswering):
    """Question answering with ALBERT's head for SQuAD 2.

    Scores are the probabilities of `flax_lite.question_answering.beam_decoding.decode_beams`; they and the probability
    of "no answer" sum to 1. "No answer" is predicted by the head; it is a possible result with
    `handle_impossible_answer`, and the only result if no beam has an answer.
    """

    _is_by_token = False

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {name: getattr(output, name) for name in (*_BEAMS, "null_logits")}

    def _reduce_row(self, request: Request, number: int, outputs: Outputs, options: QuestionAnsweringOptions) -> Any:
        return Beams(*(outputs[name] for name in _BEAMS), null_logit=float(outputs["null_logits"]))

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: QuestionAnsweringOptions) -> Any:
        context, windows = request.given["context"], request.notes
        limits = {"n_best": self._num_candidates(options), "max_answer_length": options.max_answer_len}
        answers, null_logit = decode_beams(windows, outputs, context, **limits)
        found = [
            (
                self._align(windows, answer, context) if options.align_to_words else (answer.start, answer.end),
                answer.probability,
            )
            for answer in answers
        ]
        null_score = special.expit(null_logit) if options.handle_impossible_answer or not found else None
        return merge_answers(context, found, null_score, options.top_k)

    def _align(self, windows: Sequence[Window], answer: AnswerSpan, context: str) -> tuple[int, int]:
        """Returns the character span of an answer, extended to whole words."""
        for window in windows:
            firsts = np.flatnonzero(window.spans[:, 0] == answer.start)
            lasts = np.flatnonzero(window.spans[:, 1] == answer.end)
            if len(firsts) and len(lasts):
                first, last = self._whole_words(window, int(firsts[0]), int(lasts[-1]), context)
                return int(window.spans[first, 0]), int(window.spans[last, 1])
        return answer.start, answer.end
