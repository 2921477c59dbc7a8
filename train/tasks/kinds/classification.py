"""Classification of texts and pairs of texts, and multiple choice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from flax_lite.models.heads import MultipleChoice, SequenceClassification
from train.tasks.examples import ChoiceExample, Prediction, TextExample
from train.tasks.kinds.task import Task
from train.tasks.rows import Row, RowSet, build_tokens

# google-research/albert, run_race.py: max_qa_length.
_MAX_CHOICE_LENGTH = 128


class Classification(Task):
    """Classification with one or several labels, or regression, of a text or a pair of texts."""

    kind = "classification"
    model_class = SequenceClassification

    def encode(self, examples: Sequence[TextExample]) -> list[Row]:
        """Returns one row for each example."""
        firsts = self.tokenizer.encode([example.texts[0] for example in examples])
        seconds = iter(self.tokenizer.encode([each.texts[1] for each in examples if len(each.texts) > 1]))
        rows = []
        for index, (example, first) in enumerate(zip(examples, firsts, strict=True)):
            second = next(seconds) if len(example.texts) > 1 else None
            self.count_truncated(first, second)
            tokens, second_start = build_tokens(self.tokenizer, first, second, self.max_length)
            rows.append(Row(index, (tokens,), (second_start,), {"labels": self._label(example)}))
        return rows

    def predict(
        self, examples: Sequence[TextExample], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Predicts the most probable label, all labels with a probability above 0.5, or the number."""
        logits_BC = np.stack([each["logits_0"] for each in logits]).astype(np.float64)
        return [Prediction(id=e.id, **self._decode(each)) for e, each in zip(examples, logits_BC, strict=True)]

    def _label(self, example: TextExample) -> np.ndarray:
        if self.problem == "single_label":
            return np.asarray(example.label or 0, np.int32)
        if self.problem == "regression":
            return np.array([example.label or 0.0], np.float32)
        return np.asarray(example.label or [0.0] * len(self.data.labels), np.float32)

    def _decode(self, logits: Float[np.ndarray, "C"]) -> dict[str, Any]:
        if self.problem == "regression":
            return {"value": float(logits[0])}
        if self.problem == "multi_label":
            p = special.expit(logits)
            return {"value": tuple((p > 0.5).astype(int).tolist()), "probabilities": tuple(p.tolist())}
        return {"value": int(logits.argmax()), "probabilities": tuple(special.softmax(logits).tolist())}


class Choices(Task):
    """Multiple choice: which of several continuations of a context is correct.

    Each sequence is [CLS] context [SEP] continuation [SEP]. A continuation keeps its last 128 tokens, and the context
    is truncated at its end (google-research/albert, race_utils.py).
    """

    kind = "choices"
    model_class = MultipleChoice

    def encode(self, examples: Sequence[ChoiceExample]) -> list[Row]:
        """Returns one row with a sequence per choice for each example."""
        contexts = self.tokenizer.encode([example.context for example in examples])
        choices = iter(self.tokenizer.encode([choice for example in examples for choice in example.choices]))
        rows = []
        for index, (example, context) in enumerate(zip(examples, contexts, strict=True)):
            continuations = [next(choices) for _ in example.choices]
            self.count_truncated(context, max(continuations, key=len))
            sequences = [
                build_tokens(self.tokenizer, context, each, self.max_length, _MAX_CHOICE_LENGTH)
                for each in continuations
            ]
            tokens, seconds = zip(*sequences, strict=True)
            rows.append(Row(index, tokens, seconds, {"labels": np.asarray(example.label or 0, np.int32)}))
        return rows

    def predict(
        self, examples: Sequence[ChoiceExample], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Predicts the most probable continuation."""
        p = special.softmax(np.stack([each["logits_0"] for each in logits]).astype(np.float64), axis=-1)
        return [
            Prediction(id=example.id, value=int(each.argmax()), probabilities=tuple(each.tolist()))
            for example, each in zip(examples, p, strict=True)
        ]
