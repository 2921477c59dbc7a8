"""Where a run's first state comes from.

First that applies:
 1. the newest good checkpoint of the work directory;
 2. the job's `initial_params` (init_from) with a fresh optimizer state;
 3. the job's `init_state` of the seed.
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
    """What a run begins with.

    Attributes:
      state: the train state, on the devices.
      step: updates it has had.
      best: {"step", "metric", "value"} of the best evaluation so far, or None.
      abstract: the state's shapes, dtypes and shardings.
      shardings: the shardings alone.
    """

    state: State
    step: int
    best: dict[str, Any] | None
    abstract: State
    shardings: Any


def expected_meta(job: Job) -> dict[str, Any]:
    """Returns what every checkpoint of this job says of itself."""
    return {"format": _STATE_FORMAT, "identity": dict(job.identity)}


def start(job: Job, seed: int, mesh: Mesh, checkpoints: Checkpoints, say: Callable[[str], None]) -> Start:
    """Restores or initializes a job's state.

    Raises:
      UserError: an intact checkpoint is of another model or of other inputs.
    """
    key = jax.random.key(seed)
    abstract, shardings = abstract_state(job, mesh)
    restored = checkpoints.restore(abstract, expected_meta(job))
    if restored is None:
        return Start(_initial_state(job, key, mesh, shardings), 0, None, abstract, shardings)
    state, meta = restored
    best = meta["best"] if meta["best"] and checkpoints.has(meta["best"]["step"]) else None
    checkpoints.best_step = best["step"] if best else None
    say(f"continuing from the checkpoint of step {meta['step']}")
    return Start(state, meta["step"], best, abstract, shardings)


def check_inputs(job: Job) -> None:
    """Raises UserError unless all hosts train on the same text and the same pieces."""
    for host, identity in enumerate(hosts.gather("identity", dict(job.identity))):
        if identity != dict(job.identity):
            names = ", ".join(name for name, value in identity.items() if value != job.identity.get(name))
            raise hosts.everywhere(UserError(f"host {host} reads other inputs than this one: {names}"))


def check_observers(config: Any) -> None:
    """Raises UserError where what the run is to be watched with cannot be had."""
    check_window(config.profile.first_step, config.total_steps)
    if config.tensorboard:
        check_package()


def batches_after(job: Job, first: int, total: int) -> Generator[Batch, None, None]:
    """The batches of the steps after `first`; closes what makes them."""
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
