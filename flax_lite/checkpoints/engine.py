"""Converts the tensors of a file to the parameters of a model and back, by the rows of the family's weight table.

Reading is strict: every tensor of the file and every parameter of the model is accounted for, and one error lists all
that does not match and says how to allow it.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import weight_table, weight_tables
from flax_lite.architecture.weights import WeightTable
from flax_lite.checkpoints.accounting import Candidate, Matching, Rules, Shapes
from flax_lite.checkpoints.checkpoint import Convention
from flax_lite.checkpoints.expected import ExpectedTensor, encoder_root, expected_tensors, find_expected
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors

# Wrappers of PyTorch modules that prepend a name to the names of the parameters.
_WRAPPERS = {
    "module": "torch.nn.DataParallel or DistributedDataParallel",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "base_model": "PEFT",
    "auto_model": "sentence-transformers",
    "model": "a class around the model, such as Lightning's,",
}
_OTHER = "a class around the model"
_RENAME = (
    " (safetensors.torch: save_file({{name.removeprefix({prefix}): value for name, value in load_file(FILE).items()}}, "
    "FILE, {{'format': 'pt'}}))."
)
# torch.compile around DataParallel around a script's own class.
_MAX_WRAPPERS = 4
Initialize = Callable[[Collection[str]], Mapping[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The result of loading a checkpoint.

    Attributes:
        params: the parameters, by path.
        initialized: paths of the parameters that the file does not hold.
        skipped: names of tensors that belong to other heads.
        remarks: further messages for the log.
    """

    params: dict[str, jax.Array]
    initialized: tuple[str, ...]
    skipped: tuple[str, ...]
    remarks: tuple[str, ...]


def load_parameters(
    tensors: Tensors,
    convention: Convention,
    config: EncoderConfig,
    target: Shapes,
    rules: Rules,
    initialize: Initialize,
) -> Loaded:
    """Returns the parameters of a model, read from the tensors of a file.

    Args:
        tensors: by their names in the file, with dots between the parts.
        convention: names and orientation of the tensors in the file.
        config: the model's.
        target: shape, dtype and sharding of every parameter, by path; the default device where no sharding is given.
        rules: what to accept.
        initialize: returns initial values of the named parameters, for those that may be missing and are.

    Raises:
        ValueError: listing everything missing, unexpected, duplicate or not as expected; or every tensor with NaN or
            infinite values.
    """
    table = weight_table(config)
    check_family([name for name in tensors if not rules.ignores(name)], convention, table)
    expected = expected_tensors(table, config, convention, target.keys(), rules.foreign_heads)
    _check_covered(expected, target)
    matching = Matching(expected, target, rules)
    matching.match(tensors, table, convention)
    try:
        matching.check()
    except ValueError as error:
        raise ValueError(f"{error}\n{_advice(tensors, convention, table)}") from None
    initial = initialize(matching.incomplete) if matching.incomplete else {}
    sources: dict[str, list[Candidate | None]] = {path: [] for path in target}
    for each in expected.values():
        if each.is_parameter:
            sources[each.path].append(matching.selected((each.path, each.index)))
    bad: list[str] = []
    params = {path: _read_parameter(spec, sources[path], initial.get(path), bad) for path, spec in target.items()}
    if bad:
        raise ValueError(
            listing("with values that are NaN or infinite", bad)
            + "\nThe run that wrote them diverged, or the file is damaged. "
            "A tensor named by both ignore and allow_missing is initialized instead."
        )
    return Loaded(params, tuple(sorted(matching.incomplete)), tuple(matching.skipped), tuple(matching.remarks))


def _read_parameter(
    spec: jax.ShapeDtypeStruct, sources: Sequence[Candidate | None], initial: jax.Array | None, bad: list[str]
) -> jax.Array:
    """Reads a parameter: each tensor goes straight into its part of one array, so that no second copy is made.

    Messages about values that are not finite are appended to `bad`.
    """
    values = _aligned_empty(spec.shape, spec.dtype)
    if initial is not None:
        values[...] = initial
    for source in sources:
        if source is not None:
            index = source.expected.index
            problem = source.fill(values if index is None else values[index])
            if problem is not None:
                bad.append(problem)
    # Blocking frees each host buffer before the next parameter is read.
    return jax.device_put(values, spec.sharding).block_until_ready()


def check_family(names: Collection[str], convention: Convention, table: WeightTable) -> None:
    """Checks that at least one tensor has a name of the family.

    Raises:
        ValueError: if none has; the message names the family that fits better, and what to do.
    """
    if names and not _num_known(names, convention, table):
        raise ValueError(
            f"none of the {len(names)} tensors is one of {table.family}'s, the first is {min(names)!r:.100}. "
            + _advice(names, convention, table)
        )


def settle_positions(tensors: Tensors, convention: Convention, config: EncoderConfig) -> EncoderConfig:
    """Returns the config, without `sinusoidal_positions` if the file's position table differs from the formula.

    PyTorch models with this option load whatever table the file holds, so such positions were learned.
    """
    if not config.sinusoidal_positions:
        return config
    table = weight_table(config)
    expected = expected_tensors(table, config, convention, ())
    for name, tensor in tensors.items():
        match = find_expected(name, expected, table, convention)
        if match is not None and match.role == "formula" and not _follows_formula(tensor, match):
            return config.replace(sinusoidal_positions=False)
    return config


