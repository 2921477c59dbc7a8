"""The first state of a run.

The first of these that applies:
 1. the newest good checkpoint of the work directory;
 2. the job's `initial_params` (init_from) with a fresh optimizer state;
 3. the job's `init_state` for the seed.
"""

import dataclasses
from collections.abc import Callable, Generator
from typing import Any

import jax
from jax.sharding import Mesh

from train.errors import UserError
from train.machine import hosts
from train.run.checkpoints import Checkpoints, describe_tree
from train.run.job import Batch, Job, State
from train.run.profiling import check_window
from train.run.programs import abstract_state
from train.run.tensorboard import check_package

_STATE_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Start:
    """The state that a run starts from.

    Attributes:
      state: the train state, on the devices.
      step: the number of updates it has had.
      best: {"step", "metric", "value"} of the best evaluation so far, or None.
      loss_sums: of the steps since the last row of metrics, as `Records.loss_sums`; None: there are no such steps.
      abstract: the state's shapes, dtypes and shardings.
      shardings: the shardings alone.
    """

    state: State
    step: int
    best: dict[str, Any] | None
    loss_sums: dict[str, list[float]] | None
    abstract: State
    shardings: Any


def expected_meta(job: Job) -> dict[str, Any]:
    """Returns the metadata that every checkpoint of this job contains."""
    return {"format": _STATE_FORMAT, "identity": dict(job.fingerprints)}


def restore_or_init(job: Job, seed: int, mesh: Mesh, checkpoints: Checkpoints, log: Callable[[str], None]) -> Start:
    """Restores a job's state from its newest good checkpoint, or initializes it.

    Raises:
      UserError: an intact checkpoint belongs to another model or other inputs.
    """
    key = jax.random.key(seed)
    abstract, shardings = abstract_state(job, mesh)
    restored = checkpoints.restore(abstract, expected_meta(job))
    if restored is None:
        return Start(_initial_state(job, key, mesh, shardings), 0, None, None, abstract, shardings)
    state, meta = restored
    best = meta["best"] if meta["best"] and checkpoints.has(meta["best"]["step"]) else None
    checkpoints.best_step = best["step"] if best else None
    log(f"continuing from the checkpoint of step {meta['step']}")
    return Start(state, meta["step"], best, meta.get("loss_sums"), abstract, shardings)


def check_inputs(job: Job) -> None:
    """Raises UserError unless all hosts have the same data and tokenizer."""
    for host, fingerprints in enumerate(hosts.gather("fingerprints", dict(job.fingerprints))):
        if fingerprints != dict(job.fingerprints):
            names = ", ".join(name for name, value in fingerprints.items() if value != job.fingerprints.get(name))
            raise hosts.raised_everywhere(UserError(f"host {host} reads other inputs than this one: {names}"))


def check_monitoring(config: Any) -> None:
    """Raises UserError if the requested profile or TensorBoard logging is impossible."""
    check_window(config.profile.first_step, config.total_steps)
    if config.tensorboard:
        check_package()


def train_batches(job: Job, first: int, total: int) -> Generator[Batch, None, None]:
    """Yields the batches of steps `first` + 1 to `total`, and closes their source at the end."""
    if first < total:
        source = iter(job.train_batches(first))
        try:
            yield from source
        finally:
            getattr(source, "close", lambda: None)()


def _initial_state(job: Job, key: jax.Array, mesh: Mesh, shardings: Any) -> State:
    with jax.set_mesh(mesh):
        state = jax.jit(job.init_state, out_shardings=shardings)(key)
    if job.initial_params is None:
        return state
    params = job.initial_params()
    if describe_tree(params) != describe_tree(state["params"]):
        raise ValueError("initial_params returned another tree than init_state's params")
    return {**state, "params": jax.device_put(params, shardings["params"])}
