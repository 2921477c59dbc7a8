"""Builds the fine-tuning job: a labeled task, a head on a pretrained encoder, and a score.

python -m train.finetune --config configs/glue.py:sst2 --config.init_from=SOURCE --config.data.source=files:DIR
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx, traverse_util

from flax_lite.architecture.config import DEFAULT_LABELS, EncoderConfig
from flax_lite.models.flops import Costs
from flax_lite.models.params import get_params
from flax_lite.training.objective import Objective
from flax_lite.training.steps import init_state, make_train_step
from train.data.tokenizers import save_tokenizer
from train.data.unknown import check_known
from train.errors import UserError
from train.jobs import build
from train.jobs.finetuning_report import describe_data, finish, unknown_share_of
from train.jobs.language_model import (
    describe_execution,
    describe_extension,
    describe_model,
    export,
    log,
    shapes_of,
    structure_of,
    with_learning_rate,
)
from train.jobs.task_teacher import TaskTeacher, open_task_teacher
from train.machine.mesh import devices_of
from train.options import runtime
from train.options.request import Request
from train.run.job import Batch, Job, Outputs, add_up
from train.run.workdir import WorkDir
from train.tasks.kinds.task import Task, check_labels, open_checkpoint
from train.tasks.opening import Prepared
from train.tasks.rows import RowSet, TrainingBatches, count_not_finite

# The `flax_lite.pipeline` of each kind of task.
_PIPELINES = {
    "classification": "text-classification",
    "tags": "token-classification",
    "spans": "question-answering",
    "sentences": "sentence-embedding",
}
# Kinds whose labels are in the model's config.
_LABELED = ("classification", "tags")
# Rows of metrics of a run, of which a curve can be seen.
_LEAST_ROWS = 10
# Parameters of heads that `new_head` initializes: with DistilBERT's layer before a head, and ALBERT's head for SQuAD 2.
_NEW_HEAD = ("classifier/*", "pre_classifier/*", "qa_outputs/*", "head/*")


def resolved(request: Request, prepared: Prepared) -> Request:
    """Returns the request with the numbers of steps that follow from its epochs, warm-up fraction and evaluations.

    Raises:
        UserError: if there are no training examples, or steps are given in two ways.
    """
    values = request.values
    num_rows = len(prepared.train)
    if not num_rows:
        raise UserError("there are no training examples, only held-out sets (train.evaluate scores those)")
    if _counts(request, "epochs", "total_steps"):
        values["total_steps"] = max(1, math.ceil(values["epochs"] * num_rows / values["batch_size"]))
    total, derived = values["total_steps"], {}
    if _counts(request, "warmup_fraction", "optimizer.warmup_steps"):
        values["optimizer.warmup_steps"] = _warmup_steps(values)
        derived["optimizer.warmup_steps"] = _warmup_steps
    if _counts(request, "evaluations", "eval_every_steps"):
        values["eval_every_steps"] = max(1, total // values["evaluations"])
        if "checkpoint_every_steps" not in request.overrides:
            values["checkpoint_every_steps"] = values["eval_every_steps"]
    values["log_every_steps"] = _log_every_steps(values["log_every_steps"], total)
    return dataclasses.replace(request.with_values(values), derived=derived)


def _log_every_steps(requested: int, total: int) -> int:
    """Returns the steps between two logged rows, lowered where a run would have fewer than ten."""
    most = max(1, total // _LEAST_ROWS)
    if requested > most:
        rows = min(total, _LEAST_ROWS)
        log(f"log_every_steps: {requested} -> {most}, so that {total} steps have at least {rows} rows of metrics")
    return min(requested, most)


def _warmup_steps(values: Mapping[str, Any]) -> int | None:
    """Returns the steps of the warm-up fraction, if it is given."""
    fraction = values.get("warmup_fraction")
    return None if fraction is None else int(fraction * values["total_steps"])


def _counts(request: Request, relative: str, absolute: str) -> bool:
    """Returns whether an option relative to the data counts; it does not if the command line gives steps instead.

    With --extend the command line may give both: those of the first run and the new steps.

    Raises:
        UserError: if it gives both otherwise.
    """
    given = absolute in request.overrides
    if given and not request.extend and relative in request.overrides and request.values[relative] is not None:
        raise UserError(f"{relative} and {absolute} exclude each other: give one of them")
    return request.values[relative] is not None and not given


def make_job(prepared: Prepared, work: WorkDir) -> Job:
    """Builds the job.

    Raises:
        UserError: if the options do not fit each other, the data, or the model to start from.
    """
    values, task = work.request.values, prepared.task
    if values["early_stopping_evaluations"] is not None and not values["keep_best"]:
        raise UserError("early_stopping_evaluations needs keep_best=true")
    check_known(unknown_share_of(prepared.train.rows, task.tokenizer), task.tokenizer, "training examples")
    save_tokenizer(task.tokenizer, work.path / "tokenizer")
    config = task_config(task, build.model_config(values, task.tokenizer, num_types=task.num_token_types))
    execution = runtime.execution(values)
    create = functools.partial(task.model_class, config, execution=execution)
    structure = structure_of(create)
    teacher = open_task_teacher(values, task, config)
    rows = teacher.add_logits(prepared.train, values["data.eval_tokens"], log) if teacher else prepared.train
    optimizer, learning_rate_at = build.optimizer(values)
    objective = _objective(values, prepared, teacher)
    steps = {"seed": values["seed"], "accumulation_steps": values["accumulation_steps"]}
    train_step = make_train_step(structure, objective, optimizer, **steps)
    batches = TrainingBatches(rows, values["batch_size"], values["seed"], distinct=objective.compares_rows)
    host = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    best = prepared.best_metric(values["best_metric"])
    return Job(
        init_state=lambda key: init_state(create(rngs=build.initial_rngs(key, work.streams)), optimizer),
        train_step=with_learning_rate(train_step, learning_rate_at),
        train_batches=lambda start: batches.batches(start, **host),
        tokens_per_batch=_tokens_per_batch(rows, values["batch_size"]),
        export=functools.partial(_export, structure, task, values["model_format"]),
        eval_step=task.eval_step(structure),
        # Devices are counted when this is called: a plan's devices need not be present.
        eval_batches=lambda: eval_batches(prepared.held_out.rows, values["data.eval_tokens"], devices_of(values)),
        summarize=functools.partial(summarize, prepared),
        describe_data=_describe_data(prepared, teacher, values["data.eval_tokens"]),
        describe=[
            describe_model(create, config),
            describe_execution(execution, config),
            *(teacher.describe() if teacher else ()),
        ],
        shown=tuple(dict.fromkeys(("epoch", "loss", "task_accuracy", prepared.scorer.reported.headline, best[0]))),
        losses=objective.losses,
        steps_per_epoch=batches.steps_per_epoch,
        best=best,
        task=_PIPELINES.get(task.kind),
        model=config.replace(architectures=task.architectures(config)).to_json_dict(),
        costs=Costs(
            config=config,
            execution=execution.resolve(len(config.layer_sequence())),
            teacher=teacher.config if teacher and teacher.runs_along else None,
        ),
        fingerprints=_fingerprints(prepared, teacher, objective),
        constants=teacher.constants if teacher else lambda mesh: (),
        initial_params=initial_params(values, task, config, create, work.streams),
        describe_extension=functools.partial(describe_extension, values),
        patience=values["early_stopping_evaluations"],
        finish=functools.partial(finish, work, prepared, structure),
    )


def _objective(values: Mapping[str, Any], prepared: Prepared, teacher: TaskTeacher | None) -> Objective:
    """Returns the objective.

    Raises:
        UserError: if losses, weights or batches do not fit the task.
    """
    class_weights = prepared.class_weights(values.get("class_weights", "equal"))
    teaching = teacher.teaching if teacher else None
    objective = prepared.task.objective(class_weights, values["losses.task"], teaching)
    if objective.compares_rows:
        _check_comparisons(values, len(prepared.train))
    return objective


def _describe_data(prepared: Prepared, teacher: TaskTeacher | None, tokens: int) -> Iterator[str]:
    """Yields lines about the data and the teacher's score on it, which runs compute as they start and plans do not."""
    yield from describe_data(prepared)
    if teacher:
        yield from teacher.describe_score(prepared, tokens)


