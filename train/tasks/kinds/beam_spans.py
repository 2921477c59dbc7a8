"""Answers by ALBERT's head for SQuAD 2, which looks for ends behind a few starts and learns whether there is one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.state import with_params
from flax_lite.question_answering.beam import BeamQuestionAnswering, beam_objective
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import Window
from flax_lite.training.steps import Objective
from flax_lite.training.task_objectives import Teaching
from train.errors import UserError
from train.tasks.examples import SpanExample
from train.tasks.kinds.spans import NULL_THRESHOLD, SpanPrediction, Spans

_KEPT = ("start_tokens", "start_log_probs", "end_tokens", "end_log_probs")


class BeamSpans(Spans):
    """As Spans, with another head: google-research/albert, run_squad_v2.py."""

    model_class = BeamQuestionAnswering

    def architectures(self, config: EncoderConfig) -> tuple[str, ...]:
        """None: the head is in a file of its own, beside an encoder without its pooler."""
        return ()

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """Start, end and answerability, half of each."""
        if teaching is not None:
            raise UserError("a teacher's logits are those of the simple head: give answers.head=simple")
        return beam_objective()

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """The beams of a held-out batch, and its loss behind the right starts."""
        objective = beam_objective()

        def step(params: Any, batch: Mapping[str, jax.Array], *constants: Any) -> dict[str, jax.Array]:
            model = with_params(structure, params)
            sums = objective.sums(model, batch, None)
            loss = jnp.sum(jnp.stack([factor * sums[name] for name, factor in objective.losses.items()]))
            found = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
            kept = {name: getattr(found, name) for name in _KEPT}
            weight = jnp.sum(batch["row_weights"])
            return {"task_loss": loss, "weight": weight, "null_logits": found.null_logits, "row": batch["row"], **kept}

        return step

    def _decided(
        self, example: SpanExample, pairs: Sequence[tuple[Window, Mapping[str, np.ndarray]]]
    ) -> SpanPrediction:
        windows = [window for window, _ in pairs]
        beams = [Beams(*(each[name] for name in _KEPT), null_logit=float(each["null_logits"])) for _, each in pairs]
        limits = {"n_best": self.n_best, "max_answer_length": self.max_answer_length}
        answers, odds = decode_beams(windows, beams, example.context, **limits)
        silent = not answers or (self.version == "v2" and odds > NULL_THRESHOLD)
        value = "" if silent else answers[0].text
        return SpanPrediction(id=example.id, value=value, probabilities=(odds,), answers=tuple(answers))
