"""Pure train and evaluation steps for any objective.

A train state is a plain dictionary {"step": int32, "params": nested dict of arrays, "opt_state": optax state}. No
random state is stored: the keys of a step are derived from the seed and the step number, so that a resumed run draws
the same numbers as an uninterrupted one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int

from flax_lite.models.params import gathered, get_params, split, with_params
from flax_lite.training.objective import Batch, Objective, Sums, averages

TrainState = dict[str, Any]
# fold_in(key, i) equals split(key, n)[i], so the key of `prepare` takes a number that no split reaches.
_PREPARE = 2**32 - 1


def init_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the train state before the first step."""
    params = get_params(model)
    return {"step": jnp.zeros((), jnp.int32), "params": params, "opt_state": optimizer.init(params)}


def preparation_key(seed: int, step: int | Int[Array, ""]) -> jax.Array:
    """Returns the key that `prepare` of `make_train_step` gets at a step, to reproduce the step's batch."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), _PREPARE)


def make_train_step(
    structure: nnx.GraphDef,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    accumulation_steps: int = 1,
    prepare: Callable[[jax.Array, Batch], Batch] | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Creates a pure function (state, batch, *constants) -> (next state, metrics), to be passed to jax.jit.

    Constants are passed on to `objective.sums`: arrays that a step reads and does not change.

    Args:
        structure: `nnx.graphdef(model)`.
        objective: the objective to optimize.
        optimizer: an optax transformation, including gradient clipping.
        seed: seed of dropout and of `prepare`. The key of step s is fold_in(key(seed), s).
        accumulation_steps: number of micro-batches. The gradient is that of the whole batch: sums over micro-batches
            divided by the weights of all. Each micro-batch draws its own dropout, so the draw depends on their number.
        prepare: function (key, batch) that returns the batch for the objective, for random draws over the whole batch
            such as the masks of `flax_lite.rows.token_masks`. It is applied once, before the batch is split. Its key is
            `preparation_key`, independent of the dropout's.

    Returns:
        The step. Its metrics are "loss", the objective's averages and "grad_norm" (before clipping) of this batch, and
        for each term NAME of the loss its divisor "NAME_weight", with which averages over several steps are computed.

    Raises:
        ValueError: for micro-batches of an objective that compares the rows of a batch; when traced, if the number of
            rows is not a multiple of `accumulation_steps`.
    """
    if objective.compares_rows and accumulation_steps > 1:
        raise ValueError(
            f"accumulation_steps={accumulation_steps}: this loss compares all rows of a batch with each other, but a "
            "micro-batch has only some of them; use accumulation_steps=1"
        )
    gradient = _gradient(structure, objective, accumulation_steps)

    def step(state: TrainState, batch: Batch, *constants: Any) -> tuple[TrainState, dict[str, Array]]:
        params, constants = gathered(state["params"]), gathered(constants)
        key = jax.random.fold_in(jax.random.key(seed), state["step"])
        if prepare is not None:
            batch = prepare(preparation_key(seed, state["step"]), batch)
        weights = objective.weights(batch)
        grads, sums = gradient(params, batch, weights, key, constants)
        grads, params = split(grads), state["params"]
        updates, opt_state = optimizer.update(grads, state["opt_state"], params)
        metrics = {**averages(sums, weights, objective.losses), "grad_norm": optax.tree.norm(grads)}
        metrics |= {f"{name}_weight": weights[name] for name in objective.losses}
        next_state = {
            "step": state["step"] + 1,
            "params": optax.apply_updates(params, updates),
            "opt_state": opt_state,
        }
        return next_state, metrics

    return step


def _gradient(structure: nnx.GraphDef, objective: Objective, accumulation_steps: int) -> Callable[..., Any]:
    """Creates (params, batch, weights, key, constants) -> (gradient of the loss, sums), by sequential micro-batches."""

    def loss_and_sums(
        params: Any, batch: Batch, weights: Sums, key: jax.Array, constants: tuple[Any, ...]
    ) -> tuple[Array, Sums]:
        sums = objective.sums(with_params(structure, params), batch, key, *constants)
        return averages(sums, weights, objective.losses)["loss"], sums

    whole = jax.grad(loss_and_sums, has_aux=True)
    if accumulation_steps == 1:
        return whole

    def accumulated(params: Any, batch: Batch, weights: Sums, key: jax.Array, constants: tuple[Any, ...]) -> Any:
        keys = jax.random.split(key, accumulation_steps)
        micro_batches = _split(batch, accumulation_steps)
        return _summed(lambda micro, key: whole(params, micro, weights, key, constants), micro_batches, keys)

    return accumulated


def make_eval_step(structure: nnx.GraphDef, objective: Objective) -> Callable[..., dict[str, Sums]]:
    """Creates a pure function (params, batch, *constants) -> {"sums", "weights"}, without dropout.

    Sum its results over batches, then compute `averages`.
    """

    def step(params: Any, batch: Batch, *constants: Any) -> dict[str, Sums]:
        sums = objective.sums(with_params(structure, params), batch, None, *constants)
        return {"sums": sums, "weights": objective.weights(batch)}

    return step


def _split(batch: Batch, num: int) -> Batch:
    rows = batch["input_ids"].shape[0]
    if rows % num:
        raise ValueError(f"a batch of {rows} rows cannot be split into {num} micro-batches; choose a divisor")
    # Micro-batch m takes rows m, m + num, ..., so that each device keeps its own rows of a batch that is sharded in
    # contiguous blocks.
    return jax.tree.map(lambda array: jnp.moveaxis(array.reshape(rows // num, num, *array.shape[1:]), 1, 0), batch)


def _summed(function: Callable[..., Any], *per_micro: Any) -> Any:
    """Sums `function` over the leading axis of its arguments, one micro-batch at a time."""
    first = jax.tree.map(lambda array: array[0], per_micro)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, *first))

    def body(total: Any, micro: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*micro)), None

    return jax.lax.scan(body, zeros, per_micro)[0]
