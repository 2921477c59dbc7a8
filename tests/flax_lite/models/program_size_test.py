"""One scan over the depth: the size of the program does not grow with the number of layers."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from flax_lite.layers.execution import Execution
from tests.flax_lite import jaxprs, tiny

DEPTHS = (12, 96)
# The three sources of a layer's parameters: one shared layer, an indexed stack, and a stack scanned over.
STACKS = {
    "albert": tiny.albert,
    "albert in inner groups": functools.partial(tiny.albert, num_hidden_groups=2, inner_group_num=2),
    "bert": tiny.bert,
}


def abstract_model(make, depth, execution):
    config = make(num_hidden_layers=depth)
    return nnx.eval_shape(lambda: tiny.MODELS["MaskedLM"](config, rngs=nnx.Rngs(0), execution=execution))


def gradient(model, ids, positions, key):
    return jax.grad(lambda model: tiny.scalar(model(ids, key=key, masked_positions=positions)))(model)


def arguments(make, depth, execution=None):
    ids, positions = jax.ShapeDtypeStruct((2, 7), jnp.int32), jax.ShapeDtypeStruct((2, 5), jnp.int32)
    return abstract_model(make, depth, execution), ids, positions, jax.random.key(0)


def count_lines(make, depth, execution=None):
    """Counts the StableHLO lines of the gradient program, with dropout."""
    return len(jax.jit(gradient).lower(*arguments(make, depth, execution)).as_text().splitlines())


@pytest.mark.parametrize(
    ("stack", "execution"), [("albert", Execution(remat="full")), ("albert in inner groups", None), ("bert", None)]
)
def test_gradient_program_has_the_same_size_at_any_depth(stack, execution):
    """With library defaults or rematerialized, with dropout. The depth affects loop bounds and array sizes only, so
    line counts are within 2% (equal up to shapes that are printed once).
    """
    sizes = [count_lines(STACKS[stack], depth, execution) for depth in DEPTHS]
    assert max(sizes) <= 1.02 * min(sizes), dict(zip(DEPTHS, sizes, strict=True))


def test_unrolled_program_grows():
    """The measure detects growth: 4 more unrolled layers are hundreds of lines."""
    short, long = (count_lines(tiny.albert, depth, Execution(unroll=0)) for depth in (2, 6))
    assert long > short + 200


@pytest.mark.parametrize("stack", STACKS)
def test_depth_is_one_loop_without_nesting(stack):
    """Forward and backward pass are one scan each, without nested scans."""
    program = jaxprs.trace(gradient, *arguments(STACKS[stack], 4 if stack == "albert in inner groups" else 6))
    scans = [equation for equation in jaxprs.equations(program) if equation.primitive.name == "scan"]
    assert len(scans) == 2
    assert not any(jaxprs.primitives(scan.params["jaxpr"])["scan"] for scan in scans)
