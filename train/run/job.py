"""The interface between a job and the loop: pure functions, data, and the delivery of the result."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from flax_lite.models.flops import Costs
from train.machine.paths import WorkPath

Params = Any
State = dict[str, Any]
Batch = Mapping[str, np.ndarray]
Scalars = Mapping[str, jax.Array]
Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished job.

    Attributes:
      params: the parameters written to `model`, as NumPy arrays.
      step: the step of these parameters.
      evaluation: the held-out metrics of that step; empty if the job has no evaluation.
      model: the directory of the model.
      address: its path for users: `model`, or the path in a bucket.
    """

    params: Params
    step: int
    evaluation: dict[str, float]
    model: Path
    address: WorkPath


def add_up(results: Iterable[Outputs]) -> dict[str, float]:
    """Sums scalars over batches in float64."""
    sums: dict[str, np.float64] = {}
    for part in results:
        sums = {name: sums.get(name, np.float64(0)) + np.float64(value) for name, value in part.items()}
    return {name: float(value) for name, value in sums.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training job.

    Attributes:
      init_state: (key) -> {"step": int32 scalar 0, "params": ..., "opt_state": ...}; pure, the loop jits it.
      train_step: (state, batch, *constants) -> (state, metrics); pure, jitted with the state donated. Increments
        "step". The metrics are scalars of this step and include "loss"; "grad_norm", if present, must be finite too.
        For each term NAME of `losses`, "NAME_weight" is the divisor of its average (1 if absent); it is not logged.
        Randomness depends only on the seed and state["step"], so that a resumed run is identical.
      train_batches: (start_step) -> iterator over the batches of updates start_step + 1, start_step + 2, ... The batch
        is the first axis of each array. A step is compiled for each shape, so there should be few. Closed at the end if
        it has `close`.
      tokens_per_batch: for the column tokens_per_second.
      export: (params, directory, evaluation) -> None; writes the files of model/ to a directory that the loop stages
        and renames. `evaluation` holds the held-out metrics of these parameters, as in Result.
      eval_step: (params, batch, *constants) -> scalar sums over the rows of a batch, or one value per row; None: the
        job has no evaluation.
      eval_batches: () -> the batches of the held-out set, the same on every call, in few shapes.
      summarize: (outputs of eval_step, one per batch) -> metrics, including "loss".
      describe: lines to print before the first step: the model, and the choices made for `auto`.
      describe_data: lines about the data, printed after those.
      shown: the metrics on the progress line.
      losses: the factor of each term of the loss, for `loss_mean`: the loss since the last logged row.
      steps_per_epoch: for the column `epoch`; None: no such column.
      best: the held-out metric for keep_best, and which end is better.
      references: {"loss" or "accuracy": {name: value}}, drawn as lines in the plots.
      model: config.json of the model, for readers of a checkpoint without the job.
      fingerprints: of the inputs (data, tokenizer). A checkpoint of other inputs is refused.
      constants: (mesh) -> arrays on its devices that both steps take after state and batch, for example a teacher's
        parameters; never saved.
      initial_params: () -> parameters to start from instead of init_state's; called only if there is no checkpoint.
      describe_extension: (old total_steps, new total_steps, step) -> a line about --extend and the schedule.
      patience: the number of evaluations without improvement after which the job ends early; None: never.
      costs: the cost of a step, for plans and device utilization; None: unknown.
      finish: (result) -> entries to add to summary.json, or None; prints the end of the job's output.
      task: the task of `flax_lite.pipeline` for the model card; None: no model card.
    """

    init_state: Callable[[jax.Array], State]
    train_step: Callable[..., tuple[State, Scalars]]
    train_batches: Callable[[int], Iterator[Batch]]
    tokens_per_batch: int
    export: Callable[[Params, Path, Mapping[str, float]], None]
    eval_step: Callable[..., Scalars] | None = None
    eval_batches: Callable[[], Iterable[Batch]] = lambda: ()
    summarize: Callable[[Iterable[Outputs]], dict[str, float]] = add_up
    describe: Sequence[str] = ()
    describe_data: Iterable[str] = ()
    shown: Sequence[str] = ("loss",)
    losses: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"loss": 1.0})
    steps_per_epoch: float | None = None
    best: tuple[str, Literal["min", "max"]] = ("loss", "min")
    references: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Callable[[Mesh], tuple[Any, ...]] = lambda mesh: ()
    initial_params: Callable[[], Params] | None = None
    describe_extension: Callable[[int, int, int], str] | None = None
    patience: int | None = None
    finish: Callable[[Result], Mapping[str, Any] | None] = lambda result: None
    task: str | None = None
    costs: Costs | None = None
