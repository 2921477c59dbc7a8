"""Reads and writes the file of a beam head beside its encoder, as methods of BeamQuestionAnswering."""

import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jax.sharding import Mesh

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import Weight, dense, layer_norm
from flax_lite.checkpoints.checkpoint import TORCH, Checkpoint
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.safetensors_file import write_safetensors
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors
from flax_lite.checkpoints.sources.directory import HEAD_FILE, write_directory
from flax_lite.checkpoints.sources.resolve import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.encoder import Encoder
from flax_lite.models.params import get_params, tree_shardings, with_params

logger = logging.getLogger("flax_lite")


class UnpooledEncoder(Encoder):
    """An encoder without pooler, which the beam head does not need."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        super().__init__(config, rngs=rngs, execution=execution, add_pooler=False)


class BeamPretrained:
    """Mixin with `from_pretrained` and `save_pretrained` for a model with `config`, `encoder` and `head`."""

    config: EncoderConfig
    execution: Execution

    @classmethod
    def from_pretrained(
        cls,
        source: Source | Checkpoint,
        *,
        execution: Execution | None = None,
        allow_missing: Collection[str] = (),
        ignore: Collection[str] = (),
        param_dtype: jax.typing.DTypeLike | None = None,
        mesh: Mesh | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """Loads an encoder, and the head from the beam_head.safetensors beside it.

        Without that file the head is initialized, and the logger "flax_lite" warns.

        Args:
            source: source of the encoder, as for every model; the head's file is beside its weights.
            execution: the execution config.
            allow_missing: parameters of the encoder that may be missing, as for Encoder.
            ignore: tensors of the encoder's file to ignore, as for Encoder.
            param_dtype: dtype of the parameters; float32 if None.
            mesh: devices to put the parameters on; the default device if None.
            rngs: source of initial values; `nnx.Rngs(0)` if None.

        Raises:
            ValueError: as Encoder, or listing all missing, unknown and mismatched tensors of the head's file.
        """
        rngs = rngs or nnx.Rngs(0)
        checkpoint = open_source(source)  # once, so that encoder and head are of the same step
        encoder = UnpooledEncoder.from_pretrained(
            checkpoint,
            execution=execution,
            allow_missing=allow_missing,
            ignore=ignore,
            param_dtype=param_dtype,
            mesh=mesh,
            rngs=rngs,
        )
        key = rngs.params()

        def create() -> Any:
            return cast(Any, cls)(encoder.config, rngs=nnx.Rngs(key), execution=execution)

        abstract = nnx.eval_shape(create)
        shapes = _flat(get_params(abstract)["head"])
        tensors = open_head(checkpoint)
        if tensors is not None:
            head = read_head(tensors, shapes, head_path(checkpoint))
        else:
            path = head_path(checkpoint)
            logger.warning("%s: there is no %s; the head is initialized: train it before use", checkpoint.path, path)
            head = _flat(jax.jit(lambda: get_params(create())["head"])())
        head = {name: jnp.asarray(values, param_dtype or jnp.float32) for name, values in head.items()}
        if mesh is not None:
            head = jax.device_put(head, tree_shardings(head, mesh))
        params = {"encoder": get_params(encoder), "head": traverse_util.unflatten_dict(head, sep="/")}
        return with_params(nnx.graphdef(abstract), params)

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        format: str | Collection[str] = "safetensors",
        *,
        max_shard_size: int | str | None = None,
    ) -> None:
        """Writes the encoder's directory, as for every model, with the head in beam_head.safetensors.

        Args:
            directory: other files in it are kept, weights in it are replaced.
            format: format of the encoder: "safetensors", "flax" or both; the head is always written as safetensors.
            max_shard_size: maximum size of the encoder's weight files, as for every model.

        Raises:
            ValueError: if the format is unknown, the size is invalid, or the directory cannot be replaced.
        """
        params = get_params(cast(nnx.Module, self))
        formats = (format,) if isinstance(format, str) else tuple(format)
        # No class in `architectures` describes an encoder without pooler.
        config = self.config.replace(architectures=())
        with tempfile.TemporaryDirectory() as folder:
            head = Path(folder) / HEAD_FILE
            write_head(head, head_tensors(_flat(params["head"])))
            files = {HEAD_FILE: head}
            write_directory(directory, _flat(params["encoder"]), config, formats, files, max_shard_size)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(dict(params), sep="/")


# Parameters -> tensors, named like the modules of transformers' XLNet that compute the same (modeling_xlnet.py).
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
    """Returns the parameters of a head as the tensors of its file."""
    arrays = {}
    for name, row in _NAMES.items():
        values = np.asarray(params[row.path])
        arrays[name] = values.T if TORCH.is_transposed(row) else values
    return {
        name: StoredTensor(values.shape, values.dtype.name, lambda values=values: values)
        for name, values in arrays.items()
    }


def write_head(path: Path, tensors: Tensors, dtype: str | None = None) -> None:
    """Writes the file of a head, converted to `dtype` if given."""
    wanted = tensors if dtype is None else {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    write_safetensors(path, wanted, {"format": "pt"})


def _cast(tensor: StoredTensor, dtype: str) -> StoredTensor:
    return StoredTensor(tensor.shape, dtype, lambda: np.asarray(tensor.read()).astype(FLOATS[dtype]))


def open_head(checkpoint: Checkpoint) -> Tensors | None:
    """Returns the tensors of the head of a checkpoint or work directory; None if it has no beam head."""
    return head_tensors(checkpoint.custom_head) if checkpoint.custom_head else checkpoint.head_file


def head_path(checkpoint: Checkpoint) -> Path:
    """Returns the path of the head's file of a checkpoint, whether or not it exists."""
    return checkpoint.path.with_name(HEAD_FILE)


def read_head(tensors: Tensors, shapes: Mapping[str, jax.ShapeDtypeStruct], path: Path) -> dict[str, np.ndarray]:
    """Returns the parameters of a head in float32, by parameter path.

    Args:
        tensors: tensors of the head's file.
        shapes: expected shapes of the parameters.
        path: the file, for the message.

    Raises:
        ValueError: listing all missing, unknown and mismatched tensors.
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
            f"the beam head at {path} does not fit the encoder beside it:\n{listing('not as expected', wrong)}"
        )
    return head
