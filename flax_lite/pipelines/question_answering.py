"""Where in a context a question is answered, by a span head or by ALBERT's head for SQuAD 2."""

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

# As transformers' pipeline: the longest row, and the most tokens that two windows of a context share.
_MAX_LENGTH, _DOC_STRIDE = 384, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions:
    """What counts as an answer.

    Attributes:
        top_k: answers to give, best first; 1 gives the best alone, not in a list.
        handle_impossible_answer: whether "" (no answer) takes part.
        max_answer_len: of an answer, in tokens.
        align_to_words: whether an answer is widened to whole words.
        doc_stride: tokens that two neighboring windows share, of a context that does not fit into one row; half a
            window where it is not longer than that. None: 128, or half a row.
        max_question_len: tokens of a question; a longer one loses its end, which is said once.
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
    """Takes {"question", "context"}, or keyword arguments of these names; gives {"score", "start", "end", "answer"}.

    As in Hugging Face's pipeline, the score is the probability of an answer's first token as a start times that of its
    last as an end, among the tokens of the context and [CLS]; answers of the same text are one, with the sum of their
    scores, also over the windows of a context that does not fit into one row.
    """

    task = "question-answering"
    options_type = QuestionAnsweringOptions
    _is_by_token = True
    _takes = '{"question": ..., "context": ...}'

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None, **options: Any) -> None:
        """As every pipeline; rows are at most 384 tokens long unless `max_length` says otherwise."""
        usual = min(_MAX_LENGTH, model.config.max_position_embeddings)
        super().__init__(model, tokenizer, max_length=max_length or usual, **options)

    def __call__(
        self,
        inputs: Any = None,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """See Pipeline; or a question with a context, or as many of both, or several with one context."""
        if inputs is None:
            inputs = _asked(question, context)
        elif question is not None or context is not None:
            raise ValueError("give dictionaries, or question= and context=, not both")
        return super().__call__(inputs, **options)

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"start": output.start_logits, "end": output.end_logits}

    def _encode(self, inputs: Sequence[Any], options: QuestionAnsweringOptions, first: int) -> list[Request]:
        return [self._request(given, first + number, options) for number, given in enumerate(inputs)]

    def _request(self, given: Any, number: int, options: QuestionAnsweringOptions) -> Request:
        if not isinstance(given, Mapping) or given.keys() != {"question", "context"}:
            raise InputError(number, f"is {given!r:.100}; {self.task} takes {self._takes}")
        for name, text in given.items():
            if not isinstance(text, str) or not text.strip():
                raise InputError(number, f"has the {name} {text!r:.50}, expected a string that is not empty")
        try:
            windows = self._windows(given["question"], given["context"], options)
        except ValueError as error:
            raise InputError(number, f"has no room or no text: {error}") from error
        rows = [Row(window.tokens, window.second) for window in windows]
        return Request(given, rows, windows)

    def _windows(self, question: str, context: str, options: QuestionAnsweringOptions) -> list[Window]:
        (ids,) = self.tokenizer.encode([question])
        kept = min(len(ids), options.max_question_len)
        self._cut(len(ids), kept, "question", f"max_question_len={options.max_question_len}")
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

    def _read(self, request: Request, number: int, outputs: Outputs, options: QuestionAnsweringOptions) -> Any:
        window = request.notes[number]
        size = len(window.tokens)
        allowed = window.spans[:, 0] >= 0
        allowed[0] = True
        logits = (np.where(allowed, outputs[name][:size].astype(np.float64), -np.inf) for name in ("start", "end"))
        # In logarithms a span stays behind one that is likelier where the probabilities of both round to 0.
        return tuple(special.log_softmax(each) for each in logits)

    def _decode(self, request: Request, outputs: Sequence[Any], options: QuestionAnsweringOptions) -> Any:
        context, found = request.given["context"], []
        for window, (start, end) in zip(request.notes, outputs, strict=True):
            for first, last, score in _best_spans(window, start, end, options, self._candidates(options)):
                if options.align_to_words:
                    first, last = self._whole_words(window, first, last, context)
                found.append(((int(window.spans[first, 0]), int(window.spans[last, 1])), score))
        nothing = min(np.exp(start[0] + end[0]) for start, end in outputs) if options.handle_impossible_answer else None
        return best_of(context, found, nothing, options.top_k)

    def _candidates(self, options: QuestionAnsweringOptions) -> int:
        """As many as transformers' pipeline takes: some become one when they are widened to words."""
        return options.top_k * 2 + 10 if options.align_to_words else options.top_k

    def _whole_words(self, window: Window, first: int, last: int, context: str) -> tuple[int, int]:
        """The tokens that begin and end the words of two tokens."""
        while self._continues(window, first, context):
            first -= 1
        while self._continues(window, last + 1, context):
            last += 1
        return first, last

    def _continues(self, window: Window, place: int, context: str) -> bool:
        """Whether a token belongs to the word of the one before it."""
        (before, end), (start, stop) = window.spans[place - 1], window.spans[place]
        if not 0 <= before < end <= start < stop:  # one of the two is not of the context
            return False
        if self.tokenizer.kind == "wordpiece":
            return not self.tokenizer.starts_word[window.tokens[place]]
        return not context[start - 1].isspace()


