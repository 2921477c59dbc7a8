"""Looking into a traced program, the bodies of its loops, conditionals, nested jits and derivative rules included."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from flax_lite.layers.bernoulli import draw_bernoulli


class Intermediate(NamedTuple):
    """An array that a program computes."""

    elements: int
    shape: tuple[int, ...]
    primitive: str


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> ClosedJaxpr:
    """The program of a function; arguments are traced, keyword arguments are passed as they are."""
    return jax.make_jaxpr(lambda *traced: function(*traced, **kwargs))(*args)


def equations(program: ClosedJaxpr | Jaxpr) -> Iterator[JaxprEqn]:
    """Every equation of a program, in whatever nested program it stands; the body of a loop counts once."""
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
    """How often each primitive occurs."""
    return Counter(equation.primitive.name for equation in equations(program))


def random_bit_shapes(program: ClosedJaxpr) -> list[tuple[int, ...]]:
    """The shape of every draw of random bits, sorted: jax.random's, and dropout's own (flax_lite.layers.bernoulli)."""
    draws = (
        equation
        for equation in equations(program)
        if equation.primitive.name == "random_bits" or equation.params.get("name") == draw_bernoulli.__name__
    )
    return sorted(equation.outvars[0].aval.shape for equation in draws)


def intermediates(program: ClosedJaxpr) -> Iterator[Intermediate]:
    """Every array that an equation produces, the program's own inputs left out."""
    for equation in equations(program):
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            yield Intermediate(math.prod(shape), tuple(shape), equation.primitive.name)


def largest_intermediates(program: ClosedJaxpr, count: int = 3) -> list[Intermediate]:
    """The arrays with the most elements, largest first."""
    return sorted(set(intermediates(program)), reverse=True)[:count]


def multiply_adds(program: ClosedJaxpr | Jaxpr) -> int:
    """Multiply-adds of the matrix products that a program runs: the body of a scan counts as often as it runs.

    Raises:
        ValueError: for a loop or a branch whose runs cannot be told.
    """
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("while", "cond"):
            raise ValueError(f"how often a {equation.primitive.name} runs its products is not known")
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        inner = sum(map(multiply_adds, _programs_in(list(equation.params.values()))))
        total += inner * equation.params.get("length", 1) if equation.primitive.name == "scan" else inner
    return total
