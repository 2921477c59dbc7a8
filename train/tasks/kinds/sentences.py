"""Sentence similarity: the cosine of the embeddings of two sentences."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from flax_lite.checkpoints.sentence_transformers import write_sentence_transformers
from flax_lite.models.encoder import Encoder
from flax_lite.tokenization import Tokenizer
from flax_lite.training.objective import Objective
from flax_lite.training.sentence_objectives import Loss, Pooling, make_sentence_eval_step, sentence_objective
from flax_lite.training.task_objectives import Teaching
from train.errors import UserError
from train.tasks.examples import Prediction, TaskData, TextExample
from train.tasks.kinds.task import Task
from train.tasks.rows import Row, RowSet, build_tokens

# Scores up to 1 with `most` = 5 (the usual scale) cannot be an accident, while scores up to 2 can.
_SUSPICIOUS_RATIO = 4


class Sentences(Task):
    """Similarity of pairs of texts, which are separate sequences; the encoder has no head.

    Args:
        data: pairs of texts with a score each.
        tokenizer: the tokenizer of the rows.
        max_length: maximum length of a text in tokens.
        pooling: how token vectors are pooled to a sentence embedding.
        loss: the training loss.
        temperature: temperature of the contrastive loss.
        most: the score of two sentences with the same meaning; 0 is the score of unrelated ones.
    """

    kind = "sentences"
    model_class = Encoder

    def __init__(
        self,
        data: TaskData,
        tokenizer: Tokenizer,
        max_length: int,
        *,
        pooling: Pooling,
        loss: Loss,
        temperature: float,
        most: float,
    ) -> None:
        super().__init__(data, tokenizer, max_length)
        self.pooling: Pooling = pooling
        self.loss: Loss = loss
        self.temperature, self.most = temperature, most

    def encode(self, examples: Sequence[TextExample]) -> list[Row]:
        """Returns one row with two sequences for each pair."""
        texts = iter(self.tokenizer.encode([text for example in examples for text in example.texts]))
        rows = []
        for index, example in enumerate(examples):
            if len(example.texts) != 2:
                raise UserError(
                    f"example {example.id} has {len(example.texts)} text, expected a pair of sentences to compare"
                )
            both = [next(texts), next(texts)]
            for text in both:
                self.count_truncated(text, None)
            tokens, seconds = zip(
                *(build_tokens(self.tokenizer, text, None, self.max_length) for text in both), strict=True
            )
            label = np.array([float(example.label or 0.0) / self.most], np.float32)  # type: ignore[arg-type]
            rows.append(Row(index, tokens, seconds, {"labels": label}))
        return rows

    def predict(
        self, examples: Sequence[TextExample], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Predicts the cosine of each pair."""
        return [
            Prediction(id=example.id, value=float(each["logits_0"][0]))
            for example, each in zip(examples, logits, strict=True)
        ]

    def complete(self, directory: Path) -> None:
        """Writes the files in which sentence-transformers and `flax_lite.pipeline` find the pooling."""
        write_sentence_transformers(directory, self.pooling, normalize=True, max_length=self.max_length)

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """Returns the training objective for pairs."""
        if teaching is not None:
            raise UserError(
                "a sentence encoder is distilled on plain text, not on labeled pairs: see configs/sentence_student.py"
            )
        if self.loss == "cosine":
            self._check_scale()
        try:
            return sentence_objective(self.loss, self.pooling, temperature=self.temperature)
        except ValueError as error:
            raise UserError(f"sentences: {error}") from error

    def _check_scale(self) -> None:
        """Checks that the scores are on the scale from 0 to `most`, from which the target cosines are computed.

        With `most` = 1 they may be cosines, from -1 to 1.

        Raises:
            UserError: if a score is out of range, or all scores are far below `most`.
        """
        scores = {example.id: float(example.label) for example in self.data.train}  # type: ignore[union-attr,arg-type]
        least = -1.0 if self.most == 1 else 0.0
        wrong = [name for name, score in scores.items() if not least <= score <= self.most]
        largest = max(scores.values(), default=0.0)
        cure = f"Give --config.sentences.most={largest:g} if that is the score of two sentences with the same meaning"
        if wrong:
            raise UserError(
                f"{len(wrong)} of {len(scores)} training pairs have a score that is not from {least:g} to "
                f"sentences.most={self.most:g}, for example {scores[wrong[0]]:g} of pair {wrong[0]}. {cure}, and "
                "remove invalid pairs."
            )
        if largest <= self.most / _SUSPICIOUS_RATIO:
            raise UserError(
                f"No training pair has a score above {largest:g}, but sentences.most={self.most:g} is the score of two "
                f"sentences with the same meaning: cosines would be at most {largest / self.most:g}. {cure}."
            )

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """Returns the evaluation step, which computes the cosines of a batch."""
        step = make_sentence_eval_step(structure, self.pooling)
        return lambda params, batch, *constants: {**step(params, batch), "row": batch["row"]}
