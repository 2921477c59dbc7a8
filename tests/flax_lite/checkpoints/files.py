"""Helpers for the tests of checkpoints: saves tiny models, and changes their files."""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import numpy as library

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.params import get_params
from tests.flax_lite import tiny

Arrays = dict[str, np.ndarray]
INDEX = {"safetensors": "model.safetensors.index.json", "flax": "flax_model.msgpack.index.json"}


@functools.cache
def tiny_model(head: str, config: EncoderConfig) -> Any:
    """Returns a tiny model, cached by its config."""
    return tiny.make(head, config)


def saved(directory: Path, head: str, config: EncoderConfig, **options: Any) -> Any:
    """Saves a tiny model to the directory and returns it; files for an empty directory are cached."""
    if directory.is_dir() and any(directory.iterdir()):
        tiny_model(head, config).save_pretrained(directory, **options)
    else:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in _written(head, config, **options).items():
            (directory / name).write_bytes(content)
    return tiny_model(head, config)


@functools.cache
def _written(head: str, config: EncoderConfig, **options: Any) -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tiny_model(head, config).save_pretrained(Path(folder) / "model", **options)
        return {file.name: file.read_bytes() for file in (Path(folder) / "model").iterdir()}


def arrays(directory: Path) -> Arrays:
    """Returns the tensors of model.safetensors by name."""
    return library.load_file(directory / "model.safetensors")


def edit(directory: Path, change: Callable[[Arrays], Arrays], metadata: Mapping[str, str] | None = None) -> None:
    """Applies a change to the tensors of model.safetensors."""
    changed = {name: np.ascontiguousarray(array) for name, array in change(arrays(directory)).items()}
    library.save_file(changed, directory / "model.safetensors", dict(metadata or {"format": "pt"}))


def edit_config(directory: Path, **changes: Any) -> None:
    """Changes keys of config.json; None removes one."""
    values = {**json.loads((directory / "config.json").read_text()), **changes}
    values = {key: value for key, value in values.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(values))


def flat(model: Any) -> dict[str, jax.Array]:
    """Returns a model's parameters by path."""
    return traverse_util.flatten_dict(get_params(model), sep="/")


def assert_same_parameters(expected: Any, actual: Any, but: tuple[str, ...] = ()) -> None:
    """Asserts equal paths, shapes, dtypes and bits, except for paths with the given prefixes."""
    one, two = flat(expected), flat(actual)
    assert one.keys() == two.keys()
    for path, array in one.items():
        if not path.startswith(but or ("/",)):
            assert (array.shape, array.dtype) == (two[path].shape, two[path].dtype), path
            assert np.asarray(array).tobytes() == np.asarray(two[path]).tobytes(), path


def read_index(directory: Path, file_format: str) -> dict[str, Any]:
    """Returns the index of a sharded checkpoint."""
    return json.loads((directory / INDEX[file_format]).read_text())
