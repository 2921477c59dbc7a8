"""A model directory: config.json beside weights in one format or two."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from flax_lite.checkpoints.engine import export_tensors
from flax_lite.checkpoints.msgpack_file import read_msgpack, write_msgpack
from flax_lite.checkpoints.safetensors_file import read_safetensors, write_safetensors
from flax_lite.checkpoints.staging import staged_directory
from flax_lite.checkpoints.table import FLAX, TORCH, Dialect
from flax_lite.checkpoints.tensors import Tensors
from flax_lite.config import EncoderConfig, load_config

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
MSGPACK = "flax_model.msgpack"
# What a directory may hold of an older model. Left beside new weights, some tool would read them instead.
_WEIGHT_PATTERNS = (
    "model*.safetensors*",
    "flax_model*.msgpack*",
    "pytorch_model*.bin*",
    "tf_model*.h5*",
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint opened for reading.

    Attributes:
        path: the file that holds the weights.
        config: what config.json says.
        tensors: by their names in the file, dots between the parts.
        dialect: how the file names and orients them.
    """

    path: Path
    config: EncoderConfig
    tensors: Tensors
    dialect: Dialect


def open_directory(source: str | os.PathLike[str]) -> Checkpoint:
    """Opens the checkpoint in a directory; of two formats, safetensors is read.

    Raises:
        ValueError: if there is no such directory, or not a readable checkpoint in it.
    """
    directory = Path(source)
    if not directory.is_dir():
        raise ValueError(
            f"{os.fspath(source)!r} is no directory; expected one that holds {CONFIG} and {SAFETENSORS} or {MSGPACK}"
        )
    if not (directory / CONFIG).is_file():
        raise ValueError(f"{directory} holds no {CONFIG}: without it the architecture is unknown")
    config = load_config(directory)
    if (directory / SAFETENSORS).is_file():
        path = directory / SAFETENSORS
        tensors, file_format = read_safetensors(path)
        return Checkpoint(path, config, tensors, _safetensors_dialect(path, file_format))
    if (directory / MSGPACK).is_file():
        path = directory / MSGPACK
        return Checkpoint(path, config, read_msgpack(path), FLAX)
    raise ValueError(f"{directory} holds neither {SAFETENSORS} nor {MSGPACK}{_other_weights(directory)}")


def _safetensors_dialect(path: Path, file_format: str | None) -> Dialect:
    dialects = {None: TORCH, "pt": TORCH, "flax": FLAX}
    if file_format not in dialects:
        raise ValueError(f"{path} holds weights named as in {file_format!r}, expected 'pt' or 'flax'")
    return dialects[file_format]


def _other_weights(directory: Path) -> str:
    """What to say of weights in a form that is not read."""
    names = sorted(file.name for pattern in _WEIGHT_PATTERNS for file in directory.glob(pattern))
    if not names:
        return ""
    if any(name.endswith(".bin") for name in names):
        return (
            f"; {', '.join(names)} is a pickle, which can run any code and is never opened: "
            "ask its author for safetensors, or convert it where you trust it"
        )
    return f"; of what it holds, {', '.join(names)} cannot be read: save the model as one {SAFETENSORS}"


def _write_torch(path: Path, params: Mapping[str, jax.Array], config: EncoderConfig) -> None:
    # transformers refuses safetensors whose metadata names no format.
    write_safetensors(path, export_tensors(params, TORCH, config), {"format": "pt"})


def _write_flax(path: Path, params: Mapping[str, jax.Array], config: EncoderConfig) -> None:
    write_msgpack(path, export_tensors(params, FLAX, config))


_WRITERS: dict[str, tuple[str, Callable[[Path, Mapping[str, jax.Array], EncoderConfig], None]]] = {
    "safetensors": (SAFETENSORS, _write_torch),
    "flax": (MSGPACK, _write_flax),
}


def write_directory(
    target: str | os.PathLike[str],
    params: Mapping[str, jax.Array],
    config: EncoderConfig,
    formats: tuple[str, ...],
) -> None:
    """Writes config.json and the weights, in each of the formats, as `staged_directory` does: whole or not at all.

    Args:
        target: the directory.
        params: by path.
        config: written with them.
        formats: "safetensors", "flax" or both.

    Raises:
        ValueError: for an unknown format, or a target that cannot be replaced.
    """
    unknown = [name for name in formats if name not in _WRITERS]
    if unknown or not formats:
        raise ValueError(
            f"format {', '.join(unknown) or 'is empty and'} is not known; choose from {', '.join(_WRITERS)}"
        )
    with staged_directory(target, replaces=_WEIGHT_PATTERNS) as stage:
        values = config.to_json_dict()
        # They told the dtype of the weights that were read; readers that trust them would round those written now.
        values = {key: value for key, value in values.items() if key not in ("dtype", "torch_dtype")}
        (stage / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name in formats:
            file_name, write = _WRITERS[name]
            write(stage / file_name, params, config)
