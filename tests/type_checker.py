"""Checks types and shapes of every annotated call of flax_lite; jaxtyping's option in pyproject.toml applies it."""

from collections.abc import Callable

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

# An int passes for a float, as it does for static checkers.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable) -> Callable:
    """beartype, but not on constructors: JAX rebuilds outputs with anything at their leaves; configs check themselves.

    Nor on methods that mention `Self`: the hook decorates them one by one, and beartype reads it on classes only. Nor
    on functions within functions while checks are off: each time one is defined, beartype compiles code for it, 5 ms.
    """
    if function.__name__ == "__init__":
        return function
    if jaxtyping.config.jaxtyping_disable and "<locals>" in function.__qualname__:
        return function
    try:
        return _check(function)
    except BeartypeDecorHintPep673Exception:
        return function
