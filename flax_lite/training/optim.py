"""LAMB and AdamW with their learning rate schedules, as optax transformations.

Scales and biases, recognized by name and shape, are excluded from weight decay. LAMB treats each slice of a leaf below
`layers/` as a separate layer. Moments and norms are float32 for parameters of any dtype; bfloat16 parameters are
rounded only when the float32 update is added (there is no float32 copy of them).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree

# Flax's names for the vectors of LayerNorm and Dense. In stacks that are not below `layers/`, shapes alone do not
# identify them.
_VECTORS = frozenset({"bias", "scale"})

# A number after `layers` means a list of layers, as in an nnx.List, which are not stacked.
_STACKED = re.compile(r"(^|/)layers/(?!\d+(/|$))")

_T = TypeVar("_T")


def _path(keys: tuple) -> str:
    """Joins a tree path by slashes, without the "value" of an nnx.Variable."""
    return jax.tree_util.keystr(keys, simple=True, separator="/").removesuffix("/value")


def _is_matrix(path: str, leaf: Any) -> bool:
    return path.rpartition("/")[2] not in _VECTORS and np.ndim(leaf) - bool(_STACKED.search(path)) >= 2


def decay_mask(params: PyTree) -> PyTree:
    """Mask of the parameters with weight decay and layer adaptation: kernels and embeddings, no scales and biases.

    A parameter is excluded if its name is `bias` or `scale` or if it has fewer than two dimensions (in a stack below
    `layers/`: per layer). Module names do not matter; Google's code searches the whole path for `LayerNorm`,
    `layer_norm` and `bias` instead.

    Args:
        params: a tree of parameters, of which paths and shapes are read.

    Returns:
        A tree of the same structure with booleans as leaves.

    Source: google-research/albert, lamb_optimizer.py and optimization.py.
    """
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: _is_matrix(_path(keys), leaf), params)


class _Moments(NamedTuple):
    mean: PyTree
    square: PyTree


def _scale_by_adam(b1: float, b2: float, eps: float, *, bias_correction: bool) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps) if bias_correction else _scale_by_uncorrected_adam(b1, b2, eps)


def _scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Rescales updates to m / (sqrt(v) + eps), as optax.scale_by_adam without bias correction."""

    def init(params: PyTree) -> _Moments:
        return _Moments(mean=optax.tree.zeros_like(params), square=optax.tree.zeros_like(params))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, _Moments]:
        del params
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, updates)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)
        return scaled, _Moments(mean, square)

    return optax.GradientTransformation(init, update)


def _layer_trust_ratio(update: Float[Array, "..."], param: Float[Array, "..."], stacked: bool) -> Float[Array, "..."]:
    """||w|| / ||update|| of a leaf, or of each slice of a stacked leaf; 1 if either norm is zero."""
    axes = tuple(range(1, param.ndim)) if stacked else None
    param_norm, update_norm = (jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=True)) for x in (param, update))
    both = (param_norm > 0) & (update_norm > 0)
    return jnp.where(both, param_norm / jnp.where(both, update_norm, 1.0), 1.0)


