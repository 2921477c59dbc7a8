"""A beam head's file beside an encoder that opens anywhere, as methods of BeamQuestionAnswering."""

import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax.sharding import Mesh

from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.sources.directory import write_directory
from flax_lite.checkpoints.sources.opening import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.encoder import Encoder
from flax_lite.models.params import tree_shardings
from flax_lite.models.state import get_params, with_params
from flax_lite.question_answering.beam_head import BEAM_HEAD, head_tensors, read_head, write_head

logger = logging.getLogger("flax_lite")


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
        checkpoint = open_source(source)
        if checkpoint.beam_head is not None:
            head = read_head(checkpoint.beam_head(), shapes, checkpoint.path.parent / BEAM_HEAD)
        else:
            place = checkpoint.path.parent / BEAM_HEAD
            logger.warning("%s: there is no %s; the head is initialised: train it before use", source, place)
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
            write_head(head, head_tensors(_flat(params["head"])))
            files = {BEAM_HEAD: head}
            write_directory(directory, _flat(params["encoder"]), config, formats, files, max_shard_size)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(dict(params), sep="/")
