"""Chosen layers of a checkpoint as a shallower model, such as every second layer of BERT (DistilBERT, section 3)."""

import dataclasses
from collections.abc import Sequence

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import weight_table
from flax_lite.architecture.weights import LAYERS, Weight
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.expected import physical_weights
from flax_lite.checkpoints.formats.tensors import StoredTensor


def pick_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Returns a checkpoint of only the chosen layers, with everything else unchanged.

    Layer i of the result is layer `layers[i]` of the checkpoint, as in `flax_lite.distillation.init_from_teacher`.

    Args:
        checkpoint: a checkpoint of any format. Only tensors that are read later are read from its file.
        layers: indices from 0, in any order; a layer may occur twice.

    Raises:
        ValueError: if there is no such layer, the layers share parameters, or the file holds a tensor twice.
    """
    try:
        config = pick_config(checkpoint.config, layers)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from None
    table, convention = weight_table(checkpoint.config), checkpoint.convention

    def names(row: Weight, config: EncoderConfig) -> list[str]:
        """Returns the name of a row's tensor for each layer; rows of layers have no copies."""
        rows = (weight for weight, _ in physical_weights(row, config))
        return [convention.below_prefix(table.prefix, convention.tensor_names(weight)[0]) for weight in rows]

    renamed: dict[str, list[str]] = {}  # names in the result, by the name in the checkpoint
    for row in table.encoder:
        if row.path.startswith(LAYERS):
            before, after = names(row, checkpoint.config), names(row, config)
            renamed |= {name: [] for name in before}
            for position, layer in enumerate(layers):
                renamed[before[layer]].append(after[position])
    tensors: dict[str, StoredTensor] = {}
    for stored_name, tensor in checkpoint.tensors.items():
        name = convention.current_name(stored_name)
        name = name if name in renamed else convention.below_prefix(table.prefix, name)
        for target in renamed.get(name, (stored_name,)):
            if target in tensors:
                raise ValueError(f"{checkpoint.path} holds {name} twice, under different names")
            tensors[target] = tensor
    return dataclasses.replace(checkpoint, config=config, tensors=tensors)


def pick_config(config: EncoderConfig, layers: Sequence[int]) -> EncoderConfig:
    """Returns the architecture of the chosen layers of a model.

    Raises:
        ValueError: if there is no such layer, or the layers share parameters.
    """
    chosen, depth = tuple(layers), config.num_hidden_layers
    if config.num_physical_layers != depth or config.layer_sequence() != tuple(range(depth)):
        sets = config.num_physical_layers
        depths = "; give a depth instead (convert: --layers 6, jobs: model.num_hidden_layers=6)" if sets == 1 else ""
        raise ValueError(
            f"layers={chosen}: the {depth} layers of this model share {sets} set{'s' * (sets > 1)} of parameters, so "
            f"single layers cannot be chosen{depths}"
        )
    if not chosen or not all(isinstance(layer, int) and 0 <= layer < depth for layer in chosen):
        raise ValueError(f"layers={chosen}: expected one or more numbers from 0 to {depth - 1}, in a model of {depth}")
    settable = {field.name for field in dataclasses.fields(config) if field.init}
    depths = settable & {"num_hidden_layers", "num_hidden_groups"}
    return config.replace(**dict.fromkeys(depths, len(chosen)))
