"""Reads one step of a training job, as Orbax writes it: a JSON object and a tree of arrays.

Orbax believes what is in a directory: it opens whatever lies there, and allocates the shapes that are claimed. So all
of it is looked at first: plain files only, no links, and arrays that what is there can hold.
"""

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from flax_lite.files.reading import is_there, open_file
from flax_lite.files.strict_json import read_json

_FORM = re.compile(r"([a-z][a-z0-9_]{1,30})\[((?:\d{1,18}(?:,\d{1,18}){0,7})?)\]", re.ASCII)
# Arrays are stored compressed: trained weights by a tenth, those of one value throughout by far more.
_MAX_COMPRESSION, _FREE_BYTES = 16, 2**26
# Of Orbax's own descriptions, which are JSON: 200 bytes an array and device.
_MAX_JSON_BYTES = 2**26
_MAX_FILES = 10**5


def read_meta(step: Path) -> Mapping[str, Any]:
    """The JSON object of a step.

    Raises:
        ValueError: if it is gone, or none.
    """
    with _one_error(step):
        return read_json(step / "meta" / "metadata")


def read_arrays(step: Path, tree: Mapping[str, str], top: str, without: str) -> Mapping[str, np.ndarray]:
    """The arrays of a step below one name, by path below it; what lies beside them is not read.

    Args:
        step: its directory.
        tree: forms of all arrays, such as "float32[2,3]", by path.
        top: the name.
        without: a name below it that is left out.

    Raises:
        ValueError: if something else is stored, more than the files can hold, or nothing that can be read.
    """
    import orbax.checkpoint as ocp

    state: Any = (step / "state").absolute()  # annotated there as a path of etils, which takes buckets too
    with _one_error(step):
        wanted = {path: _shape(path, form) for path, form in tree.items() if path.startswith(f"{top}/")}
        shapes = {tuple(path.split("/")): shape for path, shape in wanted.items() if path.split("/")[1] != without}
        num_bytes = _check_files(state)
        handler = ocp.PyTreeCheckpointHandler()
        stored = traverse_util.flatten_dict(_plain(handler.metadata(state)))
        _check_claims(shapes, stored, num_bytes)
        abstract = traverse_util.unflatten_dict(shapes)
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
        args = ocp.args.PyTreeRestore(item=abstract, restore_args=restore_args, partial_restore=True)
        with ocp.Checkpointer(handler) as checkpointer:
            found = checkpointer.restore(state, args=args)
        arrays: dict[str, Any] = traverse_util.flatten_dict(found[top], sep="/")
        return arrays


def _shape(path: str, form: Any) -> jax.ShapeDtypeStruct:
    """float32[2,3] as a shape."""
    match = _FORM.fullmatch(form) if isinstance(form, str) else None
    try:
        dtype = jnp.dtype(match[1]) if match else None
    except TypeError:
        dtype = None
    if match is None or dtype is None:
        raise ValueError(f"{path[:100]} is said to be {form!r:.100}, expected a form such as float32[2,3]")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in match[2].split(",") if size), dtype)


def _plain(metadata: Any) -> Mapping[str, Any]:
    """The tree of an answer of Orbax's, which has been wrapped in some versions."""
    return getattr(metadata, "tree", metadata)


def _check_files(directory: Path) -> int:
    """Refuses what is no plain file; returns the bytes of all.

    Raises:
        ValueError: naming the file.
    """
    total = count = 0
    for folder, folders, names in os.walk(directory):
        for name in folders:
            if Path(folder, name).is_symlink():
                raise ValueError(f"{Path(folder, name)} is a link, which no job writes")
        for name in names:
            path = Path(folder, name)
            if path.is_symlink():
                raise ValueError(f"{path} is a link, which no job writes")
            with open_file(path) as file:
                size = os.fstat(file.fileno()).st_size
            # What is named by a hash are values, which are mapped or read in part; the rest is read whole.
            if path.parent.name != "d" and size > _MAX_JSON_BYTES:
                raise ValueError(f"{path} has {size} bytes, expected at most {_MAX_JSON_BYTES}")
            total, count = total + size, count + 1
            if count > _MAX_FILES:
                raise ValueError(f"{directory} holds more than {_MAX_FILES} files")
    return total


def _check_claims(
    wanted: Mapping[tuple[str, ...], jax.ShapeDtypeStruct], stored: Mapping[tuple[str, ...], Any], num_bytes: int
) -> None:
    """Refuses arrays that are stored otherwise than was said, or that the files cannot hold."""
    claimed = 0
    for path, leaf in wanted.items():
        name, there = "/".join(path), stored.get(path)
        shape, dtype = getattr(there, "shape", None), getattr(there, "dtype", None)
        if there is None or tuple(shape or ()) != leaf.shape or jnp.dtype(dtype) != leaf.dtype:
            raise ValueError(f"{name} is stored as {dtype}{list(shape or ())}, expected {leaf.dtype}{list(leaf.shape)}")
        pieces = getattr(getattr(there, "storage", None), "chunk_shape", None)
        if pieces is not None and any(size > max(whole, 1) for size, whole in zip(pieces, leaf.shape, strict=True)):
            raise ValueError(f"{name} of shape {list(leaf.shape)} is stored in pieces of {list(pieces)}")
        claimed += math.prod(leaf.shape) * leaf.dtype.itemsize
    if claimed > _FREE_BYTES + _MAX_COMPRESSION * num_bytes:
        raise ValueError(f"it claims {claimed} bytes of arrays, and its files have {num_bytes}")


@contextlib.contextmanager
def _one_error(step: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_there(step):
            raise ValueError(
                f"{step} was deleted while it was read: its job keeps only the newest. Try again"
            ) from error
        raise ValueError(f"{step} cannot be read ({type(error).__name__}: {error})") from error
