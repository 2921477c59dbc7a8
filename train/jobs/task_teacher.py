"""The teacher of a fine-tuning: a model fine-tuned on the same task."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from flax_lite.architecture.config import EncoderConfig
from flax_lite.distillation.recipe import uniform_layer_map
from flax_lite.models.params import get_params, num_parameters, tree_shardings
from flax_lite.training.task_objectives import Teaching, make_task_eval_step
from train.errors import UserError
from train.jobs.teacher import fingerprint
from train.options import runtime
from train.tasks.kinds.task import Task, load_trained_model
from train.tasks.opening import Prepared
from train.tasks.rows import Row, RowSet, collect_rows, count_not_finite, run_rows
from train.tasks.scores.metrics import format_scores

LOSSES = ("soft_cross_entropy", "logit_mse", "hidden_mse")


@dataclasses.dataclass(frozen=True)
class TaskTeacher:
    """A teacher with fixed parameters.

    Attributes:
        source: the model's path or hub id.
        task: the task.
        config: the architecture.
        structure: the model's graph definition.
        params: the parameters, NumPy arrays.
        teaching: its part in the student's loss.
        fingerprint: a hash of architecture and parameters.
    """

    source: str
    task: Task
    config: EncoderConfig
    structure: nnx.GraphDef
    params: Any
    teaching: Teaching
    fingerprint: str

    @property
    def runs_along(self) -> bool:
        """Whether the training step runs the teacher; it does not if the rows hold its logits."""
        return self.teaching.structure is not None

    def constants(self, mesh: Mesh) -> tuple[Any, ...]:
        """Returns the parameters that the step takes as constants, if it runs the teacher."""
        if not self.runs_along:
            return ()
        return (jax.device_put(self.params, tree_shardings(self.params, mesh)),)

    def add_logits(self, rows: RowSet, tokens: int, log: Callable[[str], None]) -> RowSet:
        """Returns the rows with the teacher's logits as "teacher_0" (and "teacher_1"), if the step does not run it."""
        if self.runs_along:
            return rows
        kept = self._run(rows, tokens, "training")
        labeled = [self._with_logits(row, each) for row, each in zip(rows.rows, kept, strict=True)]
        size = sum(array.nbytes for row in labeled for name, array in row.labels.items() if name.startswith("teacher_"))
        log(f"teacher's logits kept: {size / len(labeled):,.0f} bytes an example, {size / 2**20:,.1f} MiB")
        return rows.of(labeled)

    def describe_score(self, prepared: Prepared, tokens: int) -> list[str]:
        """Returns lines with the teacher's score on the held-out set that decides, and that of guessing.

        A teacher whose labels are named LABEL_0, LABEL_1, ... may have them in another order; only the score shows it.

        Raises:
            UserError: if its outputs are not finite.
        """
        examples, held_out = prepared.primary_examples, prepared.held_out.rows
        rows = held_out.of([row for row in held_out.rows if row.example < len(examples)])
        predictions = self.task.predict(examples, rows, self._run(rows, tokens, "held-out"))
        scores = prepared.scorer.score(examples, predictions)
        lines = [f"teacher: {format_scores(scores.values)} (guessing: {format_scores(prepared.baseline.values)})"]
        if prepared.scorer.judge(scores, prepared.baseline, examples, predictions).guessing:
            lines.append(
                f"WARNING: teacher={self.source} is no better than guessing on the held-out examples"
                f"{self._label_order()}"
            )
        return lines

    def _label_order(self) -> str:
        task, teacher = self.task.data.labels, self.config.labels
        if not task or [name.casefold() for name in teacher] == [name.casefold() for name in task]:
            return ""
        return (
            f". Its labels are {', '.join(teacher)}: if their order is not {', '.join(task)}, its config.json has to "
            "name them (id2label)"
        )

    def _run(self, rows: RowSet, tokens: int, which: str) -> list[dict[str, np.ndarray]]:
        step = make_task_eval_step(self.structure, self.task.kind, self.task.problem)
        params = jax.device_put(self.params)
        results = run_rows(lambda params, batch: {**step(params, batch), "row": batch["row"]}, params, rows, tokens)
        bad, count = count_not_finite(results)
        if bad:
            raise UserError(
                f"teacher={self.source} returns NaN or infinity for {bad} of {count} {which} rows: its training "
                "diverged, its weights were damaged, or execution.dtype is too narrow for it"
            )
        return collect_rows(results, rows)

    def describe(self) -> list[str]:
        """Returns a line with source, size and losses."""
        losses = ", ".join(f"{weight:g} {name}" for name, weight in self.teaching.losses.items())
        return [f"teacher: {self.source}, {num_parameters(self.params):,} parameters; distillation losses: {losses}"]

    def _with_logits(self, row: Row, kept: Mapping[str, np.ndarray]) -> Row:
        logits = [kept[name] for name in sorted(kept) if name.startswith("logits_")]
        if self.task.token_logits:
            logits = [each[: row.length] for each in logits]
        named = {f"teacher_{index}": np.asarray(each, np.float32) for index, each in enumerate(logits)}
        return dataclasses.replace(row, labels={**row.labels, **named})


def open_task_teacher(values: Mapping[str, Any], task: Task, student: EncoderConfig) -> TaskTeacher | None:
    """Returns the teacher that the options name, or None.

    Raises:
        UserError: if it cannot be read, is of another task, is too small for the rows, or does not fit the losses.
    """
    source, losses = values["teacher"], {name: values[f"losses.{name}"] for name in LOSSES if values[f"losses.{name}"]}
    if source is None:
        if losses:
            raise UserError(f"losses.{next(iter(losses))} needs a teacher: give --config.teacher=SOURCE")
        return None
    if not losses:
        raise UserError(
            f"teacher={source} has no loss: give losses.soft_cross_entropy=0.5, or another of {', '.join(LOSSES)}"
        )
    cure = "A teacher needs the same labels, in the same order"
    model = load_trained_model(source, task, runtime.execution(values), option="teacher", cure=cure)
    layer_map = _layer_map(values, losses, model.config, student)
    cached = values["distill.cache_teacher"]
    if cached and "hidden_mse" in losses:
        raise UserError("distill.cache_teacher keeps only logits: leave it out, or losses.hidden_mse")
    structure, params = nnx.graphdef(model), jax.device_get(get_params(model))
    teaching = Teaching(
        structure=None if cached else structure,
        losses=losses,
        temperature=values["distill.temperature"],
        layer_map=layer_map,
    )
    return TaskTeacher(
        source, task, model.config, structure, params, teaching, fingerprint(model.config, params, task=task.kind)
    )


def _layer_map(
    values: Mapping[str, Any], losses: Mapping[str, float], teacher: EncoderConfig, student: EncoderConfig
) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of layers that hidden_mse compares, counted from 0."""
    if "hidden_mse" not in losses:
        return ()
    if teacher.hidden_size != student.hidden_size:
        widths = f"the teacher has {teacher.hidden_size}, the student {student.hidden_size}"
        raise UserError(f"losses.hidden_mse needs hidden states of the same width: {widths}")
    depths = len(teacher.layer_sequence()), len(student.layer_sequence())
    pairs = values["distill.layer_map"] or uniform_layer_map(*depths)
    try:
        found = tuple(tuple(range(depth)[layer] for depth, layer in zip(depths, pair, strict=True)) for pair in pairs)
    except (IndexError, TypeError, ValueError):
        raise UserError(
            f"distill.layer_map={pairs}: expected pairs (teacher layer of {depths[0]}, student layer of {depths[1]})"
        ) from None
    return found  # type: ignore[return-value]
