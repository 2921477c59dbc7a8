"""Gradients under the names of PyTorch's state dicts, so that implementations can be compared."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# The decoder shares its table with the word embedding, and its bias with the head.
_ALIASES = re.compile(r"decoder\.(bias|weight)$|^vocab_projector\.weight$")
_GROUPS = re.compile(r"(albert_layer_groups|albert_layers)\.layers\.")


def without_aliases(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drops second names of shared tensors."""
    return {name: array for name, array in tensors.items() if not _ALIASES.search(name)}


def from_flax(flat: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Converts the names and layout of Hugging Face's Flax classes."""
    renamed = {}
    for path, array in flat.items():
        *parents, leaf = path
        name = ".".join((*parents, "bias" if leaf == "bias" else "weight"))
        array = np.asarray(array)
        renamed[_GROUPS.sub(r"\1.", name)] = array.T if leaf == "kernel" else array
    return without_aliases(renamed)
