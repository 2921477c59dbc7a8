"""Parameters of a model as a plain nested dictionary, the form that training and checkpoints use."""

from typing import Any

import jax
from flax import nnx


def get_params(model: nnx.Module) -> dict[str, Any]:
    """The model's parameters: nested dictionaries with string keys, arrays at the leaves."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def with_params(structure: nnx.GraphDef, params: dict[str, Any]) -> Any:
    """The model of a given structure (`nnx.graphdef(model)`) with the given parameters."""
    return nnx.merge(structure, params)


def abstract_params(create: Any) -> dict[str, Any]:
    """Shapes and dtypes of the parameters of the model that `create()` would make, without making it."""
    return get_params(nnx.eval_shape(create))


def num_parameters(params: Any) -> int:
    """Number of parameters in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