def _asked(question: str | Sequence[str] | None, context: str | Sequence[str] | None) -> Any:
    """Dictionaries of keyword arguments: one, or a list."""
    if question is None or context is None:
        raise ValueError("question-answering needs a question and a context")
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    questions = [question] if isinstance(question, str) else question
    contexts: Iterable[str] = [context] * len(questions) if isinstance(context, str) else context
    if len(questions) != len(list(contexts)):
        raise ValueError(
            f"{len(questions)} questions but {len(list(contexts))} contexts; expected one for each, or one"
        )
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]


def best_of(
    context: str, found: Iterable[tuple[tuple[int, int], float]], nothing: float | None, top_k: int
) -> dict[str, Any] | list[dict[str, Any]]:
    """Results, best first; one alone, not in a list, for a `top_k` of 1.

    Args:
        context: which the answers are of.
        found: characters of each and its score, in the order in which they were found. Of those with one text, but for
            its case, the scores are added.
        nothing: the score of "no answer"; None where that is no result.
        top_k: how many at most.
    """
    answers: dict[str, dict[str, Any]] = {}
    for (start, end), score in found:
        text = context[start:end]
        answer = answers.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
        answer["score"] += score
    results = list(answers.values())
    if nothing is not None:
        results.append({"score": float(nothing), "start": 0, "end": 0, "answer": ""})
    results.sort(key=lambda each: -each["score"])
    return results[0] if top_k == 1 else results[:top_k]


def _best_spans(
    window: Window,
    start: Float[np.ndarray, "t"],
    end: Float[np.ndarray, "t"],
    options: QuestionAnsweringOptions,
    count: int,
) -> list[tuple[int, int, float]]:
    """The `count` best first and last tokens in a window by their logarithmic probabilities, with their scores."""
    visible = window.spans[:, 0] < window.spans[:, 1]
    allowed = np.tril(np.triu(np.outer(visible, visible)), options.max_answer_len - 1)
    scores = np.where(allowed, start[:, None] + end, -np.inf)
    best = np.argsort(-scores, axis=None, kind="stable")[: min(count, int(allowed.sum()))]
    places = np.stack(np.unravel_index(best, scores.shape), axis=1).tolist()
    return [(first, last, float(np.exp(scores[first, last]))) for first, last in places]


_BEAMS = ("start_tokens", "start_log_probs", "end_tokens", "end_log_probs")


class BeamAnswers(QuestionAnswering):
    """As QuestionAnswering; scores are probabilities by `flax_lite.question_answering.beam_decoding.decode_beams`.

    They sum to 1 with that of no answer, which is the head's own and takes part with `handle_impossible_answer`; it
    is also the result where the beams hold no answer at all.
    """

    _is_by_token = False

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {name: getattr(output, name) for name in (*_BEAMS, "null_logits")}

    def _read(self, request: Request, number: int, outputs: Outputs, options: QuestionAnsweringOptions) -> Any:
        return Beams(*(outputs[name] for name in _BEAMS), null_logit=float(outputs["null_logits"]))

    def _decode(self, request: Request, outputs: Sequence[Any], options: QuestionAnsweringOptions) -> Any:
        context, windows = request.given["context"], request.notes
        limits = {"n_best": self._candidates(options), "max_answer_length": options.max_answer_len}
        answers, null_logit = decode_beams(windows, outputs, context, **limits)
        found = [
            (self._place(windows, answer, context, align_to_words=options.align_to_words), answer.probability)
            for answer in answers
        ]
        nothing = special.expit(null_logit) if options.handle_impossible_answer or not found else None
        return best_of(context, found, nothing, options.top_k)

    def _place(
        self, windows: Sequence[Window], answer: AnswerSpan, context: str, *, align_to_words: bool
    ) -> tuple[int, int]:
        """The characters of an answer, those of the words that it lies in if asked for."""
        for window in windows if align_to_words else ():
            firsts = np.flatnonzero(window.spans[:, 0] == answer.start)
            lasts = np.flatnonzero(window.spans[:, 1] == answer.end)
            if len(firsts) and len(lasts):
                first, last = self._whole_words(window, int(firsts[0]), int(lasts[-1]), context)
                return int(window.spans[first, 0]), int(window.spans[last, 1])
        return answer.start, answer.end
