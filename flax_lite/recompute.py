"""What is cheaper to compute twice than to keep."""

import functools

import jax

# Keeps a function's inputs for the backward pass and computes what is between again. Without barriers: in the body of a
# loop, where forward and backward pass are programs of their own, XLA cannot merge the two computations.
recomputed = functools.partial(jax.checkpoint, prevent_cse=False)
