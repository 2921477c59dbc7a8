"""The base class of tasks: how examples become rows, which head is trained, and how predictions are decoded."""

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx

from flax_lite.architecture.config import EncoderConfig, Problem
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.layers import pick_layers
from flax_lite.checkpoints.sources.resolve import open_source, source_config
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import check_trained
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import TaskModel
from flax_lite.models.pretrained import architecture
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.question_answering.beam_files import open_head
from flax_lite.rows.buckets import bucket_lengths
from flax_lite.tokenization import Tokenizer
from flax_lite.training.objective import Objective
from flax_lite.training.task_objectives import Teaching, make_task_eval_step, task_objective
from train.data.vocabulary import check_tables
from train.errors import UserError
from train.tasks.examples import Kind, Prediction, TaskData
from train.tasks.readers.label_names import KnownLabels
from train.tasks.rows import Row, RowSet


class Task(abc.ABC):
    """A task with its data.

    Attributes:
        kind: the kind of its examples.
        model_class: the model class that is trained.
        label_padding: the padding value of each label that has one entry per token.
        token_logits: whether the head has logits for each token.
        data: the examples.
        tokenizer: the tokenizer of the rows.
        max_length: maximum length of a row.
        num_truncated: number of texts that have been truncated so far.
        num_token_types: number of token types in the rows so far: 2 if a row holds two texts.
    """

    kind: ClassVar[Kind]
    model_class: ClassVar[type[TaskModel[Any]] | type[Encoder] | type[BeamQuestionAnswering]]
    label_padding: ClassVar[Mapping[str, float]] = {}
    token_logits: ClassVar[bool] = False

    def __init__(self, data: TaskData, tokenizer: Tokenizer, max_length: int) -> None:
        self.data, self.tokenizer, self.max_length = data, tokenizer, max_length
        self.num_truncated, self.num_token_types = 0, 1

    @property
    def longest(self) -> str:
        """The length limit of texts, for the log."""
        return f"{self.max_length} tokens"

    @property
    def problem(self) -> Problem:
        """The kind of label of a text."""
        return self.data.problem

    def rows(self, examples: Sequence[Any]) -> RowSet:
        """Builds all rows of the examples."""
        fills = {**self.label_padding, **({"teacher_0": 0.0, "teacher_1": 0.0} if self.token_logits else {})}
        rows = self.encode(examples)
        if any(second < len(tokens) for row in rows for tokens, second in zip(row.tokens, row.seconds, strict=True)):
            self.num_token_types = 2
        return RowSet(rows, self.tokenizer.pad_id, bucket_lengths(self.max_length), fills)

    def architectures(self, config: EncoderConfig) -> tuple[str, ...]:
        """Returns Hugging Face's name of the model, if it has one."""
        return (architecture(self.model_class, config),)

    def complete(self, directory: Path) -> None:  # noqa: B027, most tasks have no further files
        """Adds the files of the task, other than weights, config and tokenizer, to a saved model."""

    def describe_truncation(self) -> list[str]:
        """Returns a line with the number of truncated texts; no line if there are none."""
        if not self.num_truncated:
            return []
        return [f"truncated: {self.num_truncated:,} texts are longer than {self.longest}"]

    def count_truncated(self, first: Sequence[int], second: Sequence[int] | None) -> None:
        """Counts a text or a pair if it is too long for a row."""
        template = self.tokenizer.template
        specials = template.single_size if second is None else template.pair_size
        self.num_truncated += len(first) + len(second or ()) + specials > self.max_length

    @abc.abstractmethod
    def encode(self, examples: Sequence[Any]) -> list[Row]:
        """Returns rows in the order of the examples; the label of an unlabeled example is arbitrary."""

    @abc.abstractmethod
    def predict(
        self, examples: Sequence[Any], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Returns the prediction for each example.

        Args:
            examples: the examples of `rows`.
            rows: their rows.
            logits: for each row, "logits_0", and "logits_1" if the head has two outputs.
        """

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """Returns the training objective.

        Raises:
            UserError: if the losses or weights do not fit the labels of the task.
        """
        try:
            return task_objective(
                self.kind, self.problem, class_weights=class_weights, task_weight=task_weight, teaching=teaching
            )
        except ValueError as error:
            raise UserError(f"losses, class_weights: {error}") from error

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """Returns the evaluation step, which computes the results of a held-out batch."""
        step = make_task_eval_step(structure, self.kind, self.problem)
        return lambda params, batch, *constants: {**step(params, batch), "row": batch["row"]}


def open_checkpoint(source: str, layers: Sequence[int] | None = None) -> Checkpoint:
    """Opens a checkpoint, or some of its layers, so that its checks and its parameters are of the same step.

    Raises:
        UserError: if it cannot be read, or has no such layers.
    """
    try:
        checkpoint = open_source(source)
        return checkpoint if layers is None else pick_layers(checkpoint, layers)
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error


def known_labels(values: Mapping[str, Any], model_class: type[TaskModel[Any]]) -> KnownLabels | None:
    """Returns the labels of the model of `checkpoint`, `init_from` or `teacher` that has the head of the task.

    Args:
        values: the options of the job; with new_head, the labels of init_from are ignored.
        model_class: the model class with the head.
    """
    init_from = None if values["new_head"] else values["init_from"]
    for source in filter(None, (values.get("checkpoint"), init_from, values["teacher"])):
        try:
            config = source_config(source)
        except (ValueError, OSError):  # it is reported when the parameters are read
            continue
        if architecture(model_class, config) in config.architectures:
            return KnownLabels(config.labels, source)
    return None


def check_labels(checkpoint: Checkpoint, source: str, task: Task, cure: str) -> None:
    """Checks that a checkpoint with a head for this kind of task has the labels of the task, or unnamed ones.

    Case is ignored, since many models on the hub have NEGATIVE where the data has negative.

    Args:
        checkpoint: the checkpoint.
        source: the name of the checkpoint, for messages.
        task: the task.
        cure: the end of the message.

    Raises:
        UserError: if the labels differ.
    """
    config, labels = checkpoint.config, task.data.labels
    has_head = bool(labels) and set(task.architectures(config)) <= set(config.architectures)
    unnamed = config.labels == tuple(f"LABEL_{index}" for index in range(len(labels)))
    same = [name.casefold() for name in config.labels] == [name.casefold() for name in labels]
    if has_head and not unnamed and not same:
        raise UserError(
            f"{source} has the labels {', '.join(config.labels)}, but the task has {', '.join(labels)}. {cure}"
        )


def load_trained_model(source: str, task: Task, execution: Execution, *, option: str, cure: str) -> Any:
    """Loads a model that was fine-tuned on this kind of task, with the labels of the task.

    Args:
        source: the checkpoint.
        task: the task.
        execution: the execution config of the model.
        option: the option that names the source, for messages.
        cure: the end of the message if the labels differ.

    Raises:
        UserError: if the checkpoint cannot be read, lacks a part of the head (which would be initialized randomly), has
            other labels, or has embedding tables that are too small for the rows.
    """
    checkpoint = open_checkpoint(source)
    check_tables(
        f"{option}={source}",
        checkpoint.config,
        task.tokenizer,
        length=task.max_length,
        num_types=task.num_token_types,
    )
    try:
        if task.model_class is BeamQuestionAnswering:
            if open_head(checkpoint) is None:
                raise ValueError(f"{checkpoint.path} has no beam head: give answers.head=simple, or another checkpoint")
        elif task.model_class is not Encoder:
            check_trained(checkpoint, task.data.kind, task.model_class)
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error
    check_labels(checkpoint, source, task, cure)
    try:
        return task.model_class.from_pretrained(checkpoint, execution=execution)
    except (ValueError, OSError) as error:
        raise UserError(f"{option}={source}: {error}") from error
