"""The tensors that a checkpoint of one model may hold, derived from the family's weight table."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import LAYERS, Weight, WeightTable
from flax_lite.checkpoints.checkpoint import Convention

Role = Literal["value", "foreign", "copy", "tied", "formula", "unused"]


@dataclasses.dataclass(frozen=True)
class ExpectedTensor:
    """One tensor that a checkpoint may hold.

    Attributes:
        name: the tensor's name in a task checkpoint.
        path: path of its parameter in the model being loaded; for an unused tensor, in a task model.
        index: physical layer, where the parameter is stacked over layers; else None.
        transposed: whether the file stores the two axes of the parameter swapped.
        role: "value": fills the parameter. "foreign": has the name of a parameter, but belongs to another task.
            "copy": repeats a value, and takes precedence over it. "tied": must equal another parameter, and replaces it
            where that one is missing. "formula": computed from the config. "unused": the model has no such parameter.
        head: name of the head it belongs to; None for the encoder.
        weight: its row of the weight table.
    """

    name: str
    path: str
    index: int | None
    transposed: bool
    role: Role
    head: str | None
    weight: Weight

    @property
    def part(self) -> str | None:
        """The head, or "pooler": parts that a checkpoint of another task may lack as a whole. None for the rest."""
        return "pooler" if "pooler/" in self.path else self.head

    @property
    def is_parameter(self) -> bool:
        """Whether the model has a parameter of this name, or one layer of a stacked parameter."""
        return self.role in ("value", "foreign")

    @property
    def label(self) -> str:
        """The parameter's path, with the layer's number where it is stacked."""
        if self.index is None:
            return self.path
        return self.path.replace("layers/", f"layers/{self.index}/", 1)

    def stored_shape(self, parameter_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the tensor in the file, from the shape of the whole parameter."""
        shape = parameter_shape if self.index is None else parameter_shape[1:]
        return shape[::-1] if self.transposed else shape


def encoder_root(paths: Iterable[str]) -> str:
    """Prefix of the encoder's parameter paths: "encoder/" in a task model, "" in an Encoder."""
    return "encoder/" if any(path.startswith("encoder/") for path in paths) else ""


def expected_tensors(
    table: WeightTable,
    config: EncoderConfig,
    convention: Convention,
    paths: Collection[str],
    foreign_heads: Collection[str] = (),
) -> dict[str, ExpectedTensor]:
    """Every tensor that a checkpoint of this family and config may hold, by name.

    Args:
        table: the family's rows.
        config: number of layers and their groups.
        convention: the file's names and orientation.
        paths: the model's parameter paths.
        foreign_heads: heads that in this checkpoint belong to another task, though they have the same name.
    """
    root = encoder_root(paths)
    expected: list[ExpectedTensor] = []
    for row in table.encoder:
        for weight, index in physical_weights(row, config):
            weight = dataclasses.replace(weight, path=root + weight.path)
            names = [convention.below_prefix(table.prefix, name) for name in convention.tensor_names(weight)]
            transposed = convention.is_transposed(weight)
            expected.extend(_of_weight(weight, names, index, transposed, None, config, paths))
    for weight in table.heads:
        head = weight.path.partition("/")[0]
        names = convention.tensor_names(weight)
        expected.extend(_of_weight(weight, names, None, convention.is_transposed(weight), head, config, paths))
    return {tensor.name: _foreign(tensor) if tensor.head in foreign_heads else tensor for tensor in expected}


def find_expected(
    name: str, expected: Mapping[str, ExpectedTensor], table: WeightTable, convention: Convention
) -> ExpectedTensor | None:
    """The expected tensor for a name in a file: older endings and the missing prefix of base checkpoints included."""
    current = convention.current_name(name)
    return expected.get(current) or expected.get(convention.below_prefix(table.prefix, current))


def is_buffer(name: str, table: WeightTable) -> bool:
    """Whether a tensor is a buffer, such as position ids, and not a parameter."""
    return name.removeprefix(f"{table.prefix}.") in table.buffers


def _foreign(tensor: ExpectedTensor) -> ExpectedTensor:
    return dataclasses.replace(tensor, role="foreign") if tensor.role == "value" else tensor


def physical_weights(row: Weight, config: EncoderConfig) -> Iterator[tuple[Weight, int | None]]:
    """Yields a row once for each physical layer, with its index; a single layer is at "layer", without an index."""
    if not row.path.startswith(LAYERS):
        yield row, None
        return
    single = config.num_physical_layers == 1
    path = row.path.replace(LAYERS, "layer/" if single else "layers/")
    for layer in range(config.num_physical_layers):
        group, inner = divmod(layer, config.inner_group_num)
        numbers = {"layer": layer, "group": group, "inner": inner}
        module, google = row.module.format(**numbers), row.google.format(**numbers)
        yield dataclasses.replace(row, path=path, module=module, google=google), None if single else layer


def _of_weight(
    weight: Weight,
    names: Sequence[str],
    index: int | None,
    transposed: bool,
    head: str | None,
    config: EncoderConfig,
    paths: Collection[str],
) -> Iterator[ExpectedTensor]:
    """Yields the tensor of one row, then its copies."""
    name, *copies = names
    if weight.tied_to in paths and config.tie_word_embeddings and any(path.startswith(f"{head}/") for path in paths):
        # The kernel is [E, V], the embedding table [V, E]: a stored kernel that is transposed has the table's shape.
        yield ExpectedTensor(name, str(weight.tied_to), None, not transposed, "tied", head, weight)
        return
    role: Role = "value" if weight.path in paths else "unused"
    fixed = role == "unused" and weight.formula is not None and config.sinusoidal_positions
    yield ExpectedTensor(name, weight.path, index, transposed, "formula" if fixed else role, head, weight)
    for copy in copies:
        yield ExpectedTensor(copy, weight.path, index, transposed, "copy" if role == "value" else role, head, weight)
