"""The file of a beam head, which stands beside an encoder's weights; see `flax_lite.question_answering.beam`."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from flax_lite.architecture.weights import TORCH, Weight, dense, layer_norm
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.safetensors_file import write_safetensors
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors

BEAM_HEAD = "beam_head.safetensors"
# Named as Google's variables and as the modules of transformers' XLNet that compute the same.
_ROWS: tuple[Weight, ...] = (
    *dense("start", "start_logits.dense"),
    *dense("end_hidden", "end_logits.dense_0"),
    *layer_norm("end_norm", "end_logits.LayerNorm"),
    *dense("end", "end_logits.dense_1"),
    *dense("null_hidden", "answer_class.dense_0"),
    *dense("null", "answer_class.dense_1")[:1],
)
_NAMES: Mapping[str, Weight] = {TORCH.tensor_names(row)[0]: row for row in _ROWS}


def head_tensors(params: Mapping[str, jax.Array | np.ndarray]) -> Tensors:
    """A head's parameters, by path, as tensors of its file."""
    arrays = {}
    for name, row in _NAMES.items():
        values = np.asarray(params[row.path])
        arrays[name] = values.T if TORCH.is_transposed(row) else values
    return {
        name: StoredTensor(values.shape, values.dtype.name, lambda values=values: values)
        for name, values in arrays.items()
    }


def write_head(path: Path, tensors: Tensors, dtype: str | None = None) -> None:
    """Writes a head's file, in another dtype if one is given."""
    wanted = tensors if dtype is None else {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    write_safetensors(path, wanted, {"format": "pt"})


def _cast(tensor: StoredTensor, dtype: str) -> StoredTensor:
    return StoredTensor(tensor.shape, dtype, lambda: np.asarray(tensor.read()).astype(FLOATS[dtype]))


def read_head(tensors: Tensors, shapes: Mapping[str, jax.ShapeDtypeStruct], place: Path) -> dict[str, np.ndarray]:
    """A head's parameters in float32, by path.

    Args:
        tensors: of its file.
        shapes: of the parameters.
        place: where they are from, for the message.

    Raises:
        ValueError: listing what is missing, unknown or not as expected.
    """
    wrong = [f"{name} is missing" for name in _NAMES if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in _NAMES]
    head = {}
    for name in _NAMES.keys() & tensors.keys():
        row, tensor = _NAMES[name], tensors[name]
        expected = shapes[row.path].shape[:: -1 if TORCH.is_transposed(row) else 1]
        if tensor.shape != expected or tensor.dtype not in FLOATS:
            wrong.append(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected floats {list(expected)}")
            continue
        values = np.asarray(tensor.read(), np.float32)
        if not np.isfinite(values).all():
            wrong.append(f"{name} has values that are NaN or infinite")
        head[row.path] = values.T if TORCH.is_transposed(row) else values
    if wrong:
        raise ValueError(
            f"the beam head at {place} does not fit the encoder beside it:\n{listing('not as expected', wrong)}"
        )
    return head
