"""How alike two sentences are, by the cosine of their vectors."""

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

# Numbers from 0 to 1 where most is 5, the usual scale, are no accident; from 0 to 2 they may be.
_FAR_BELOW = 4


class Sentences(Task):
    """Pairs of texts, each a sequence of its own; the encoder's vectors are all there is to train.

    Args:
        data: pairs with a number each.
        tokenizer: of the rows.
        max_length: of a text.
        pooling: what a sentence's vector is.
        loss: what it is trained on.
        temperature: of the contrastive loss.
        most: the number that says that two sentences mean the same; 0 says that they have nothing in common.
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
        """One row of two sequences for each pair."""
        texts = iter(self.tokenizer.encode([text for example in examples for text in example.texts]))
        rows = []
        for index, example in enumerate(examples):
            if len(example.texts) != 2:
                raise UserError(
                    f"example {example.id} has {len(example.texts)} text, and sentences are compared in pairs"
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
        """The cosine of each pair."""
        return [
            Prediction(id=example.id, value=float(each["logits_0"][0]))
            for example, each in zip(examples, logits, strict=True)
        ]

    def complete(self, directory: Path) -> None:
        """Adds the files from which sentence-transformers and `flax_lite.pipeline` know the pooling."""
        write_sentence_transformers(directory, self.pooling, normalize=True, max_length=self.max_length)

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """The loss of pairs."""
        if teaching is not None:
            raise UserError("a sentence encoder's teacher works on plain text: see configs/sentence_student.py")
        if self.loss == "cosine":
            self._check_scale()
        try:
            return sentence_objective(self.loss, self.pooling, temperature=self.temperature)
        except ValueError as error:
            raise UserError(f"sentences: {error}") from error

    def _check_scale(self) -> None:
        """Refuses numbers that are not on the scale which is said: their cosines would be others than are meant.

        With `most` of 1 they may be cosines, from -1 on.
        """
        scores = {example.id: float(example.label) for example in self.data.train}  # type: ignore[union-attr,arg-type]
        least = -1.0 if self.most == 1 else 0.0
        wrong = [name for name, score in scores.items() if not least <= score <= self.most]
        largest = max(scores.values(), default=0.0)
        cure = f"--config.sentences.most={largest:g} if that is what two sentences get that mean the same"
        if wrong:
            raise UserError(
                f"{len(wrong)} of {len(scores)} training pairs have a number that is not from {least:g} to "
                f"sentences.most={self.most:g}, the first being {scores[wrong[0]]:g} of pair {wrong[0]}. Give {cure}; "
                "remove what is none."
            )
        if largest <= self.most / _FAR_BELOW:
            raise UserError(
                f"No training pair has a number above {largest:g}, and sentences.most={self.most:g} is what two "
                f"sentences get that mean the same: their cosines would be {largest / self.most:g} at most. "
                f"Give {cure}."
            )

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """The cosines of a held-out batch."""
        step = make_sentence_eval_step(structure, self.pooling)
        return lambda params, batch, *constants: {**step(params, batch), "row": batch["row"]}
