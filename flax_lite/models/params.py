"""Parameters of a model as a nested dictionary, as training and checkpoints use them, and their sharding.

A short table of rules decides which axis of a parameter is split over the mesh axis "fsdp". Splitting a parameter (and
its optimizer state) costs communication and saves memory. Other parameters are replicated; without that mesh axis, all
are.
"""

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

# (regular expression on a path such as "params/encoder/layer/attention/query/kernel", policy); the first match wins.
# "largest": split the largest divisible axis; "largest_behind_first": the same without the leading axis, which the
# layer scan iterates over; "replicate": on every device.
RULES = (
    (r"(^|/)layers/", "largest_behind_first"),
    (r"/(kernel|embedding)$", "largest"),
    (r".*", "replicate"),
)
# Splitting smaller leaves (up to a 256 x 256 kernel) does not save enough memory to be worth a collective.
_MIN_SPLIT_ELEMENTS = 2**16


def tree_shardings(abstract: Any, mesh: Mesh) -> Any:
    """Returns the sharding of every leaf of a tree of parameters or of a train state.

    Args:
        abstract: tree of arrays or ShapeDtypeStructs, or a flat dictionary by path. Optimizer state repeats the paths
            of the parameters, so that one table serves both.
        mesh: the mesh.
    """
    return jax.tree.map(functools.partial(NamedSharding, mesh), tree_specs(abstract, _parts(mesh)))


def tree_specs(abstract: Any, parts: int) -> Any:
    """Returns the partition spec of every leaf, for an axis "fsdp" of `parts` devices."""

    def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        name = path_name(path)
        policy = next((policy for pattern, policy in RULES if re.search(pattern, name)), "replicate")
        return _spec(policy, leaf.shape, parts)

    return jax.tree_util.tree_map_with_path(spec, abstract)


def gathered(tree: Any) -> Any:
    """Constrains arrays to be replicated over the current mesh: inside a jitted step, before parameters are used.

    Otherwise the compiler would split the matrix products along the axis of the parameter and communicate activations,
    which are larger than the parameters of models this small. Without a mesh axis "fsdp" the tree is returned
    unchanged.
    """
    if _parts(jax.sharding.get_abstract_mesh()) == 1:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec()), tree)


def split(tree: Any) -> Any:
    """Constrains arrays to the sharding by the rules: for gradients, before the optimizer."""
    mesh = jax.sharding.get_abstract_mesh()
    if _parts(mesh) == 1:
        return tree
    # Replicated first: otherwise the compiler splits the sums of a gradient too, and communicates activations for it.
    return jax.tree.map(jax.lax.with_sharding_constraint, gathered(tree), tree_specs(tree, _parts(mesh)))


def path_name(path: tuple[Any, ...]) -> str:
    """Formats a tree path as "params/layer/kernel"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def _parts(mesh: Mesh | AbstractMesh) -> int:
    return mesh.shape.get("fsdp", 1)


def _spec(policy: str, shape: Sequence[int], parts: int) -> PartitionSpec:
    if policy == "replicate" or parts == 1 or len(shape) < 2 or math.prod(shape) < _MIN_SPLIT_ELEMENTS:
        return PartitionSpec()
    first = {"largest": 0, "largest_behind_first": 1}[policy]
    axes = [axis for axis in range(first, len(shape)) if shape[axis] % parts == 0]
    if not axes:
        return PartitionSpec()
    chosen = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*("fsdp" if axis == chosen else None for axis in range(len(shape))))


def get_params(model: nnx.Module) -> dict[str, Any]:
    """Returns the model's parameters as nested dictionaries with string keys and array leaves."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def with_params(structure: nnx.GraphDef, params: dict[str, Any]) -> Any:
    """Returns the model of the given structure (`nnx.graphdef(model)`) with the given parameters."""
    return nnx.merge(structure, params)


def abstract_params(create: Any) -> dict[str, Any]:
    """Returns shapes and dtypes of the parameters of the model that `create()` returns, without allocating it."""
    return get_params(nnx.eval_shape(create))


def num_parameters(params: Any) -> int:
    """Counts the parameters in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
