"""The teacher of a fine-tuning: a model that has learned the same task already."""

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
    """A model that is read once and never changed.

    Attributes:
        source: where it is from.
        task: what it has learned.
        config: its architecture.
        structure: of the model.
        params: its parameters, NumPy arrays.
        teaching: how it takes part in the student's loss.
        fingerprint: names the function that it computes.
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
        """Whether the step computes it: it does not, where the rows hold its logits."""
        return self.teaching.structure is not None

    def constants(self, mesh: Mesh) -> tuple[Any, ...]:
        """What the step gets of it: nothing, where the rows hold its logits."""
        if not self.runs_along:
            return ()
        return (jax.device_put(self.params, tree_shardings(self.params, mesh)),)

    def add_logits(self, rows: RowSet, tokens: int, say: Callable[[str], None]) -> RowSet:
        """The rows, with its logits as "teacher_0" (and "teacher_1") where the recipe asks for that."""
        if self.runs_along:
            return rows
        kept = self._run(rows, tokens, "training")
        taught = [self._taught(row, each) for row, each in zip(rows.rows, kept, strict=True)]
        size = sum(array.nbytes for row in taught for name, array in row.labels.items() if name.startswith("teacher_"))
        say(f"teacher's logits kept: {size / len(taught):,.0f} bytes an example, {size / 2**20:,.1f} MiB")
        return rows.of(taught)

    def tried(self, prepared: Prepared, tokens: int) -> list[str]:
        """Its own score on the held-out set that decides, beside guessing, before it teaches.

        Labels named LABEL_0, LABEL_1 may stand in another order than the task's, and nothing but the score tells.

        Raises:
            UserError: if it gives no finite numbers.
        """
        examples, held_out = prepared.primary_examples, prepared.held_out.rows
        rows = held_out.of([row for row in held_out.rows if row.example < len(examples)])
        predictions = self.task.predict(examples, rows, self._run(rows, tokens, "held-out"))
        scores = prepared.scorer.score(examples, predictions)
        lines = [f"teacher's own: {format_scores(scores.values)} (guessing: {format_scores(prepared.baseline.values)})"]
        if prepared.scorer.judge(scores, prepared.baseline, len(examples)).guessing:
            lines.append(
                f"WARNING: teacher={self.source} is no better than guessing on the held-out examples, and that is what "
                f"it teaches{self._order()}"
            )
        return lines

    def _order(self) -> str:
        ours, theirs = self.task.data.labels, self.config.labels
        if not ours or [name.casefold() for name in theirs] == [name.casefold() for name in ours]:
            return ""
        return (
            f". Its labels are {', '.join(theirs)}: if these stand for another order than {', '.join(ours)}, its "
            "config.json has to say so (id2label)"
        )

    def _run(self, rows: RowSet, tokens: int, which: str) -> list[dict[str, np.ndarray]]:
        step = make_task_eval_step(self.structure, self.task.kind, self.task.problem)
        params = jax.device_put(self.params)
        results = run_rows(lambda params, batch: {**step(params, batch), "row": batch["row"]}, params, rows, tokens)
        bad, count = count_not_finite(results)
        if bad:
            raise UserError(
                f"teacher={self.source} gives no numbers (NaN or infinity) for {bad} of {count} {which} rows: its "
                "training diverged, its weights were damaged, or execution.dtype is too narrow for it"
            )
        return collect_rows(results, rows)

    def describe(self) -> list[str]:
        """Name, size and losses in a line."""
        losses = ", ".join(f"{weight:g} {name}" for name, weight in self.teaching.losses.items())
        return [f"teacher: {self.source}, {num_parameters(self.params):,} parameters; beside the labels: {losses}"]

    def _taught(self, row: Row, kept: Mapping[str, np.ndarray]) -> Row:
        logits = [kept[name] for name in sorted(kept) if name.startswith("logits_")]
        if self.task.token_logits:
            logits = [each[: row.length] for each in logits]
        taught = {f"teacher_{index}": np.asarray(each, np.float32) for index, each in enumerate(logits)}
        return dataclasses.replace(row, labels={**row.labels, **taught})


def open_task_teacher(values: Mapping[str, Any], task: Task, student: EncoderConfig) -> TaskTeacher | None:
    """Reads the teacher that the options name, if they do.

    Raises:
        UserError: if it cannot be read, has learned another task, is too small for the rows, or does not fit the
            losses.
    """
    source, losses = values["teacher"], {name: values[f"losses.{name}"] for name in LOSSES if values[f"losses.{name}"]}
    if source is None:
        if losses:
            raise UserError(f"losses.{next(iter(losses))} is what a teacher teaches: give --config.teacher=SOURCE")
        return None
    if not losses:
        raise UserError(
            f"teacher={source} teaches nothing: give losses.soft_cross_entropy (0.5, say), or another of it"
        )
    cure = "A teacher needs the same labels, in the same order"
    model = load_trained_model(source, task, runtime.execution(values), option="teacher", cure=cure)
    layer_map = _layer_map(values, losses, model.config, student)
    cached = values["distill.cache_teacher"]
    if cached and "hidden_mse" in losses:
        raise UserError("distill.cache_teacher keeps logits alone: leave it out, or losses.hidden_mse")
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
    """The layers that hidden_mse compares, counted from 0."""
    if "hidden_mse" not in losses:
        return ()
    if teacher.hidden_size != student.hidden_size:
        widths = f"{teacher.hidden_size} wide in the teacher, {student.hidden_size} in the student"
        raise UserError(f"losses.hidden_mse compares hidden states of one width, and they are {widths}")
    depths = len(teacher.layer_sequence()), len(student.layer_sequence())
    pairs = values["distill.layer_map"] or uniform_layer_map(*depths)
    try:
        found = tuple(tuple(range(depth)[layer] for depth, layer in zip(depths, pair, strict=True)) for pair in pairs)
    except (IndexError, TypeError, ValueError):
        raise UserError(
            f"distill.layer_map={pairs}: expected pairs (teacher's layer of {depths[0]}, student's of {depths[1]})"
        ) from None
    return found  # type: ignore[return-value]
