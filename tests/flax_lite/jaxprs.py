"""Inspection of traced programs, including the bodies of loops, conditionals, nested jits and derivative rules."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from flax_lite.layers.kernels.threefry import draw_bernoulli


class Intermediate(NamedTuple):
    """An array that a program computes on the way."""

    elements: int
    shape: tuple[int, ...]
    primitive: str


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> ClosedJaxpr:
    """Traces a function; positional arguments are traced, keyword arguments are passed as they are."""
    return jax.make_jaxpr(lambda *traced: function(*traced, **kwargs))(*args)


def equations(program: ClosedJaxpr | Jaxpr) -> Iterator[JaxprEqn]:
    """Yields every equation of a program and of the programs nested in it; the body of a loop counts once."""
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    for equation in jaxpr.eqns:
        yield equation
        for inner in _programs_in(list(equation.params.values())):
            yield from equations(inner)


def _programs_in(value: Any) -> Iterator[ClosedJaxpr | Jaxpr]:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _programs_in(item)
    elif isinstance(value, dict):
        yield from _programs_in(list(value.values()))


def primitives(program: ClosedJaxpr) -> Counter[str]:
    """Counts the occurrences of each primitive."""
    return Counter(equation.primitive.name for equation in equations(program))


def random_bit_shapes(program: ClosedJaxpr) -> list[tuple[int, ...]]:
    """Returns the sorted shapes of all random draws: jax.random's and those of flax_lite.layers.kernels.threefry."""
    draws = (
        equation
        for equation in equations(program)
        if equation.primitive.name == "random_bits" or equation.params.get("name") == draw_bernoulli.__name__
    )
    return sorted(equation.outvars[0].aval.shape for equation in draws)


def intermediates(program: ClosedJaxpr) -> Iterator[Intermediate]:
    """Yields every array that an equation produces, without the inputs of the program."""
    for equation in equations(program):
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            yield Intermediate(math.prod(shape), tuple(shape), equation.primitive.name)


def largest_intermediates(program: ClosedJaxpr, count: int = 3) -> list[Intermediate]:
    """Returns the arrays with the most elements, largest first."""
    return sorted(set(intermediates(program)), reverse=True)[:count]


def multiply_adds(program: ClosedJaxpr | Jaxpr) -> int:
    """Counts the multiply-adds of a program's matrix products; the body of a scan counts as often as it runs.

    Raises:
        ValueError: for a loop or a branch whose number of runs is unknown.
    """
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("while", "cond"):
            raise ValueError(f"the number of runs of a {equation.primitive.name} is not known")
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        inner = sum(map(multiply_adds, _programs_in(list(equation.params.values()))))
        total += inner * equation.params.get("length", 1) if equation.primitive.name == "scan" else inner
    return total
