"""Checkpoints in several files (shards), with an index that maps each tensor to its file.

Not huggingface_hub's split_state_dict_into_shards_factory: it starts new shards at other tensors than transformers.

Source: transformers 4.57 modeling_flax_utils.py (flax_shard_checkpoint), modeling_utils.py (save_pretrained).
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.tensors import StoredTensor, Tensors
from flax_lite.files.reading import is_there
from flax_lite.files.strict_json import read_json

INDEX_SUFFIX = ".index.json"
# Returns the tensors of a file, and the format in its metadata or None.
Read = Callable[[Path], tuple[dict[str, StoredTensor], str | None]]
Write = Callable[[Path, Tensors], None]

_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_size(size: int | str | None) -> float:
    """Returns bytes from a number, or from text such as "500MB", "1.5GB" or "2GiB"; infinity for None.

    Not huggingface_hub's parse_size_to_int: it knows no binary units, and accepts negative sizes.

    Raises:
        ValueError: for anything else, and for sizes of less than one byte.
    """
    if size is None:
        return math.inf
    num_bytes = -1
    if isinstance(size, str):
        # "Mb" would mean megabits, so the B must be a capital letter.
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?((?:[KMGTkmgt]i?)?B)", size)
        if match:
            num_bytes = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(size, int) and not isinstance(size, bool):
        num_bytes = size
    if num_bytes < 1:
        raise ValueError(
            f"max_shard_size={size!r} is not a size; give a number of bytes, or text such as '500MB' or '10GB'"
        )
    return num_bytes


def write_shards(path: Path, tensors: Tensors, max_bytes: float, write: Write, separator: str = ".") -> None:
    """Writes one file or, if the tensors take more than `max_bytes`, numbered shards and their index.

    Args:
        path: path of a single file, from which the names of shards and index are derived.
        tensors: by name, with dots between the parts.
        max_bytes: largest size of a shard's values; a larger tensor gets a shard of its own.
        write: writes one file.
        separator: between the parts of a name in the index.
    """
    shards = _split(tensors, max_bytes)
    if len(shards) == 1:
        write(path, tensors)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{path.stem}-{number:05d}-of-{len(shards):05d}{path.suffix}"
        write(path.with_name(name), shard)
        weight_map.update(dict.fromkeys((key.replace(".", separator) for key in shard), name))
    total = sum(tensor.num_bytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    path.with_name(path.name + INDEX_SUFFIX).write_text(text, encoding="utf-8")


def _split(tensors: Tensors, max_bytes: float) -> list[dict[str, StoredTensor]]:
    """Splits the tensors in their order: a new shard starts where the next tensor does not fit."""
    shards: list[dict[str, StoredTensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.num_bytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.num_bytes
    return shards


def read_shards(
    index: Path, read: Read, separator: str = ".", left_out: Callable[[str], bool] = lambda name: False
) -> tuple[dict[str, StoredTensor], str | None]:
    """Returns the tensors of all shards that an index names, and the format in their metadata.

    The index and the shards must agree on the file of every tensor, except for those that `left_out` selects.

    Args:
        index: the index file, in the directory of the shards.
        read: reads one shard.
        separator: between the parts of a name in the index.
        left_out: whether a tensor is no parameter of the model, such as a buffer that older versions saved.

    Raises:
        ValueError: if the index is malformed, names missing files or files elsewhere, or disagrees with the shards.
    """
    weight_map = {
        name.replace(separator, "."): file
        for name, file in _read_weight_map(index, index.name.removesuffix(INDEX_SUFFIX)).items()
    }
    files = sorted(set(weight_map.values()))
    absent = [name for name in files if not is_there(index.parent / name)]
    if absent:
        raise ValueError(
            listing(f"shards named by {index} do not exist", absent) + "\nCopy or download the checkpoint again."
        )
    tensors: dict[str, StoredTensor] = {}
    holders: dict[str, list[str]] = {}
    formats: dict[str | None, str] = {}
    for file in files:
        held, file_format = read(index.parent / file)
        formats.setdefault(file_format, file)
        tensors.update(held)
        for name in held:
            holders.setdefault(name, []).append(file)
    wanted = {name: file for name, file in weight_map.items() if not left_out(name)}
    _check_agreement(index, wanted, {name: files for name, files in holders.items() if not left_out(name)})
    if len(formats) > 1:
        raise ValueError(f"{index}: its shards name several formats: {', '.join(map(repr, formats))}; expected one")
    return tensors, next(iter(formats))


def _read_weight_map(index: Path, single: str) -> dict[str, str]:
    """Returns the file of each tensor, by the tensor's name in the index."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no weight_map: expected an object that gives each tensor's file")
    suffix = Path(single).suffix
    for name, file in weight_map.items():
        if not isinstance(file, str) or not _is_plain(file) or not file.endswith(suffix):
            raise ValueError(
                f"{index} says that {name[:100]!r} is in {str(file)[:100]!r}; expected the plain name of a "
                f"{suffix} file in the same directory"
            )
    return weight_map


def _is_plain(name: str) -> bool:
    """Whether a name is that of an entry of the directory on every system (possibly a link, as in the hub's cache)."""
    return name.isprintable() and name == os.path.basename(name) and not re.search(r'[\\:*?"<>|]', name)


def _check_agreement(index: Path, weight_map: Mapping[str, str], holders: Mapping[str, list[str]]) -> None:
    duplicate = [f"{name}: {', '.join(files)}" for name, files in holders.items() if len(files) > 1]
    absent = [f"{name}: {file}" for name, file in weight_map.items() if file not in holders.get(name, [])]
    extra = [f"{name}: {', '.join(files)}" for name, files in holders.items() if name not in weight_map]
    blocks = [
        listing("in several shards", duplicate),
        listing("not in the shard that the index names", absent),
        listing("in a shard, but not in the index", extra),
    ]
    if any(blocks):
        raise ValueError(f"{index} and its shards disagree.\n" + "\n".join(block for block in blocks if block))
