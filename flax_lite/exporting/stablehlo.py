"""Writes StableHLO by jax.export: one program for CPU, CUDA and TPU, with its weights in a separate file."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jax import export

import flax_lite
from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.formats.safetensors_file import write_safetensors
from flax_lite.checkpoints.formats.tensors import StoredTensor
from flax_lite.exporting.tasks import Sizes, input_names, outputs_of, task_of
from flax_lite.models.params import get_params, with_params
from flax_lite.models.tasks import BATCH, LENGTH

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, DESCRIPTION = "model.jax_export", "weights.safetensors", "export.json"


def require_flatbuffers() -> None:
    """Raises ValueError if flatbuffers is not installed, which jax.export needs and JAX does not depend on."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("writing a program of jax.export needs the package flatbuffers: pip install flatbuffers")


def export_program(model: Any, sizes: Sizes | None = None) -> export.Exported:
    """Returns the forward pass of a model as a program `(weights, inputs) -> outputs` of dictionaries by name.

    Weights are named by their paths; inputs are int32 [batch, length]. An open size is a symbol, `b` for the batch and
    `t` for the tokens of a row. The layers remain one loop, so the size of the program does not depend on the depth.

    Args:
        model: a model of one of `flax_lite.models.tasks.EXPORTS`, with attention="xla".
        sizes: fixed sizes; batch and length are open if None.

    Raises:
        ValueError: if the model has no task to export, uses attention of one platform only, or a size is invalid.
    """
    sizes = sizes or Sizes()
    sizes.check(model.config)
    names = tuple(outputs_of(model))
    if model.execution.attention != "xla":
        raise ValueError(
            f"execution attention={model.execution.attention!r} runs on one platform only; load the model with "
            "attention='xla' to export it"
        )
    structure = nnx.graphdef(model)

    def run(weights: Mapping[str, jax.Array], inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = with_params(structure, traverse_util.unflatten_dict(weights, sep="/"))(**inputs)
        return {name: getattr(output, name) for name in names}

    weights = {path: jax.ShapeDtypeStruct(array.shape, array.dtype) for path, array in named_weights(model).items()}
    rows = jax.ShapeDtypeStruct(_shape(sizes, model.config.max_position_embeddings), jnp.int32)
    inputs = dict.fromkeys(input_names(model.config), rows)
    with _without_directories():
        return export.export(jax.jit(run), platforms=PLATFORMS)(weights, inputs)


def named_weights(model: Any) -> dict[str, jax.Array]:
    """Returns the parameters of a model by path, in the order of the program's arguments."""
    return dict(sorted(traverse_util.flatten_dict(get_params(model), sep="/").items()))


def write_stablehlo(model: Any, directory: Path, sizes: Sizes | None = None) -> None:
    """Writes the program, its weights and a description of both to an existing directory.

    Args:
        model: as for `export_program`.
        directory: the directory to write to.
        sizes: as for `export_program`.

    Raises:
        ValueError: as `export_program`, or if the package flatbuffers is not installed.
    """
    require_flatbuffers()
    exported = export_program(model, sizes)
    weights = named_weights(model)
    (directory / PROGRAM).write_bytes(exported.serialize())
    write_safetensors(directory / WEIGHTS, {path: _stored(array) for path, array in weights.items()}, {})
    text = json.dumps(_description(model, exported, sizes or Sizes()), indent=2)
    (directory / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _without_directories() -> Iterator[None]:
    """Traces programs with file names but without directories, so that they do not reveal paths of this machine."""
    option = "jax_hlo_source_file_canonicalization_regex"
    previous = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, previous)


def _shape(sizes: Sizes, limit: int) -> tuple[Any, ...]:
    constraints = () if sizes.length else (f"t <= {limit}",)
    return tuple(export.symbolic_shape(f"{sizes.batch or 'b'}, {sizes.length or 't'}", constraints=constraints))


def _stored(array: jax.Array) -> StoredTensor:
    return StoredTensor(array.shape, str(array.dtype), lambda: np.asarray(array))


def _description(model: Any, exported: export.Exported, sizes: Sizes) -> dict[str, Any]:
    """Returns the content of export.json; inputs, outputs and weights are in the program's order."""
    (weights, inputs), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    open_sizes = {
        "b": None if sizes.batch else {"axis": BATCH, "least": 1},
        "t": None if sizes.length else {"axis": LENGTH, "least": 1, "most": model.config.max_position_embeddings},
    }
    return {
        "task": task_of(model).export,
        "program": PROGRAM,
        "weights_file": WEIGHTS,
        "platforms": list(exported.platforms),
        "symbols": {symbol: bounds for symbol, bounds in open_sizes.items() if bounds},
        "inputs": [spec | {"least": 0, "most": _max_values(model.config)[spec["name"]]} for spec in _specs(inputs)],
        "outputs": _specs(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
        "weights": _specs(weights),
        "versions": {"flax_lite": flax_lite.__version__, "jax": jax.__version__},
    }


def _max_values(config: EncoderConfig) -> dict[str, int]:
    """Returns the maximum value of each input; for larger ids a compiled program returns NaN."""
    return {"input_ids": config.vocab_size - 1, "attention_mask": 1, "token_type_ids": config.type_vocab_size - 1}


def _specs(avals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns name, shape and dtype of arrays; an open size is the name of its symbol."""
    return [
        {
            "name": name,
            "shape": [size if isinstance(size, int) else str(size) for size in aval.shape],
            "dtype": str(aval.dtype),
        }
        for name, aval in avals.items()
    ]
