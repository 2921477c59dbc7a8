"""Optimizers of the papers as optax transformations: LAMB as ALBERT was trained with it, AdamW, and their schedule.

They read the kind of a parameter from its own name and its shape: scales and biases are left out of weight decay. LAMB
treats each slice of a leaf below `layers/` as a layer of its own. Moments and norms are float32 whatever the
parameters are: bfloat16 parameters lose no precision inside the optimizer, only where the float32 update is added and
rounded (there is no float32 copy of them).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree

# Flax's own names of what a LayerNorm and a Dense have beside matrices. Of stacks that are not below `layers/` the
# shapes alone do not tell.
_VECTORS = frozenset({"bias", "scale"})

# A number after `layers` means layers held one by one, as in an nnx.List: nothing is stacked there.
_STACKED = re.compile(r"(^|/)layers/(?!\d+(/|$))")

_T = TypeVar("_T")


def _path(keys: tuple) -> str:
    """Names between slashes; what nnx.Variable calls its array is none of them."""
    return jax.tree_util.keystr(keys, simple=True, separator="/").removesuffix("/value")


def _is_matrix(path: str, leaf: Any) -> bool:
    return path.rpartition("/")[2] not in _VECTORS and np.ndim(leaf) - bool(_STACKED.search(path)) >= 2


def decay_mask(params: PyTree) -> PyTree:
    """Which parameters weight decay and layer adaptation apply to: kernels and embeddings, no scales and no biases.

    Google's code has a list of names for it (`LayerNorm`, `layer_norm`, `bias`), searched for anywhere in the path.
    What a module is called does not matter here: a parameter is left out that is called `bias` or `scale`, or has less
    than two dimensions, of a stack below `layers/` in each layer.

    Args:
        params: tree of parameters; its paths and shapes are read.

    Returns:
        The same tree with True and False at its leaves.

    Source: Google ALBERT, lamb_optimizer.py and optimization.py.
    """
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: _is_matrix(_path(keys), leaf), params)


class _Moments(NamedTuple):
    mean: PyTree
    square: PyTree


def _scale_by_adam(b1: float, b2: float, eps: float, *, bias_correction: bool) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps) if bias_correction else _scale_by_uncorrected_adam(b1, b2, eps)


def _scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """`m / (sqrt(v) + eps)`, where optax.scale_by_adam would correct the bias of m and v first."""

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
    """`||w|| / ||update||` of a leaf, or of each slice of a stacked one; 1 where either is zero."""
    axes = tuple(range(1, param.ndim)) if stacked else None
    param_norm, update_norm = (jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=True)) for x in (param, update))
    both = (param_norm > 0) & (update_norm > 0)
    return jnp.where(both, param_norm / jnp.where(both, update_norm, 1.0), 1.0)


def _scale_by_layer_trust_ratio() -> optax.GradientTransformation:
    """optax.scale_by_trust_ratio knows neither exclusions nor stacked layers."""

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        def scale(keys: tuple, update: Array, param: Array) -> Array:
            path = _path(keys)
            if not _is_matrix(path, param):
                return update
            return update * _layer_trust_ratio(update, param, stacked=_STACKED.search(path) is not None)

        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Hands gradients and parameters to `inner` as float32, so that its state is float32 too."""

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
    """LAMB as Google trained ALBERT with it.

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2         no bias correction
        u = m / (sqrt(v) + eps) + weight_decay w
        w = w - learning_rate (||w|| / ||u||) u                 the ratio is 1 where either norm is 0

    LayerNorms and biases have no weight decay and a ratio of 1. The ratio belongs to a layer: a leaf below `layers/`
    holds one layer in each slice of its first axis, and each slice has its own, so that stacking layers changes no
    update. ALBERT's single shared layer is one layer.

    optax.lamb corrects the bias and adapts every leaf as a whole.

    Args:
        learning_rate: a number, or a schedule (`warmup_polynomial`).
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.
        eps: added to the square root.
        weight_decay: strength of the decay, before the trust ratio.
        bias_correction: divides m by 1 - b1^t and v by 1 - b2^t at update t, as the paper does and Google's code does
            not.

    Returns:
        A transformation whose `update` needs the parameters. Its updates and its state are float32.

    Source: You et al. 2019, algorithm 2; Google ALBERT, lamb_optimizer.py.
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
    """AdamW with BERT's constants, and no decay on LayerNorms and biases.

    Bias-corrected, as published. The optimizer that Google trained BERT and fine-tuned BERT and ALBERT with leaves the
    correction out, which makes its updates larger at first (3.2 times at the first one, 6.5 at the tenth, 1.3 at the
    thousandth, under the same learning rate): bias_correction=False is that one.

    Args:
        learning_rate: a number, or a schedule (`warmup_polynomial`).
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.
        eps: added to the square root.
        weight_decay: strength of the decay.
        bias_correction: divides the means by 1 - b1^t and 1 - b2^t at update t.

    Returns:
        A transformation whose `update` needs the parameters. Its updates and its state are float32.

    Source: Loshchilov and Hutter 2019, algorithm 2; constants and exclusions, and AdamWeightDecayOptimizer without the
        correction, from Google BERT and ALBERT, optimization.py.
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
    """A linear warm-up and a polynomial decay: the learning rate of BERT and ALBERT, or of DistilBERT.

        step < warmup_steps:  peak step / warmup_steps
        otherwise:            end + (peak - end) (1 - (step - from) / (total_steps - from))^power, and `end` from
                              total_steps on

    Google's decay counts from step 0 (`decay_from="start"`), so the rate jumps down where the two meet: in ALBERT's
    recipe (peak 0.00176, 3125 of 125000 steps) the warm-up heads for 0.00176 and the decay takes over at 0.001716.
    Hugging Face's counts from the end of the warm-up (`decay_from="peak"`) and reaches the peak: with a twentieth of
    warm-up its rate is 1 / 0.95 of the other one at every later step.

    Args:
        peak: learning rate that the warm-up heads for.
        warmup_steps: length of the warm-up; 0 for none.
        total_steps: step at which the rate reaches `end`.
        power: exponent of the decay; 1 is linear.
        end: learning rate at the end.
        decay_from: a key of DECAYS.

    Returns:
        The learning rate as a function of the number of updates made before. With a warm-up the first one has rate 0.

    Raises:
        ValueError: total_steps is not positive, warmup_steps is not between 0 and total_steps, or decay_from is none of
            DECAYS.

    Source: Google BERT and ALBERT, optimization.py; huggingface/transformers, get_linear_schedule_with_warmup, which
        research_projects/distillation takes.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; a schedule needs at least 1 step.")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; expected 0 to total_steps ({total_steps}).")
    # A warm-up that fills the run leaves no step to the decay: it is over at total_steps all the same.
    begin = min(_choose("decay_from", decay_from, DECAYS) * warmup_steps, total_steps - 1)
    decay = optax.polynomial_schedule(peak, end, power, transition_steps=total_steps - begin, transition_begin=begin)

    def learning_rate_at(count: ArrayLike) -> Array:
        warmup = jnp.asarray(count, jnp.float32) * (peak / max(warmup_steps, 1))
        return jnp.where(jnp.asarray(count) < warmup_steps, warmup, decay(count))

    return learning_rate_at


# Where a decay counts from, to how many warm-ups that is from step 0.
DECAYS = {"start": 0, "peak": 1}

# Name of a schedule to the exponent of its decay.
SCHEDULES = {"linear": 1.0, "constant": 0.0}


def make_schedule(
    name: str, learning_rate: float, warmup_steps: int, total_steps: int, *, decay_from: str = "start"
) -> optax.Schedule:
    """A schedule by its name: `warmup_polynomial` that decays to zero ("linear") or not at all ("constant").

    Args:
        name: a key of SCHEDULES.
        learning_rate: the rate that the warm-up heads for.
        warmup_steps: length of the warm-up; 0 for none.
        total_steps: step at which a decaying rate reaches zero.
        decay_from: a key of DECAYS: step 0, or the end of the warm-up.

    Returns:
        The learning rate as a function of the number of updates made before.

    Raises:
        ValueError: unknown name, or what `warmup_polynomial` refuses.
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
    """An optimizer by its name, with its schedule, behind gradient clipping.

    The gradient is clipped before the optimizer sees it, as in the original. There each replica clips its own, before
    they are combined, so that the result depends on their number; here it is the gradient of the global batch,
    whatever the mesh.

    Args:
        name: a key of OPTIMIZERS.
        learning_rate: the schedule's peak.
        total_steps: the schedule's length.
        warmup_steps: the schedule's warm-up.
        schedule: a key of SCHEDULES. To log the rate of a step, call what `make_schedule` returns for the same values.
        decay_from: a key of DECAYS, for the schedule.
        weight_decay: strength of the decay.
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.
        eps: added to the square root.
        bias_correction: of both means; None for the optimizer's own default (AdamW's with, Google's LAMB without).
        clip_norm: largest global norm of the gradient; None or 0 for no clipping, as 0 means in Hugging Face's
            max_grad_norm and MaxText's gradient_clipping_threshold: scaled to a norm of 0, nothing would learn.

    Returns:
        A transformation whose `update` needs the parameters.

    Raises:
        ValueError: unknown name of an optimizer or a schedule, what `warmup_polynomial` refuses, or a clip_norm that is
            negative or no number.
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
