"""Where in a context a question is answered, by a model with ALBERT's head for SQuAD 2."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from flax_lite.pipelines.base import Request
from flax_lite.pipelines.programs import Outputs
from flax_lite.pipelines.question_answering import QuestionAnswering, QuestionAnsweringOptions, best_of
from flax_lite.question_answering.answers import AnswerSpan
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import Window

_BEAMS = ("start_tokens", "start_log_probs", "end_tokens", "end_log_probs")


class BeamAnswers(QuestionAnswering):
    """As QuestionAnswering; scores are probabilities by `flax_lite.question_answering.beam_decoding.decode_beams`.

    They sum to 1 with that of no answer, which is the head's own and takes part with `handle_impossible_answer`; it
    is also the result where the beams hold no answer at all.
    """

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
        nothing = 1 / (1 + np.exp(-null_logit)) if options.handle_impossible_answer or not found else None
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
