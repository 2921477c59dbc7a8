"""StableHLO by jax.export: one program for CPU, CUDA and TPU, its weights in a file beside it."""

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
    """Raises ValueError if the package flatbuffers is not installed: jax.export needs it, JAX does not ask for it."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("writing a program of jax.export needs the package flatbuffers: pip install flatbuffers")


def export_program(model: Any, sizes: Sizes | None = None) -> export.Exported:
    """The forward pass of a model as a program `(weights, inputs) -> outputs`, dictionaries of arrays by name.

    Weights are named by their paths and inputs are int32; a size left open is a symbol, `b` for the batch, `t` for the
    tokens in a row. The layers stay one loop, so the program's size does not depend on the depth.

    Raises:
        ValueError: if the model is of no task to export, computes by what only one platform has, or has no such sizes.
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

    weights = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in named_weights(model).items()}
    rows = jax.ShapeDtypeStruct(_shape(sizes, model.config.max_position_embeddings), jnp.int32)
    inputs = dict.fromkeys(input_names(model.config), rows)
    with _without_directories():
        return export.export(jax.jit(run), platforms=PLATFORMS)(weights, inputs)


def named_weights(model: Any) -> dict[str, jax.Array]:
    """The parameters of a model by path, in the order in which a program takes them."""
    return dict(sorted(traverse_util.flatten_dict(get_params(model), sep="/").items()))


def write_stablehlo(model: Any, directory: Path, sizes: Sizes | None = None) -> None:
    """Writes the program, its weights, and a description of both, to a directory that exists.

    Raises:
        ValueError: as `export_program`, or if the package flatbuffers is not installed.
    """
    require_flatbuffers()
    exported = export_program(model, sizes)
    weights = named_weights(model)
    (directory / PROGRAM).write_bytes(exported.serialize())
    write_safetensors(directory / WEIGHTS, {path: _stored(leaf) for path, leaf in weights.items()}, {})
    text = json.dumps(_description(model, exported, sizes or Sizes()), indent=2)
    (directory / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _without_directories() -> Iterator[None]:
    """Programs traced inside name source files without their directories: a program says nothing of its machine."""
    option = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, before)


def _shape(sizes: Sizes, limit: int) -> tuple[Any, ...]:
    constraints = () if sizes.length else (f"t <= {limit}",)
    return tuple(export.symbolic_shape(f"{sizes.batch or 'b'}, {sizes.length or 't'}", constraints=constraints))


def _stored(leaf: jax.Array) -> StoredTensor:
    return StoredTensor(leaf.shape, str(leaf.dtype), lambda: np.asarray(leaf))


def _description(model: Any, exported: export.Exported, sizes: Sizes) -> dict[str, Any]:
    """What a program takes and gives, in the order of its arguments and results."""
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
        "inputs": [each | {"least": 0, "most": _most(model.config)[each["name"]]} for each in _specs(inputs)],
        "outputs": _specs(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
        "weights": _specs(weights),
        "versions": {"flax_lite": flax_lite.__version__, "jax": jax.__version__},
    }


def _most(config: EncoderConfig) -> dict[str, int]:
    """The largest number that an input may hold: a compiled program answers ids outside of its tables with NaN."""
    return {"input_ids": config.vocab_size - 1, "attention_mask": 1, "token_type_ids": config.type_vocab_size - 1}


def _specs(avals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, shape and dtype of arrays; an open size is written as its symbol."""
    return [
        {
            "name": name,
            "shape": [size if isinstance(size, int) else str(size) for size in aval.shape],
            "dtype": str(aval.dtype),
        }
        for name, aval in avals.items()
    ]