def _scale_by_layer_trust_ratio() -> optax.GradientTransformation:
    """Scales updates by the trust ratio, as optax.scale_by_trust_ratio, with exclusions and stacked layers."""

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        def scale(keys: tuple, update: Array, param: Array) -> Array:
            path = _path(keys)
            if not _is_matrix(path, param):
                return update
            return update * _layer_trust_ratio(update, param, stacked=_STACKED.search(path) is not None)

        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps a transformation to get gradients and parameters in float32, so that its state is float32 too."""

    def cast(tree: PyTree) -> PyTree:
        return optax.tree.cast(tree, jnp.float32)

    def init(params: PyTree) -> Any:
        return inner.init(cast(params))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        return inner.update(cast(updates), state, cast(params))

    return optax.GradientTransformation(init, update)


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """The LAMB optimizer, as Google trained ALBERT with it.

    LAMB adapts the learning rate of each layer to the norm of its weights, for training with large batches:

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2         without bias correction
        u = m / (sqrt(v) + eps) + weight_decay w
        w = w - learning_rate (||w|| / ||u||) u                 the ratio is 1 if either norm is 0

    LayerNorms and biases have no weight decay and a trust ratio of 1. In a leaf below `layers/`, each slice of the
    first axis is a layer with its own ratio, so that stacking layers does not change the updates; ALBERT's shared layer
    is one layer. In contrast, optax.lamb corrects the bias and has one ratio for every leaf.

    Args:
        learning_rate: a number, or a schedule (`warmup_polynomial`).
        b1: exponential decay rate of the first moment m.
        b2: exponential decay rate of the second moment v.
        eps: added to the denominator, outside of the square root.
        weight_decay: strength of the weight decay, which is added before the trust ratio.
        bias_correction: whether to divide m by 1 - b1^t and v by 1 - b2^t at update t, as in the paper; Google's code
            does not.

    Returns:
        The corresponding `optax.GradientTransformation`; its `update` needs the parameters, and its updates and state
        are float32.

    Source: You et al. 2020, Large Batch Optimization for Deep Learning (arXiv:1904.00962), algorithm 2;
        google-research/albert, lamb_optimizer.py.
    """
    return _in_float32(
        optax.chain(
            _scale_by_adam(b1, b2, eps, bias_correction=bias_correction),
            optax.add_decayed_weights(weight_decay, mask=decay_mask),
            _scale_by_layer_trust_ratio(),
            optax.scale_by_learning_rate(learning_rate),
        )
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    bias_correction: bool = True,
) -> optax.GradientTransformation:
    """The AdamW optimizer with BERT's constants, and without weight decay on LayerNorms and biases.

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  each divided by its bias correction
        w = w - learning_rate (m / (sqrt(v) + eps) + weight_decay w)

    Google's AdamWeightDecayOptimizer, which trained BERT and fine-tuned BERT and ALBERT, has no bias correction. With
    the same learning rate its updates are larger at first: 3.2 times at the first update, 6.5 times at the tenth, 1.3
    times at the thousandth. `bias_correction=False` reproduces it.

    Args:
        learning_rate: a number, or a schedule (`warmup_polynomial`).
        b1: exponential decay rate of the first moment m.
        b2: exponential decay rate of the second moment v.
        eps: added to the denominator, outside of the square root.
        weight_decay: strength of the weight decay.
        bias_correction: whether to divide m by 1 - b1^t and v by 1 - b2^t at update t.

    Returns:
        The corresponding `optax.GradientTransformation`; its `update` needs the parameters, and its updates and state
        are float32.

    Source: Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2; constants and exclusions from google-research's
        bert and albert, optimization.py.
    """
    return _in_float32(
        optax.chain(
            _scale_by_adam(b1, b2, eps, bias_correction=bias_correction),
            optax.add_decayed_weights(weight_decay, mask=decay_mask),
            optax.scale_by_learning_rate(learning_rate),
        )
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {"lamb": lamb, "adamw": adamw}


def warmup_polynomial(
    peak: float, warmup_steps: int, total_steps: int, power: float = 1.0, end: float = 0.0, *, decay_from: str = "start"
) -> optax.Schedule:
    """Schedule with linear warm-up and polynomial decay, as for BERT and ALBERT, or for DistilBERT.

        step < warmup_steps:  peak step / warmup_steps
        otherwise:            end + (peak - end) (1 - (step - from) / (total_steps - from))^power, and `end` from
                              total_steps on

    Google's decay counts from step 0 (`decay_from="start"`), so that the rate jumps down at the end of the warm-up: in
    ALBERT's recipe (peak 0.00176, 3125 of 125000 steps) from nearly 0.00176 to 0.001716. Hugging Face's decay counts
    from the end of the warm-up (`decay_from="peak"`), so that the rate reaches the peak: with 5% warm-up it is 1 / 0.95
    times Google's rate at every later step.

    Args:
        peak: learning rate at which the warm-up ends.
        warmup_steps: number of warm-up steps; 0 for no warm-up.
        total_steps: step at which the rate reaches `end`.
        power: exponent of the decay; 1 is linear.
        end: final learning rate.
        decay_from: a key of DECAYS.

    Returns:
        A function from the number of previous updates to the learning rate; with a warm-up the first is 0.

    Raises:
        ValueError: if total_steps is not positive, warmup_steps is not between 0 and total_steps, or decay_from is not
            a key of DECAYS.

    Source: google-research's bert and albert, optimization.py; huggingface/transformers,
        get_linear_schedule_with_warmup, as in its research_projects/distillation.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; a schedule needs at least 1 step.")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; expected 0 to total_steps ({total_steps}).")
    # If the warm-up takes all steps, the decay still needs one step to end at total_steps.
    begin = min(_choose("decay_from", decay_from, DECAYS) * warmup_steps, total_steps - 1)
    decay = optax.polynomial_schedule(peak, end, power, transition_steps=total_steps - begin, transition_begin=begin)

    def learning_rate_at(count: ArrayLike) -> Array:
        warmup = jnp.asarray(count, jnp.float32) * (peak / max(warmup_steps, 1))
        return jnp.where(jnp.asarray(count) < warmup_steps, warmup, decay(count))

    return learning_rate_at


