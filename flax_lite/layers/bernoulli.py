"""Bernoulli draws for dropout: those of jax.random, in one pass over memory on CPU too.

JAX computes Threefry on CPU by a loop of five steps, each of which writes all its words to memory and reads them again.
Written out, XLA makes one kernel of it: 34 times as fast for 8.4 million draws (86 and 2.5 ms; two CPU cores, jax
0.10.2), and compiled in a sixth of the time. On GPU and TPU JAX writes it out itself.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

Words = tuple[UInt32[Array, "..."], UInt32[Array, "..."]]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def bernoulli(key: jax.Array, probability: float, shape: tuple[Any, ...]) -> Bool[Array, "..."]:
    """True with a probability, each element on its own: bit for bit jax.random.bernoulli(key, probability, shape).

    What the kernel here does not know jax.random draws: other generators, untyped keys, shapes with jax.export's
    symbolic dimensions or 2^32 elements, and JAX's older numbering of elements (jax_threefry_partitionable off).

    Args:
        key: of any generator.
        probability: in [0, 1], rounded to float32.
        shape: of the draw.
    """
    if not _is_threefry(key) or not all(isinstance(size, int) for size in shape) or math.prod(shape) >= 2**32:
        return jax.random.bernoulli(key, np.float32(probability), shape)
    return draw_bernoulli(jax.random.key_data(key), float(np.float32(probability)), shape)


def _is_threefry(key: jax.Array) -> bool:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return typed and str(jax.random.key_impl(key)) == "threefry2x32" and bool(jax.threefry_partitionable.value)


@jax.jit(static_argnums=(1, 2))
def draw_bernoulli(key: UInt32[Array, "2"], probability: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """`bernoulli` from a Threefry key's two words; a function of its own name in the traced program."""
    places = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    first, second = threefry_2x32((key[0], key[1]), (jnp.zeros_like(places), places))
    # jax.random compares the upper 23 bits as a fraction of 2^23.
    return ((first ^ second) >> 9) < math.ceil(probability * 2**23)


def threefry_2x32(key: Words, counter: Words) -> Words:
    """The 20-round Threefry-2x32 hash of a counter of two words under a key of two words.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11; Random123, threefry.h.
    """
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    first, second = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            first = first + second
            second = first ^ ((second << bits) | (second >> (32 - bits)))
        first = first + schedule[(group + 1) % 3]
        second = second + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return first, second
