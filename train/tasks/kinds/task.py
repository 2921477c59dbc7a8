"""A labeled task as the fine-tuning job sees it: rows to read, a head to train, predictions to score."""

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx

from flax_lite.architecture.config import EncoderConfig, Problem
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sources.resolve import open_source
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
    """A task's data with what a kind of task makes of them.

    Attributes:
        kind: of the examples.
        model_class: the model whose head is trained.
        label_padding: what fills labels that have tokens on their first axis.
        token_logits: whether the head has logits for each token.
        data: the examples.
        tokenizer: of the rows.
        max_length: of a row.
        num_truncated: texts so far that lost their end.
        num_token_types: of the rows so far: 2 where one of them holds two texts.
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
        """What texts that lose their end are longer than."""
        return f"{self.max_length} tokens"

    @property
    def problem(self) -> Problem:
        """What labels of a text are."""
        return self.data.problem

    def rows(self, examples: Sequence[Any]) -> RowSet:
        """All rows of some examples."""
        fills = {**self.label_padding, **({"teacher_0": 0.0, "teacher_1": 0.0} if self.token_logits else {})}
        rows = self.encode(examples)
        if any(second < len(tokens) for row in rows for tokens, second in zip(row.tokens, row.seconds, strict=True)):
            self.num_token_types = 2
        return RowSet(rows, self.tokenizer.pad_id, bucket_lengths(self.max_length), fills)

    def architectures(self, config: EncoderConfig) -> tuple[str, ...]:
        """Hugging Face's name of the model, if it has one."""
        return (architecture(self.model_class, config),)

    def complete(self, directory: Path) -> None:  # noqa: B027, most tasks have nothing
        """Adds to a saved model what the task has beside weights, config and tokenizer."""

    def describe_truncation(self) -> list[str]:
        """In a line, how many texts lost their end; in none if all fit."""
        if not self.num_truncated:
            return []
        return [f"cut: {self.num_truncated:,} texts are longer than {self.longest} and lose their end"]

    def count_truncated(self, first: Sequence[int], second: Sequence[int] | None) -> None:
        """Counts a text or pair that is too long for a row."""
        template = self.tokenizer.template
        specials = template.single_size if second is None else template.pair_size
        self.num_truncated += len(first) + len(second or ()) + specials > self.max_length

    @abc.abstractmethod
    def encode(self, examples: Sequence[Any]) -> list[Row]:
        """Rows in the order of their examples; one whose label is not known has any label."""

    @abc.abstractmethod
    def predict(
        self, examples: Sequence[Any], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """The prediction of each example.

        Args:
            examples: those that `rows` were made of.
            rows: their rows.
            logits: of each row, by decision: "logits_0", and "logits_1" where there are two.
        """

    def objective(
        self, class_weights: Sequence[float] | None, task_weight: float, teaching: Teaching | None
    ) -> Objective:
        """What is optimized.

        Raises:
            UserError: if losses or weights do not fit the task's labels.
        """
        try:
            return task_objective(
                self.kind, self.problem, class_weights=class_weights, task_weight=task_weight, teaching=teaching
            )
        except ValueError as error:
            raise UserError(f"losses, class_weights: {error}") from error

    def eval_step(self, structure: nnx.GraphDef) -> Callable[..., dict[str, jax.Array]]:
        """What is kept of a held-out batch."""
        step = make_task_eval_step(structure, self.kind, self.problem)
        return lambda params, batch, *constants: {**step(params, batch), "row": batch["row"]}


def open_checkpoint(source: str) -> Checkpoint:
    """A checkpoint, opened once for its checks and its parameters: those of one step.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return open_source(source)
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error


def known_labels(values: Mapping[str, Any], model_class: type[TaskModel[Any]]) -> KnownLabels | None:
    """The labels of the model that a job scores or begins with, else of its teacher, if it has a head for such labels.

    Args:
        values: the job's options; with new_head, the model to begin with has none that count.
        model_class: with that head.
    """
    begun_with = None if values["new_head"] else values["init_from"]
    for source in filter(None, (values.get("checkpoint"), begun_with, values["teacher"])):
        try:
            config = open_checkpoint(source).config
        except UserError:  # which is said where its parameters are read
            continue
        if architecture(model_class, config) in config.architectures:
            return KnownLabels(config.labels, source)
    return None


def check_labels(checkpoint: Checkpoint, source: str, task: Task, cure: str) -> None:
    """Sees to it that a checkpoint with a head for this kind of task means the task's labels; unnamed ones may.

    Case is no difference: half of the models on the hub write NEGATIVE where the data has negative.

    Args:
        checkpoint: as `open_checkpoint`.
        source: where it is from, for the message.
        task: the task.
        cure: the end of the message.

    Raises:
        UserError: if it means others.
    """
    theirs, ours = checkpoint.config, task.data.labels
    has_head = bool(ours) and set(task.architectures(theirs)) <= set(theirs.architectures)
    unnamed = theirs.labels == tuple(f"LABEL_{index}" for index in range(len(ours)))
    same = [name.casefold() for name in theirs.labels] == [name.casefold() for name in ours]
    if has_head and not unnamed and not same:
        raise UserError(f"{source} knows the labels {', '.join(theirs.labels)}, the task has {', '.join(ours)}. {cure}")


def load_trained_model(source: str, task: Task, execution: Execution, *, option: str, cure: str) -> Any:
    """The model in a checkpoint that has learned this kind of task, with the task's labels.

    Args:
        source: the checkpoint.
        task: the task.
        execution: how to compute it.
        option: that names the source, for the message.
        cure: the end of the message where labels are others.

    Raises:
        UserError: if it cannot be read, lacks a part of the task's head, which would be drawn at random, means other
            labels, or is too small for the rows.
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
                raise ValueError(f"{checkpoint.path} has no beam head beside it: give answers.head=simple, or another")
        elif task.model_class is not Encoder:
            check_trained(checkpoint, task.data.kind, task.model_class)
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error
    check_labels(checkpoint, source, task, cure)
    try:
        return task.model_class.from_pretrained(checkpoint, execution=execution)
    except (ValueError, OSError) as error:
        raise UserError(f"{option}={source}: {error}") from error
