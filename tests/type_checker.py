"""Checks types and shapes of every annotated call of flax_lite; conftest.py applies it with an import hook."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

# An int passes for a float, as it does for static checkers.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable) -> Callable:
    """beartype, but not on constructors: JAX rebuilds outputs with anything at their leaves; configs check themselves.

    Nor on methods that mention `Self`: the hook decorates them one by one, and beartype reads it on classes only.
    """
    if function.__name__ == "__init__":
        return function
    try:
        return _check(function)
    except BeartypeDecorHintPep673Exception:
        return function