def _fingerprints(prepared: Prepared, teacher: TaskTeacher | None, objective: Objective) -> dict[str, str]:
    """Returns fingerprints of everything that the run's results depend on."""
    found = prepared.identity()
    if teacher:
        found["teacher"] = teacher.fingerprint
    if objective.compares_rows:  # earlier versions could have a pair twice in a batch
        found["batches"] = "every pair once in a pass"
    return found


def _check_comparisons(values: Mapping[str, Any], pairs: int) -> None:
    """Raises UserError unless a batch is one micro-batch of several distinct pairs."""
    objective, size = f"sentences.objective={values['sentences.objective']}", values["batch_size"]
    if values["accumulation_steps"] > 1:
        raise UserError(
            f"{objective} contrasts each pair with all others of its batch; with accumulation_steps="
            f"{values['accumulation_steps']} these would be those of a micro-batch. Give accumulation_steps=1 and a "
            "batch_size that fits the device"
        )
    if not 2 <= size <= pairs:
        raise UserError(
            f"{objective} contrasts each pair with the others of its batch, which have to be distinct: "
            f"batch_size={size} with {pairs} training pairs. Give a batch_size from 2 to {pairs}"
        )


def task_config(task: Task, base: EncoderConfig) -> EncoderConfig:
    """Returns the architecture with the task's labels."""
    kinds = {"single_label": "single_label_classification", "multi_label": "multi_label_classification"}
    if task.kind not in _LABELED:
        return base.replace(labels=DEFAULT_LABELS, problem_type=None)
    problem_type = kinds.get(task.problem, "regression") if task.kind == "classification" else None
    return base.replace(labels=task.data.labels, problem_type=problem_type)


