"""A beam head's file beside an encoder that opens anywhere, as methods of BeamQuestionAnswering."""

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

from flax_lite.checkpoints.directory import BEAM_HEAD, write_directory
from flax_lite.checkpoints.listing import listing
from flax_lite.checkpoints.safetensors_file import read_safetensors, write_safetensors
from flax_lite.checkpoints.sources import Source, open_source
from flax_lite.checkpoints.table import TORCH, Weight, dense, layer_norm
from flax_lite.checkpoints.tensors import FLOATS, StoredTensor
from flax_lite.config import EncoderConfig
from flax_lite.encoder import Encoder
from flax_lite.execution import Execution
from flax_lite.sharding import tree_shardings
from flax_lite.state import get_params, with_params

logger = logging.getLogger("flax_lite")

# Named as Google's variables and as the modules of transformers' XLNet that compute the same.
_ROWS: tuple[Weight, ...] = (
    *dense("start", "start_logits.dense"),
    *dense("end_hidden", "end_logits.dense_0"),
    *layer_norm("end_norm", "end_logits.LayerNorm"),
    *dense("end", "end_logits.dense_1"),
    *dense("null_hidden", "answer_class.dense_0"),
    *dense("null", "answer_class.dense_1")[:1],
)


class UnpooledEncoder(Encoder):
    """An encoder as the beam head needs it, to be read alone."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        super().__init__(config, rngs=rngs, execution=execution, add_pooler=False)


class BeamPretrained:
    """Methods `from_pretrained` and `save_pretrained` of a model with `config`, `encoder` and `head`."""

    config: EncoderConfig
    execution: Execution

    @classmethod
    def from_pretrained(
        cls,
        source: Source,
        *,
        execution: Execution | None = None,
        allow_missing: Collection[str] = (),
        ignore: Collection[str] = (),
        param_dtype: jax.typing.DTypeLike | None = None,
        mesh: Mesh | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """Reads an encoder, and the head in beam_head.safetensors beside it; without that file the head is initialised.

        That it is initialised is said in one line by the logger "flax_lite".

        Args:
            source: of the encoder, as for every model; the head is in the file beside its weights.
            execution: how to compute.
            allow_missing: parameters of the encoder that may be missing, as for Encoder.
            ignore: tensors of the encoder's file to leave out, as for Encoder.
            param_dtype: dtype of the parameters, float32 if None.
            mesh: devices to put the parameters on; the default device if None.
            rngs: source of initial values; `nnx.Rngs(0)` if None.

        Raises:
            ValueError: as Encoder, or listing what is missing, unknown or not as expected in the head's file.
        """
        rngs = rngs or nnx.Rngs(0)
        encoder = UnpooledEncoder.from_pretrained(
            source,
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
        path = open_source(source).path.parent / BEAM_HEAD
        if path.is_file():
            head = _read_head(path, shapes)
        else:
            logger.warning("%s: there is no %s; the head is initialised: train it before use", source, path)
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
        """Writes an encoder's directory, as for every model, with the head in beam_head.safetensors.

        Args:
            directory: other files in it stay, weights in it are replaced.
            format: of the encoder: "safetensors", "flax" or both; the head's is always the former.
            max_shard_size: of the encoder's weights, as for every model.

        Raises:
            ValueError: for an unknown format, no size, or a directory that cannot be replaced.
        """
        params = get_params(cast(nnx.Module, self))
        formats = (format,) if isinstance(format, str) else tuple(format)
        # Without its pooler the encoder is less than what any class name promises.
        config = self.config.replace(architectures=())
        with tempfile.TemporaryDirectory() as folder:
            head = Path(folder) / BEAM_HEAD
            write_safetensors(head, _stored(_flat(params["head"])), {"format": "pt"})
            files = {BEAM_HEAD: head}
            write_directory(directory, _flat(params["encoder"]), config, formats, files, max_shard_size)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(dict(params), sep="/")


def _names() -> dict[str, Weight]:
    """The rows by their tensors' names."""
    return {TORCH.tensor_names(row)[0]: row for row in _ROWS}


def _stored(params: Mapping[str, jax.Array | np.ndarray]) -> dict[str, StoredTensor]:
    arrays = {}
    for name, row in _names().items():
        values = np.asarray(params[row.path])
        arrays[name] = values.T if TORCH.is_transposed(row) else values
    return {
        name: StoredTensor(values.shape, values.dtype.name, lambda values=values: values)
        for name, values in arrays.items()
    }


def _read_head(path: Path, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    tensors, _ = read_safetensors(path)
    names = _names()
    wrong = [f"{name} is missing" for name in names if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in names]
    head = {}
    for name in names.keys() & tensors.keys():
        row, tensor = names[name], tensors[name]
        expected = shapes[row.path].shape[:: -1 if TORCH.is_transposed(row) else 1]
        if tensor.shape != expected or tensor.dtype not in FLOATS:
            wrong.append(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected floats {list(expected)}")
            continue
        values = np.asarray(tensor.read(), np.float32)
        if not np.isfinite(values).all():
            wrong.append(f"{name} has values that are NaN or infinite")
        head[row.path] = values.T if TORCH.is_transposed(row) else values
    if wrong:
        raise ValueError(f"{path} does not fit the encoder beside it:\n{listing('not as expected', wrong)}")
    return head
