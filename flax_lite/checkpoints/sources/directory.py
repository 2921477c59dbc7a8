"""Model directories: config.json and the weights in one or two formats, each in one file or in shards."""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import jax
import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import load_config, weight_table
from flax_lite.checkpoints.checkpoint import FLAX, TORCH, Checkpoint, Convention
from flax_lite.checkpoints.engine import export_tensors
from flax_lite.checkpoints.expected import is_buffer
from flax_lite.checkpoints.formats.msgpack_file import read_msgpack, write_msgpack
from flax_lite.checkpoints.formats.safetensors_file import read_safetensors, write_safetensors
from flax_lite.checkpoints.formats.shards import INDEX_SUFFIX, Read, Write, parse_size, read_shards, write_shards
from flax_lite.checkpoints.formats.tensors import Tensors
from flax_lite.checkpoints.sources.foreign import describe_contents, refuse_adapter
from flax_lite.checkpoints.sources.google import is_google, open_google
from flax_lite.files.names import CONFIG, MAX_TOKENIZER_BYTES
from flax_lite.files.reading import copy_file, is_there, read_consistently
from flax_lite.files.staging import staged_directory

SAFETENSORS = "model.safetensors"
MSGPACK = "flax_model.msgpack"
# A head that no class of Hugging Face has (flax_lite.question_answering), in a separate file.
HEAD_FILE = "beam_head.safetensors"


@dataclasses.dataclass(frozen=True)
class _Format:
    """A format of weight files.

    Attributes:
        file: name of the file if the weights are not in shards.
        read: reads one file.
        write: writes one file.
        written_as: the convention of written files.
        separator: between the parts of a name in an index of shards.
    """

    file: str
    read: Read
    write: Write
    written_as: Convention
    separator: str


# In order of precedence.
_FORMATS: Mapping[str, _Format] = {
    "safetensors": _Format(
        SAFETENSORS,
        read_safetensors,
        # transformers refuses safetensors whose metadata names no format.
        lambda path, tensors: write_safetensors(path, tensors, {"format": "pt"}),
        TORCH,
        ".",
    ),
    "flax": _Format(MSGPACK, lambda path: (read_msgpack(path), "flax"), write_msgpack, FLAX, "/"),
}
# By the format in the metadata, as in transformers 4.57 (modeling_utils.py, from_pretrained); MLX has PyTorch's names.
_CONVENTIONS: Mapping[str | None, Convention] = {None: TORCH, "pt": TORCH, "mlx": TORCH, "flax": FLAX}
# Weights of an older model in the directory: kept with the new ones, some tool would read them instead.
_WEIGHT_PATTERNS = (
    "model*.safetensors*",
    "flax_model*.msgpack*",
    "pytorch_model*.bin*",
    "tf_model*.h5*",
    HEAD_FILE,
)


def open_directory(source: str | os.PathLike[str]) -> Checkpoint:
    """Opens the checkpoint in a directory; safetensors takes precedence over msgpack.

    All files are from one save, even if another process replaces the directory meanwhile.

    Raises:
        ValueError: if there is no such directory, or no readable checkpoint in it.
    """
    return read_consistently(Path(source), lambda: _open(Path(source), os.fspath(source)))


def _open(directory: Path, given: str) -> Checkpoint:
    if not is_there(directory / CONFIG) and is_google(directory):
        return open_google(directory)
    if not directory.is_dir():
        raise ValueError(f"{given!r} is not a directory; expected one with {CONFIG} and {SAFETENSORS} or {MSGPACK}")
    refuse_adapter(directory)
    if not is_there(directory / CONFIG):
        raise ValueError(
            f"{directory} has no {CONFIG}: without it the architecture is unknown{describe_contents(directory)}"
        )
    config = load_config(directory)
    table = weight_table(config)
    for file_format in _FORMATS.values():
        path = directory / file_format.file
        index = path.with_name(path.name + INDEX_SUFFIX)
        if is_there(path):
            return _opened(path, config, *file_format.read(path))
        if is_there(index):
            read = read_shards(index, file_format.read, file_format.separator, lambda name: is_buffer(name, table))
            return _opened(index, config, *read)
    if is_google(directory):
        return open_google(directory)
    raise ValueError(f"{directory} has neither {SAFETENSORS} nor {MSGPACK}{describe_contents(directory)}")


def _opened(path: Path, config: EncoderConfig, tensors: Tensors, written_for: str | None) -> Checkpoint:
    if written_for not in _CONVENTIONS:
        raise ValueError(
            f"{path} has the format {str(written_for)[:100]!r} in its metadata, expected 'pt', 'mlx' or 'flax'"
        )
    if config.num_physical_layers > len(tensors):
        raise ValueError(
            f"{path} has {len(tensors)} tensors, too few for the {config.num_physical_layers} layers of its {CONFIG}: "
            "the two files do not belong together"
        )
    head = path.with_name(HEAD_FILE)
    head_tensors = read_safetensors(head)[0] if is_there(head) else None
    return Checkpoint(path, config, tensors, _CONVENTIONS[written_for], head_file=head_tensors)


def write_directory(
    target: str | os.PathLike[str],
    params: Mapping[str, jax.Array | np.ndarray],
    config: EncoderConfig,
    formats: tuple[str, ...],
    files: Mapping[str, Path] | None = None,
    max_shard_size: int | str | None = None,
    replaces: Collection[str] = (),
) -> None:
    """Writes config.json and the weights in each of the formats, as a whole or not at all (`staged_directory`).

    Args:
        target: the directory.
        params: parameters by path.
        config: the model's.
        formats: "safetensors", "flax" or both.
        files: further files to copy, such as a tokenizer's, by their path in the directory.
        max_shard_size: larger weights (a number of bytes, or text such as "500MB") are written in shards with an index,
            as Hugging Face does; None writes one file.
        replaces: globs on files of an existing directory that are not kept, besides its weights.

    Raises:
        ValueError: for an unknown format, a malformed size, or a target that cannot be replaced.
    """
    max_bytes = parse_size(max_shard_size)
    unknown = [name for name in formats if name not in _FORMATS]
    if unknown or not formats:
        raise ValueError(
            f"format {', '.join(unknown) or 'is empty and'} is not known; choose from {', '.join(_FORMATS)}"
        )
    with staged_directory(target, replaces=(*_WEIGHT_PATTERNS, *replaces)) as stage:
        write_config(stage, config)
        for name in formats:
            file_format = _FORMATS[name]
            tensors = export_tensors(params, file_format.written_as, config)
            write_shards(stage / file_format.file, tensors, max_bytes, file_format.write, file_format.separator)
        for name, file in (files or {}).items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(file, stage / name, MAX_TOKENIZER_BYTES)


def write_config(directory: Path, config: EncoderConfig) -> None:
    """Writes config.json to an existing directory."""
    values = config.to_json_dict()
    # These keys describe the dtype and the file of the weights that were read, not of those that are written.
    outdated = ("dtype", "torch_dtype", "transformers_weights")
    values = {key: value for key, value in values.items() if key not in outdated}
    (directory / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