def initial_params(
    values: Mapping[str, Any], task: Task, config: EncoderConfig, create: Callable[..., nnx.Module], streams: int
) -> Callable[[], Any] | None:
    """Returns a function that loads the parameters of init_from; None without init_from.

    A head that the checkpoint lacks is initialized from the seed; with new_head, any head is. With init_layers, only
    those layers are loaded.

    Raises:
        UserError: if the checkpoint cannot be read, or its labels are not the task's.
    """
    source, layers = values["init_from"], values["init_layers"]
    if source is None:
        return None
    checkpoint = None
    if layers is not None or not values["new_head"]:
        checkpoint = open_checkpoint(source, layers)
    if checkpoint is not None and not values["new_head"]:
        check_labels(checkpoint, source, task, "Give new_head=true to initialize a new head")
    key = jax.random.key(values["seed"])
    options: dict[str, Any] = {"rngs": build.initial_rngs(key, streams)}
    if task.kind in _LABELED:
        options |= {"id2label": config.id2label, "problem_type": config.problem_type}
    if values["new_head"]:
        options["allow_missing"] = _NEW_HEAD
    load = functools.partial(
        build.load_params, task.model_class, source, shapes_of(create), checkpoint=checkpoint, **options
    )
    return (
        functools.partial(_with_new_head, load, create, build.initial_rngs(key, streams))
        if values["new_head"]
        else load
    )


def _with_new_head(load: Callable[[], Any], create: Callable[..., nnx.Module], rngs: nnx.Rngs) -> Any:
    """Returns the parameters that `load` returns, with a newly initialized head."""

    def new_head(key: jax.Array) -> dict[str, Any]:
        params = traverse_util.flatten_dict(get_params(create(rngs=nnx.Rngs(key))), sep="/")
        return {path: array for path, array in params.items() if any(fnmatchcase(path, glob) for glob in _NEW_HEAD)}

    # Under jit, parameters that are not returned are not computed.
    loaded = traverse_util.flatten_dict(load(), sep="/")
    return traverse_util.unflatten_dict(loaded | jax.jit(new_head)(rngs.params()), sep="/")


def _export(
    structure: nnx.GraphDef,
    task: Task,
    model_format: str,
    params: Any,
    directory: Path,
    evaluation: Mapping[str, float],
) -> None:
    export(structure, task.tokenizer, model_format, params, directory, evaluation)
    task.complete(directory)


def eval_batches(rows: RowSet, tokens: int, devices: int) -> Iterator[Batch]:
    """Yields this host's part of each batch of held-out rows, every row once, in sizes divisible by the devices."""
    count = jax.process_count()
    for batch in rows.all_batches(tokens, multiple=devices):
        size = len(batch["row"]) // count
        begin = jax.process_index() * size
        yield {name: array[begin : begin + size] for name, array in batch.items()}


def summarize(prepared: Prepared, results: Iterable[Outputs]) -> dict[str, float]:
    """Returns the held-out loss and the task's metrics, all NaN if any output is not finite."""
    kept = list(results)
    sums = add_up({name: value for name, value in part.items() if not np.ndim(value)} for part in kept)
    held_out = prepared.held_out
    if count_not_finite(kept)[0]:
        names = held_out.names(prepared.baseline.values)
        return {"loss": math.nan, **dict.fromkeys(names, math.nan)}
    scores = held_out.scores(prepared.scorer, held_out.predictions(prepared.task, kept))
    return {"loss": sums["task_loss"] / sums["weight"] if sums["weight"] else math.nan, **scores}


def _tokens_per_batch(rows: RowSet, batch_size: int) -> int:
    """Returns the tokens of an average batch, without padding."""
    mean = sum(len(tokens) for row in rows.rows for tokens in row.tokens) / len(rows)
    return round(mean * batch_size)
