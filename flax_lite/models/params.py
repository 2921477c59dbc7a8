"""Parameters of a model as a nested dictionary, as training and checkpoints use them, and their places on devices.

Which device holds which part of a parameter is a short table of rules, for a mesh with an axis "fsdp". Splitting a
parameter (and its optimizer state) over that axis costs communication and saves memory. What the table does not split
is on every device, and so is everything where the mesh has no such axis.
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
# "largest": split the largest axis that divides; "largest_behind_first": not the leading one, which the layer scan
# walks over; "replicate": on every device.
RULES = (
    (r"(^|/)layers/", "largest_behind_first"),
    (r"/(kernel|embedding)$", "largest"),
    (r".*", "replicate"),
)
# Below this splitting a leaf saves nothing worth a collective (a 256 x 256 kernel).
_MIN_SPLIT_ELEMENTS = 2**16


def tree_shardings(abstract: Any, mesh: Mesh) -> Any:
    """A sharding for every leaf of a tree of parameters, or of a train state, by the first rule that matches its path.

    Args:
        abstract: tree of arrays or ShapeDtypeStructs; optimizer state repeats the parameters' paths, so one table
            serves both. A flat dictionary by path will do.
        mesh: the mesh.
    """
    return jax.tree.map(functools.partial(NamedSharding, mesh), tree_specs(abstract, _parts(mesh)))


def tree_specs(abstract: Any, parts: int) -> Any:
    """The same as partition specs, for an axis "fsdp" of `parts` devices."""

    def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        name = path_name(path)
        policy = next((policy for pattern, policy in RULES if re.search(pattern, name)), "replicate")
        return _spec(policy, leaf.shape, parts)

    return jax.tree_util.tree_map_with_path(spec, abstract)


def gathered(tree: Any) -> Any:
    """The same arrays, whole on every device of the mesh that is set: inside a jitted step, before parameters are used.

    Without it the compiler would split the products themselves along whatever axis a parameter is split, and move
    activations instead: of models as small as these that is the larger part. A mesh without an axis "fsdp", or no mesh,
    leaves the tree as it is.
    """
    if _parts(jax.sharding.get_abstract_mesh()) == 1:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec()), tree)


def split(tree: Any) -> Any:
    """The same arrays, each device holding what the rules give it: for gradients, before the optimizer sees them."""
    mesh = jax.sharding.get_abstract_mesh()
    if _parts(mesh) == 1:
        return tree
    # Whole first: or the compiler splits the sums that make up a gradient as well, and moves activations for it.
    return jax.tree.map(jax.lax.with_sharding_constraint, gathered(tree), tree_specs(tree, _parts(mesh)))


def path_name(path: tuple[Any, ...]) -> str:
    """A tree path as "params/layer/kernel"."""
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
