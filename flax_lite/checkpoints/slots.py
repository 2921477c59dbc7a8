"""A weight table laid out for one model: every tensor that its checkpoints may hold, and what becomes of it."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import LAYERS, Weight, WeightTable
from flax_lite.checkpoints.checkpoint import Dialect

Use = Literal["value", "foreign", "copy", "tied", "formula", "unused"]


@dataclasses.dataclass(frozen=True)
class Slot:
    """One tensor of a checkpoint.

    Attributes:
        name: the tensor's name in a task checkpoint.
        path: the parameter it belongs to, in the model at hand; where it is unused, in a task model.
        index: its row where the parameter is stacked over physical layers, else None.
        transposed: whether the file swaps the parameter's axes.
        use: "value" fills the parameter. "foreign" has the name of one that does, but means something else. "copy"
            repeats the value, and wins where both are present. "tied" repeats another parameter, must equal it, and
            stands in for it. "formula" follows from the config. "unused" belongs to what this model does not have.
        head: the head it belongs to; None for the encoder.
        weight: the row it comes from.
    """

    name: str
    path: str
    index: int | None
    transposed: bool
    use: Use
    head: str | None
    weight: Weight

    @property
    def part(self) -> str | None:
        """What a checkpoint of another task may lack as a whole: the head, or the pooler; None for the rest."""
        return "pooler" if "pooler/" in self.path else self.head

    @property
    def is_parameter(self) -> bool:
        """Whether it stands for a parameter of the model, or for one row of it."""
        return self.use in ("value", "foreign")

    @property
    def label(self) -> str:
        """The parameter's path, with the layer's number where it is stacked."""
        if self.index is None:
            return self.path
        return self.path.replace("layers/", f"layers/{self.index}/", 1)

    def stored_shape(self, parameter_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in the file, from that of the whole parameter."""
        shape = parameter_shape if self.index is None else parameter_shape[1:]
        return shape[::-1] if self.transposed else shape


def encoder_root(paths: Iterable[str]) -> str:
    """Where the encoder lies among a model's parameter paths: "encoder/" in a task model, "" in an Encoder."""
    return "encoder/" if any(path.startswith("encoder/") for path in paths) else ""


def lay_out(
    table: WeightTable,
    config: EncoderConfig,
    dialect: Dialect,
    paths: Collection[str],
    foreign_heads: Collection[str] = (),
) -> dict[str, Slot]:
    """Every tensor that a checkpoint of this family and config may hold, by name.

    Args:
        table: the family's rows.
        config: gives the number of layers and their grouping.
        dialect: the file's.
        paths: the model's parameter paths.
        foreign_heads: heads that, in this checkpoint, belong to another task under the same name.
    """
    root = encoder_root(paths)
    slots: list[Slot] = []
    for row in table.encoder:
        for weight, index in _physical(row, config):
            weight = dataclasses.replace(weight, path=root + weight.path)
            names = [dialect.below_prefix(table.prefix, name) for name in dialect.tensor_names(weight)]
            slots.extend(_slots(weight, names, index, dialect.is_transposed(weight), None, config, paths))
    for weight in table.heads:
        head = weight.path.partition("/")[0]
        names = dialect.tensor_names(weight)
        slots.extend(_slots(weight, names, None, dialect.is_transposed(weight), head, config, paths))
    return {slot.name: _foreign(slot) if slot.head in foreign_heads else slot for slot in slots}


def find_slot(name: str, slots: dict[str, Slot], table: WeightTable, dialect: Dialect) -> Slot | None:
    """The slot of a tensor, whose name may have an older ending and, in a base checkpoint, no prefix."""
    current = dialect.current_name(name)
    return slots.get(current) or slots.get(dialect.below_prefix(table.prefix, current))


def is_buffer(name: str, table: WeightTable) -> bool:
    """Whether a tensor is no parameter at all."""
    return name.removeprefix(f"{table.prefix}.") in table.buffers


def _foreign(slot: Slot) -> Slot:
    return dataclasses.replace(slot, use="foreign") if slot.use == "value" else slot


def _physical(row: Weight, config: EncoderConfig) -> Iterator[tuple[Weight, int | None]]:
    """The row for each physical layer it speaks of; a single layer lies under "layer", without a leading axis."""
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


def _slots(
    weight: Weight,
    names: Sequence[str],
    index: int | None,
    transposed: bool,
    head: str | None,
    config: EncoderConfig,
    paths: Collection[str],
) -> Iterator[Slot]:
    name, *copies = names
    if weight.tied_to in paths and config.tie_word_embeddings and any(path.startswith(f"{head}/") for path in paths):
        # The kernel is [E, V] and the table it is tied to [V, E]: what swaps the one's axes leaves the other's.
        yield Slot(name, str(weight.tied_to), None, not transposed, "tied", head, weight)
        return
    use: Use = "value" if weight.path in paths else "unused"
    fixed = use == "unused" and weight.formula is not None and config.sinusoidal_positions
    yield Slot(name, weight.path, index, transposed, "formula" if fixed else use, head, weight)
    for copy in copies:
        yield Slot(copy, weight.path, index, transposed, "copy" if use == "value" else use, head, weight)
