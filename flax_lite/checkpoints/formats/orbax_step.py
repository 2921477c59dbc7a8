"""Reads one step of a training job, as written by Orbax: a JSON object and a tree of arrays.

Orbax trusts a directory: it opens any file in it and allocates the shapes that the metadata claim. So the directory is
checked first: regular files only, no links, and no more array bytes than the files can hold.
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
# Arrays are compressed: trained weights by a tenth, arrays of one repeated value by far more.
_MAX_COMPRESSION, _FREE_BYTES = 16, 2**26
# Limit for Orbax's JSON metadata, which take 200 bytes for each array and device.
_MAX_JSON_BYTES = 2**26
_MAX_FILES = 10**5


def read_meta(step: Path) -> Mapping[str, Any]:
    """Returns the JSON object of a step.

    Raises:
        ValueError: if it was deleted, or is not a JSON object.
    """
    with _one_error(step):
        return read_json(step / "meta" / "metadata")


def read_arrays(step: Path, tree: Mapping[str, str], top: str, without: str) -> Mapping[str, np.ndarray]:
    """Returns the arrays of one subtree of a step, by path in the subtree; the other arrays are not read.

    Args:
        step: directory of the step.
        tree: dtype and shape of every array, such as "float32[2,3]", by path.
        top: name of the subtree.
        without: name of a branch of the subtree that is not read.

    Raises:
        ValueError: if other arrays are stored, the arrays are larger than the files can hold, or cannot be read.
    """
    import orbax.checkpoint as ocp

    state: Any = (step / "state").absolute()  # Orbax annotates it as etils.epath.Path, but takes any path
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
    """Parses "float32[2,3]"."""
    match = _FORM.fullmatch(form) if isinstance(form, str) else None
    try:
        dtype = jnp.dtype(match[1]) if match else None
    except TypeError:
        dtype = None
    if match is None or dtype is None:
        raise ValueError(f"{path[:100]} is declared as {form!r:.100}, expected dtype and shape such as float32[2,3]")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in match[2].split(",") if size), dtype)


def _plain(metadata: Any) -> Mapping[str, Any]:
    """Returns the tree of Orbax's metadata, which some versions wrap in an object."""
    return getattr(metadata, "tree", metadata)


def _check_files(directory: Path) -> int:
    """Returns the size in bytes of all files in a directory.

    Raises:
        ValueError: naming the first file that is not a regular one.
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
            # Files in directories named "d" hold values, which are mapped or read in parts; other files are read whole.
            if path.parent.name != "d" and size > _MAX_JSON_BYTES:
                raise ValueError(f"{path} has {size} bytes, expected at most {_MAX_JSON_BYTES}")
            total, count = total + size, count + 1
            if count > _MAX_FILES:
                raise ValueError(f"{directory} holds more than {_MAX_FILES} files")
    return total


def _check_claims(
    wanted: Mapping[tuple[str, ...], jax.ShapeDtypeStruct], stored: Mapping[tuple[str, ...], Any], num_bytes: int
) -> None:
    """Raises ValueError if shapes or dtypes differ from the declared ones, or the files are too small for them."""
    claimed = 0
    for path, leaf in wanted.items():
        name, found = "/".join(path), stored.get(path)
        shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
        if found is None or tuple(shape or ()) != leaf.shape or jnp.dtype(dtype) != leaf.dtype:
            raise ValueError(f"{name} is stored as {dtype}{list(shape or ())}, expected {leaf.dtype}{list(leaf.shape)}")
        chunks = getattr(getattr(found, "storage", None), "chunk_shape", None)
        if chunks is not None and any(size > max(whole, 1) for size, whole in zip(chunks, leaf.shape, strict=True)):
            raise ValueError(f"{name} of shape {list(leaf.shape)} is stored in chunks of {list(chunks)}")
        claimed += math.prod(leaf.shape) * leaf.dtype.itemsize
    if claimed > _FREE_BYTES + _MAX_COMPRESSION * num_bytes:
        raise ValueError(f"it claims {claimed} bytes of arrays, but its files have {num_bytes}")


@contextlib.contextmanager
def _one_error(step: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_there(step):
            raise ValueError(
                f"{step} was deleted while it was read, because its job keeps only the newest steps: try again"
            ) from error
        raise ValueError(f"{step} cannot be read ({type(error).__name__}: {error})") from error