# Start of the decay, in multiples of the warm-up.
DECAYS = {"start": 0, "peak": 1}

# Exponent of the decay of each schedule.
SCHEDULES = {"linear": 1.0, "constant": 0.0}


def make_schedule(
    name: str, learning_rate: float, warmup_steps: int, total_steps: int, *, decay_from: str = "start"
) -> optax.Schedule:
    """Creates a schedule by name: `warmup_polynomial` with a decay to zero ("linear") or without decay ("constant").

    Args:
        name: a key of SCHEDULES.
        learning_rate: learning rate at which the warm-up ends.
        warmup_steps: number of warm-up steps; 0 for no warm-up.
        total_steps: step at which a decaying rate reaches zero.
        decay_from: a key of DECAYS: the decay counts from step 0 or from the end of the warm-up.

    Returns:
        A function from the number of previous updates to the learning rate.

    Raises:
        ValueError: for an unknown name or arguments that `warmup_polynomial` refuses.
    """
    power = _choose("schedule", name, SCHEDULES)
    return warmup_polynomial(learning_rate, warmup_steps, total_steps, power, decay_from=decay_from)


def make_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    schedule: str = "linear",
    decay_from: str = "start",
    weight_decay: float = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    bias_correction: bool | None = None,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """Creates an optimizer by name, with its schedule and gradient clipping.

    The gradient of the global batch is clipped before the optimizer, whatever the mesh. In Google's code each replica
    clips its own gradient before they are combined, so that the result depends on the number of replicas.

    Args:
        name: a key of OPTIMIZERS.
        learning_rate: peak of the schedule.
        total_steps: length of the schedule.
        warmup_steps: warm-up of the schedule.
        schedule: a key of SCHEDULES. To log the rate of a step, call `make_schedule` with the same values.
        decay_from: a key of DECAYS, for the schedule.
        weight_decay: strength of the weight decay.
        b1: exponential decay rate of the first moment.
        b2: exponential decay rate of the second moment.
        eps: added to the denominator, outside of the square root.
        bias_correction: whether to correct the bias of both moments; None for the optimizer's default (AdamW with, LAMB
            without).
        clip_norm: maximum global norm of the gradient; None or 0 for no clipping, as 0 means in Hugging Face's
            max_grad_norm and MaxText's gradient_clipping_threshold.

    Returns:
        The corresponding `optax.GradientTransformation`; its `update` needs the parameters.

    Raises:
        ValueError: for an unknown optimizer or schedule, arguments that `warmup_polynomial` refuses, or a clip_norm
            that is negative or NaN.
    """
    if clip_norm is not None and not clip_norm >= 0:
        raise ValueError(f"clip_norm is {clip_norm}; expected a positive number, or None or 0 for no clipping.")
    create = _choose("optimizer", name, OPTIMIZERS)
    learning_rate_at = make_schedule(schedule, learning_rate, warmup_steps, total_steps, decay_from=decay_from)
    corrected = {} if bias_correction is None else {"bias_correction": bias_correction}
    optimizer = create(learning_rate_at, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, **corrected)
    if not clip_norm:
        return optimizer
    return _in_float32(optax.chain(optax.clip_by_global_norm(clip_norm), optimizer))


def _choose(kind: str, name: str, table: Mapping[str, _T]) -> _T:
    if name not in table:
        raise ValueError(f"Unknown {kind} {name!r}; expected one of: {', '.join(table)}.")
    return table[name]