def export_tensors(
    params: Mapping[str, jax.Array | np.ndarray], convention: Convention, config: EncoderConfig
) -> dict[str, StoredTensor]:
    """Returns the tensors of a checkpoint by name, from a model's parameters by path; without prefix for an Encoder.

    Raises:
        ValueError: if the family's weight table has no row for a parameter.
    """
    table = weight_table(config)
    expected = expected_tensors(table, config, convention, params.keys())
    _check_covered(expected, params)
    prefix = "" if encoder_root(params) else convention.below_prefix(table.prefix, "")
    tensors = {}
    for each in expected.values():
        if each.role == "value" or (each.role == "copy" and convention.stores_copies):
            tensors[each.name.removeprefix(prefix)] = _stored(params[each.path], each)
        elif each.role == "formula" and convention.stores_formulas:
            tensors[each.name.removeprefix(prefix)] = _formula_tensor(config, each)
    return tensors


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an uninitialized array aligned to 64 bytes: JAX on CPU adopts aligned memory and copies any other."""
    num_bytes = math.prod(shape) * dtype.itemsize
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes].view(dtype).reshape(shape)


def _stored(parameter: jax.Array | np.ndarray, expected: ExpectedTensor) -> StoredTensor:
    def read() -> np.ndarray:
        values = np.asarray(parameter if expected.index is None else parameter[expected.index])
        return values.T if expected.transposed else values

    return StoredTensor(expected.stored_shape(parameter.shape), str(parameter.dtype), read)


def _formula_tensor(config: EncoderConfig, expected: ExpectedTensor) -> StoredTensor:
    shape = (config.max_position_embeddings, config.embedding_size)
    formula = expected.weight.formula
    assert formula is not None, "a tensor of this role has one"
    return StoredTensor(shape, "float32", lambda: formula(*shape))


def _follows_formula(tensor: StoredTensor, expected: ExpectedTensor) -> bool:
    if len(tensor.shape) != 2 or tensor.dtype not in FLOATS or expected.weight.formula is None:
        return False
    values = tensor.read()
    # Values in [-1, 1] are rounded when written, by half an epsilon at most, and perhaps again when converted.
    tolerance = 2 * float(jnp.finfo(values.dtype).eps)
    with np.errstate(invalid="ignore"):  # casting a signaling NaN; the comparison then fails
        values = values.astype(np.float64)
    return bool(np.all(np.abs(values - expected.weight.formula(*tensor.shape)) <= tolerance))


def _check_covered(expected: Mapping[str, ExpectedTensor], paths: Mapping[str, object]) -> None:
    uncovered = set(paths) - {each.path for each in expected.values() if each.is_parameter}
    if uncovered:
        raise ValueError(f"the family's weight table has no row for {', '.join(sorted(uncovered))}; add it there")


def _advice(tensors: Collection[str], convention: Convention, table: WeightTable) -> str:
    """Returns what to do about a checkpoint that does not match."""
    known = {other.family: _num_known(tensors, convention, other) for other in weight_tables()}
    likeliest = max(known, key=lambda family: known[family])
    if known[likeliest] > known[table.family]:
        return (
            f"The tensors are named like {likeliest}'s, but config.json describes {table.family}: "
            "the two files do not belong together."
        )
    if any(".lora_" in name for name in tensors):
        return (
            "The file holds LoRA matrices, which are added to the weights of a model: merge the two where they were "
            "trained (PEFT: model.merge_and_unload()) and save the merged model."
        )
    if around := _wrapper(tensors, convention, table):
        return around
    return (
        "Check that config.json belongs to these weights. Parameters that may be missing are named by "
        "allow_missing (globs on parameter paths), tensors not to read by ignore (globs on names in the file)."
    )


def _wrapper(names: Collection[str], convention: Convention, table: WeightTable) -> str:
    """Returns what to do about a prefix that a wrapper added to most names; empty without one."""
    parts = [name.split(convention.separator) for name in names]
    known = _num_known(names, convention, table)
    for depth in range(1, _MAX_WRAPPERS + 1):
        (scope, count), *_ = collections.Counter(tuple(name[:depth]) for name in parts).most_common(1)
        below = [convention.separator.join(name[depth:]) for name in parts if tuple(name[:depth]) == scope]
        # Removing the family's prefix matches no more names: they are then those of a base checkpoint.
        if 2 * count > len(parts) and _num_known(below, convention, table) > known:
            prefix = convention.separator.join([*scope, ""])
            return (
                f"The names of {count} of {len(parts)} tensors begin with {prefix!r:.100}, which "
                f"{_WRAPPERS.get(scope[-1], _OTHER)} adds: save the model inside it, or remove the prefix"
                + (_RENAME.format(prefix=repr(prefix)[:100]) if convention.name == "torch" else ".")
            )
    return ""


def _num_known(tensors: Collection[str], convention: Convention, table: WeightTable) -> int:
    """Returns how many of the tensors have a name in the family's table, for any number of layers."""
    encoder = (
        convention.below_prefix(table.prefix, name) for row in table.encoder for name in convention.tensor_names(row)
    )
    heads = (name for row in table.heads for name in convention.tensor_names(row))
    # Numbers of layers do not distinguish the families, so every number is replaced by "#".
    known = {re.sub(r"\{\w+\}|\d+", "#", name) for name in (*encoder, *heads)}
    names = (re.sub(r"\d+", "#", convention.current_name(name)) for name in tensors)
    return sum(name in known or convention.below_prefix(table.prefix, name) in known for name in names)
