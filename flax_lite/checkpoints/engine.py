"""The strict engine: tensors of a file to parameters of a model and back, by the rows of the family's weight table.

Reading accounts for every tensor of the file and every parameter of the model. Whatever does not come out even is one
error that lists all of it and says how to allow it.
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
from flax_lite.checkpoints.accounting import Account, Candidate, Rules, Shapes
from flax_lite.checkpoints.checkpoint import Dialect
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors
from flax_lite.checkpoints.slots import Slot, encoder_root, find_slot, lay_out

# Who puts a name around a model's parameters, by that name.
_WRAPPERS = {
    "module": "torch.nn.DataParallel or its kin",
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
    """What a load gives.

    Attributes:
        params: the parameters, by path.
        initialized: paths of those that the file does not hold.
        skipped: names of tensors that belong to other heads.
        remarks: whatever else the reader of a log should know.
    """

    params: dict[str, jax.Array]
    initialized: tuple[str, ...]
    skipped: tuple[str, ...]
    remarks: tuple[str, ...]


def load_parameters(
    tensors: Tensors, dialect: Dialect, config: EncoderConfig, target: Shapes, rules: Rules, initialize: Initialize
) -> Loaded:
    """Parameters of a model from the tensors of a file.

    Args:
        tensors: by their names in the file, dots between the parts.
        dialect: how the file names and orients them.
        config: the model's.
        target: shape and dtype of every parameter, by path, and where to put it if not on the default device.
        rules: what to accept.
        initialize: gives initial values of the named parameters, for those that are missing and may be.

    Raises:
        ValueError: listing everything missing, unmapped, doubled or not as expected; or every tensor with a NaN or an
            infinity among its values.
    """
    table = weight_table(config)
    check_known([name for name in tensors if not rules.ignores(name)], dialect, table)
    slots = lay_out(table, config, dialect, target.keys(), rules.foreign_heads)
    _check_covered(slots, target)
    account = Account(slots, target, rules)
    account.add_all(tensors, table, dialect)
    try:
        account.close()
    except ValueError as error:
        raise ValueError(f"{error}\n{_advice(tensors, dialect, table)}") from None
    initial = initialize(account.incomplete) if account.incomplete else {}
    rows: dict[str, list[Candidate | None]] = {path: [] for path in target}
    for slot in slots.values():
        if slot.is_parameter:
            rows[slot.path].append(account.chosen((slot.path, slot.index)))
    broken: list[str] = []
    params = {path: _read_parameter(spec, rows[path], initial.get(path), broken) for path, spec in target.items()}
    if broken:
        raise ValueError(
            listing("not made of numbers to compute with", broken)
            + "\nThe run that wrote them diverged, or the file is "
            "damaged. What is named by both ignore and allow_missing is initialized instead."
        )
    return Loaded(params, tuple(sorted(account.incomplete)), tuple(account.skipped), tuple(account.remarks))


def _read_parameter(
    spec: jax.ShapeDtypeStruct, rows: Sequence[Candidate | None], initial: jax.Array | None, broken: list[str]
) -> jax.Array:
    """A parameter, each tensor that fills it read straight into its place: no second copy of the whole exists.

    What is wrong with their values is appended to `broken`.
    """
    values = _aligned_empty(spec.shape, spec.dtype)
    if initial is not None:
        values[...] = initial
    for row in rows:
        if row is not None:
            place = values if row.slot.index is None else values[row.slot.index]
            if (wrong := row.fill(place)) is not None:
                broken.append(wrong)
    # Without waiting, the buffers of several parameters would be alive at a time.
    return jax.device_put(values, spec.sharding).block_until_ready()


def check_known(names: Collection[str], dialect: Dialect, table: WeightTable) -> None:
    """Refuses tensors of which not one has a name of the family.

    Raises:
        ValueError: saying that, whose they are instead, and what to do.
    """
    if names and not _num_known(names, dialect, table):
        raise ValueError(
            f"none of the {len(names)} tensors is one of {table.family}'s, the first is {min(names)!r:.100}. "
            + _advice(names, dialect, table)
        )


def settle_positions(tensors: Tensors, dialect: Dialect, config: EncoderConfig) -> EncoderConfig:
    """The config without `sinusoidal_positions` if the file holds a position table that departs from the formula.

    PyTorch models with this switch load whatever table the file holds, so such positions were learned.
    """
    if not config.sinusoidal_positions:
        return config
    table = weight_table(config)
    slots = lay_out(table, config, dialect, ())
    for name, tensor in tensors.items():
        slot = find_slot(name, slots, table, dialect)
        if slot is not None and slot.use == "formula" and not _follows_formula(tensor, slot):
            return config.replace(sinusoidal_positions=False)
    return config


def export_tensors(
    params: Mapping[str, jax.Array | np.ndarray], dialect: Dialect, config: EncoderConfig
) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint, by name, from the parameters of a model, by path; an Encoder's names have no prefix.

    Raises:
        ValueError: if the family's weight table has no row for a parameter.
    """
    table = weight_table(config)
    slots = lay_out(table, config, dialect, params.keys())
    _check_covered(slots, params)
    base = not encoder_root(params)
    tensors = {}
    for slot in slots.values():
        if slot.use == "value" or (slot.use == "copy" and dialect.stores_copies):
            tensor = _stored(params[slot.path], slot)
        elif slot.use == "formula" and dialect.stores_formulas:
            tensor = _formula_tensor(config, slot)
        else:
            continue
        tensors[slot.name.removeprefix(dialect.below_prefix(table.prefix, "")) if base else slot.name] = tensor
    return tensors


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that JAX adopts as it is on CPU, where it copies what does not begin at a multiple of 64 bytes."""
    num_bytes = math.prod(shape) * dtype.itemsize
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes].view(dtype).reshape(shape)


def _stored(parameter: jax.Array | np.ndarray, slot: Slot) -> StoredTensor:
    def read() -> np.ndarray:
        values = np.asarray(parameter if slot.index is None else parameter[slot.index])
        return values.T if slot.transposed else values

    return StoredTensor(slot.stored_shape(parameter.shape), str(parameter.dtype), read)


def _formula_tensor(config: EncoderConfig, slot: Slot) -> StoredTensor:
    shape = (config.max_position_embeddings, config.embedding_size)
    formula = slot.weight.formula
    assert formula is not None, "a slot of this use has one"
    return StoredTensor(shape, "float32", lambda: formula(*shape))


def _follows_formula(tensor: StoredTensor, slot: Slot) -> bool:
    if len(tensor.shape) != 2 or tensor.dtype not in FLOATS or slot.weight.formula is None:
        return False
    values = tensor.read()
    # The values lie in [-1, 1] and were rounded once, by half an epsilon at most; a reader may have rounded once more.
    tolerance = 2 * float(jnp.finfo(values.dtype).eps)
    with np.errstate(invalid="ignore"):  # a signaling NaN, which is then found with the others
        values = values.astype(np.float64)
    return bool(np.all(np.abs(values - slot.weight.formula(*tensor.shape)) <= tolerance))


def _check_covered(slots: Mapping[str, Slot], paths: Mapping[str, object]) -> None:
    uncovered = set(paths) - {slot.path for slot in slots.values() if slot.is_parameter}
    if uncovered:
        raise ValueError(f"the family's weight table has no row for {', '.join(sorted(uncovered))}; add it there")


def _advice(tensors: Collection[str], dialect: Dialect, table: WeightTable) -> str:
    """What to do about a checkpoint that does not fit."""
    known = {other.family: _num_known(tensors, dialect, other) for other in weight_tables()}
    likeliest = max(known, key=lambda family: known[family])
    if known[likeliest] > known[table.family]:
        return (
            f"The tensors are named like {likeliest}'s, but config.json describes {table.family}: "
            "the two files do not belong together."
        )
    if any(".lora_" in name for name in tensors):
        return (
            "The file holds LoRA matrices, which are added to a model's: merge them where they were trained (PEFT: "
            "model.merge_and_unload()) and save the whole."
        )
    if around := _wrapper(tensors, dialect, table):
        return around
    return (
        "Check that config.json belongs to these weights. What may be missing is named by allow_missing (globs on "
        "parameter paths), what to leave out by ignore (globs on names in the file)."
    )


def _wrapper(names: Collection[str], dialect: Dialect, table: WeightTable) -> str:
    """What to say of tensors that lie below one name, as a wrapper around the model leaves it; else empty."""
    parts = [name.split(dialect.separator) for name in names]
    known = _num_known(names, dialect, table)
    for depth in range(1, _MAX_WRAPPERS + 1):
        (scope, count), *_ = collections.Counter(tuple(name[:depth]) for name in parts).most_common(1)
        below = [dialect.separator.join(name[depth:]) for name in parts if tuple(name[:depth]) == scope]
        # The family's own prefix gains nothing: without it the names are those of a bare encoder.
        if 2 * count > len(parts) and _num_known(below, dialect, table) > known:
            prefix = dialect.separator.join([*scope, ""])
            return (
                f"{count} of {len(parts)} tensors lie below {prefix!r:.100}, which {_WRAPPERS.get(scope[-1], _OTHER)} "
                "puts there: save the model inside it, or take the prefix off the names"
                + (_RENAME.format(prefix=repr(prefix)[:100]) if dialect.name == "torch" else ".")
            )
    return ""


def _num_known(tensors: Collection[str], dialect: Dialect, table: WeightTable) -> int:
    """How many tensors a family has a row for, whatever its sizes."""
    encoder = (dialect.below_prefix(table.prefix, name) for row in table.encoder for name in dialect.tensor_names(row))
    heads = (name for row in table.heads for name in dialect.tensor_names(row))
    # Names alone tell the families apart, so all numbers may be taken for one.
    known = {re.sub(r"\{\w+\}|\d+", "#", name) for name in (*encoder, *heads)}
    names = (re.sub(r"\d+", "#", dialect.current_name(name)) for name in tensors)
    return sum(name in known or dialect.below_prefix(table.prefix, name) in known for name in names)
