"""What a job hands to the loop: pure functions, data, and what to do with the result."""

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
    """What a finished job has.

    Attributes:
      params: the parameters written to `model`, as NumPy arrays.
      step: the step they are of.
      evaluation: the held-out metrics of that step; empty where the job has no evaluation.
      model: the directory they are in.
      address: where people find it: `model`, or in a bucket.
    """

    params: Params
    step: int
    evaluation: dict[str, float]
    model: Path
    address: WorkPath


def add_up(results: Iterable[Outputs]) -> dict[str, float]:
    """The sums of scalars over batches, in float64."""
    sums: dict[str, np.float64] = {}
    for part in results:
        sums = {name: sums.get(name, np.float64(0)) + np.float64(value) for name, value in part.items()}
    return {name: float(value) for name, value in sums.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training job.

    Attributes:
      init_state: (key) -> {"step": int32 scalar 0, "params": ..., "opt_state": ...}; pure, is jitted.
      train_step: (state, batch, *constants) -> (state, metrics); pure, is jitted with the state donated. Raises "step"
        by one. The metrics are scalars of this step, "loss" among them; "grad_norm", if there, is watched for infinity
        as well. Randomness comes from the seed and state["step"] alone, or a resumed run differs.
      train_batches: (start_step) -> iterator over the batches of updates start_step + 1, start_step + 2, ... Arrays
        have the batch first, in few different shapes: a step is compiled for each. Closed at the end if it can be.
      tokens_per_batch: what tokens per second counts.
      export: (params, directory, evaluation) writes what belongs into model/, which is staged and renamed by the loop;
        `evaluation` holds the held-out metrics of these parameters, as in Result.
      eval_step: (params, batch, *constants) -> what is kept of a batch: sums over its rows, as scalars, or something of
        each row; None: no evaluation.
      eval_batches: () -> the held-out batches, the same every time, in few different shapes.
      summarize: (eval_step's results, one after the other) -> metrics, "loss" among them.
      describe: lines printed before the first step: the model, what `auto` chose.
      describe_data: lines about the data, printed behind them.
      shown: metrics on the progress line.
      best: the held-out metric, and its better end, that keep_best goes by.
      references: {"loss" or "accuracy": {name: value}}, lines in the plots.
      model: config.json of the model that `params` make up, for who reads a checkpoint without the job.
      identity: fingerprints of the inputs (data, tokenizer): a checkpoint of other inputs is refused.
      constants: (mesh) -> arrays on its devices that both steps read beside state and batch, as a teacher's
        parameters; never saved.
      initial_params: () -> parameters to start from instead of init_state's; called where no checkpoint is.
      describe_extension: (old total_steps, new, step) -> what --extend does to the schedule.
      patience: evaluations without a better one after which the job ends early; None: it does not.
      costs: what a step of a batch takes, for plans and for the utilization of the devices; None: not known.
      finish: prints the end of the job; what it returns is added to summary.json.
      task: what `flax_lite.pipeline` does with the model, for the model card; None: none is written.
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
    best: tuple[str, Literal["min", "max"]] = ("loss", "min")
    references: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    identity: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Callable[[Mesh], tuple[Any, ...]] = lambda mesh: ()
    initial_params: Callable[[], Params] | None = None
    describe_extension: Callable[[int, int, int], str] | None = None
    patience: int | None = None
    finish: Callable[[Result], Mapping[str, Any] | None] = lambda result: None
    task: str | None = None
    costs: Costs | None = None
