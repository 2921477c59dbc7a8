"""Extractive question answering: with a span head, or with ALBERT's beam head for SQuAD 2."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.heads import QuestionAnswering
from flax_lite.models.params import with_params
from flax_lite.question_answering.answers import AnswerSpan, decode_answers, find_answer, null_score, token_span
from flax_lite.question_answering.beam import BeamQuestionAnswering, beam_objective
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import Window, question_windows
from flax_lite.tokenization import Tokenizer
from flax_lite.training.objective import Objective
from flax_lite.training.task_objectives import Teaching
from train.errors import UserError
from train.tasks.examples import Prediction, SpanExample, TaskData
from train.tasks.kinds.task import Task
from train.tasks.rows import Row, RowSet
from train.tasks.scores.squad_metric import Version

# Number of questions whose windows are in memory at a time; SQuAD's training set takes more than half a gigabyte.
_CHUNK = 4096
# For SQuAD 2, the prediction is "no answer" if its score minus that of the best answer is above this threshold
# (google-research/bert, run_squad.py, null_score_diff_threshold).
NULL_THRESHOLD = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanPrediction(Prediction):
    """A predicted answer.

    `value` is its text, or "" for no answer; `probabilities` is the score of "no answer" minus that of the best answer.

    Attributes:
        answers: the n best answers, best first, also if the prediction is "no answer"; used to find the best threshold.
    """

    answers: tuple[AnswerSpan, ...]


class Spans(Task):
    """Question answering by scores for the first and the last token of the answer (BERT, sections 4.2 and 4.3).

    A context that is longer than a row is split into overlapping windows. In a window without the whole answer, both
    labels are [CLS].

    Args:
        data: the questions.
        tokenizer: the tokenizer of the rows.
        max_length: maximum length of a row.
        version: "v2" if questions may have no answer, else "v1".
        doc_stride: number of tokens between the starts of consecutive windows; if None, every context has to fit into
            a row.
        max_question_length: maximum length of a question in tokens; longer ones are truncated.
        n_best: number of answers in a prediction.
        max_answer_length: maximum length of an answer in tokens.
    """

    kind = "spans"
    model_class = QuestionAnswering
    token_logits = True

    def __init__(
        self,
        data: TaskData,
        tokenizer: Tokenizer,
        max_length: int,
        *,
        version: Version,
        doc_stride: int | None,
        max_question_length: int,
        n_best: int,
        max_answer_length: int,
    ) -> None:
        super().__init__(data, tokenizer, max_length)
        self.version: Version = version
        self.doc_stride, self.max_question_length = doc_stride, max_question_length
        self.n_best, self.max_answer_length = n_best, max_answer_length

    @property
    def longest(self) -> str:
        """The length limit of a question; contexts are not truncated."""
        return f"data.max_question_length={self.max_question_length} tokens for a question"

    def encode(self, examples: Sequence[SpanExample]) -> list[Row]:
        """Returns a row for each window; the label is the first answer that occurs in the context."""
        spans = [_answer_span(example) for example in examples]
        rows = []
        for window in self._windows(examples):
            is_first = not rows or rows[-1].example != window.example
            self.num_truncated += is_first and window.question_length > self.max_question_length
            span = spans[window.example]
            start, end = token_span(window, *span) if span else (0, 0)
            labels = {"starts": np.asarray(start, np.int32), "ends": np.asarray(end, np.int32)}
            rows.append(Row(window.example, (window.tokens,), (window.second,), labels))
        return rows

    def predict(
        self, examples: Sequence[SpanExample], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Predicts the best answer over all windows of a question, or (v2) "no answer" if its score is higher."""
        # Rows do not keep their windows: computing them again is fast, and those of a training set need much memory.
        pairs = zip(self._windows(examples), logits, strict=True)
        groups = itertools.groupby(pairs, key=lambda pair: pair[0].example)
        return [self._decode(examples[index], list(group)) for index, group in groups]

    def _windows(self, examples: Sequence[SpanExample]) -> Iterator[Window]:
        for begin in range(0, len(examples), _CHUNK):
            part = examples[begin : begin + _CHUNK]
            try:
                windows = question_windows(
                    self.tokenizer,
                    [example.question for example in part],
                    [example.context for example in part],
                    max_length=self.max_length,
                    doc_stride=self.doc_stride,
                    max_question_length=self.max_question_length,
                )
            except ValueError as error:
                raise UserError(f"questions {part[0].id} to {part[-1].id}: {error}") from error
            for window in windows:
                yield dataclasses.replace(window, example=begin + window.example)

    def _decode(self, example: SpanExample, pairs: Sequence[tuple[Window, Mapping[str, np.ndarray]]]) -> SpanPrediction:
        windows = [window for window, _ in pairs]
        starts, ends = ([each[name] for _, each in pairs] for name in ("logits_0", "logits_1"))
        limits = {"n_best": self.n_best, "max_answer_length": self.max_answer_length}
        answers = tuple(decode_answers(windows, starts, ends, example.context, **limits))
        odds = null_score(starts, ends) - answers[0].score
        unanswered = self.version == "v2" and odds > NULL_THRESHOLD
        value = "" if unanswered else answers[0].text
        return SpanPrediction(id=example.id, value=value, probabilities=(odds,), answers=answers)


def _answer_span(example: SpanExample) -> tuple[int, int] | None:
    """Returns the character span of the first answer that occurs in the context."""
    for answer in example.answers:
        start = find_answer(example.context, answer.text, answer.start)
        if start is not None:
            return start, start + len(answer.text)
    return None


_BEAM_OUTPUTS = ("start_tokens", "start_log_probs", "end_tokens", "end_log_probs")


class BeamSpans(Spans):
    """As Spans, with the beam head of google-research/albert, run_squad_v2.py."""

    model_class = BeamQuestionAnswering

    def architectures(self, config: EncoderConfig) -> tuple[str, ...]:
        """Returns no name: the head is saved in a separate file, beside an encoder without pooler."""
        return ()

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """Returns the loss of start, end and answerability, each with weight one half."""
        if teaching is not None:
            raise UserError("distillation needs the simple head, whose logits a teacher has: give answers.head=simple")
        return beam_objective()

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """Returns the evaluation step: the beams of a batch, and its loss with ends conditioned on the true starts."""
        objective = beam_objective()

        def step(params: Any, batch: Mapping[str, jax.Array], *constants: Any) -> dict[str, jax.Array]:
            model = with_params(structure, params)
            sums = objective.sums(model, batch, None)
            loss = jnp.sum(jnp.stack([factor * sums[name] for name, factor in objective.losses.items()]))
            found = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
            beams = {name: getattr(found, name) for name in _BEAM_OUTPUTS}
            weight = jnp.sum(batch["row_weights"])
            return {"task_loss": loss, "weight": weight, "null_logits": found.null_logits, "row": batch["row"], **beams}

        return step

    def _decode(self, example: SpanExample, pairs: Sequence[tuple[Window, Mapping[str, np.ndarray]]]) -> SpanPrediction:
        windows = [window for window, _ in pairs]
        beams = [
            Beams(*(each[name] for name in _BEAM_OUTPUTS), null_logit=float(each["null_logits"])) for _, each in pairs
        ]
        limits = {"n_best": self.n_best, "max_answer_length": self.max_answer_length}
        answers, odds = decode_beams(windows, beams, example.context, **limits)
        unanswered = not answers or (self.version == "v2" and odds > NULL_THRESHOLD)
        value = "" if unanswered else answers[0].text
        return SpanPrediction(id=example.id, value=value, probabilities=(odds,), answers=tuple(answers))
