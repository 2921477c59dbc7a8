"""Work directories of training jobs as sources of models, even while the job runs.

A checkpoint contains the configuration of its model (`"model"` in its JSON, in the format of config.json), so the code
of the job is not needed. Its parameters get Hugging Face's Flax names, and are then loaded like those of any file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from flax_lite.architecture.registry import config_class
from flax_lite.checkpoints.checkpoint import FLAX, Checkpoint
from flax_lite.checkpoints.engine import export_tensors
from flax_lite.checkpoints.formats.orbax_step import read_arrays, read_meta
from flax_lite.files.names import CONFIG
from flax_lite.files.strict_json import read_json

FORMAT = 1  # version of the layout of work directories
COMMIT_MARKER = "commit_success.txt"  # the last file that Orbax writes, since 0.12.3
BEST = "best"
# Parameters of a student that exist only while it is trained (flax_lite.distillation.objective.Projections).
PROJECTIONS = "projections"
_HEAD = "head/"  # paths of a head without rows in the weight tables


@runtime_checkable
class Directory(Protocol):
    """Protocol of a local path or a path in a bucket: `pathlib.Path` or `etils.epath.Path`."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        ...

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        ...

    def exists(self) -> bool:
        """Whether the path exists."""
        ...

    def iterdir(self) -> "Iterable[Directory]":
        """Returns the entries of the directory."""
        ...

    def __truediv__(self, name: str, /) -> "Directory":
        """Returns the path of an entry."""
        ...


def is_work_directory(path: Path) -> bool:
    """Whether a directory is a work directory: its config.json holds the request of a job, not an architecture."""
    try:
        values = read_json(path / CONFIG)
    except (OSError, ValueError):
        return False
    return "job" in values and "model_type" not in values


def complete_steps(checkpoints: Directory) -> list[int]:
    """Returns the steps with a complete checkpoint in a directory, oldest first."""
    entries = checkpoints.iterdir() if checkpoints.is_dir() else ()
    steps = [int(entry.name) for entry in entries if re.fullmatch(r"\d+", entry.name)]
    return sorted(step for step in steps if (checkpoints / str(step) / COMMIT_MARKER).exists())


def open_work_directory(path: Path, which: str | None = None) -> Checkpoint:
    """Opens a checkpoint of a work directory.

    Args:
        path: the work directory.
        which: a step's number, "best", or None for the newest.

    Raises:
        ValueError: if there is no such checkpoint, it cannot be read, or the work directory has another format.
    """
    found = read_json(path / CONFIG).get("format")
    if found != FORMAT:
        raise ValueError(
            f"{path} is a work directory of format {found!r}, this version reads {FORMAT}: give {path / 'model'}, "
            "which is a normal model directory, or use the version that wrote it (summary.json names the commit)"
        )
    checkpoints = path / "checkpoints"
    steps = complete_steps(checkpoints)
    if not steps:
        raise ValueError(f"{path} is a work directory without a complete checkpoint yet; wait for the first one")
    if which is None:
        return _open_step(checkpoints / str(steps[-1]))
    if which == BEST:
        best = read_meta(checkpoints / str(steps[-1])).get("best")
        step = best.get("step") if isinstance(best, Mapping) else None
        if step not in steps:
            raise ValueError(f"{path} has no best checkpoint (keep_best=True keeps one); name a step: {_listed(steps)}")
        return _open_step(checkpoints / str(step))
    if not which.isdigit() or int(which) not in steps:
        raise ValueError(f"{path} has no checkpoint {which!r}; it has {_listed(steps)}, and {BEST!r} if one is kept")
    return _open_step(checkpoints / which)


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, steps))


def _open_step(path: Path) -> Checkpoint:
    meta = read_meta(path)
    model, tree = meta.get("model"), meta.get("tree")
    if not isinstance(model, Mapping) or not isinstance(tree, Mapping):
        raise ValueError(
            f"{path} does not contain the configuration of its model; it was written by another version of the job"
        )
    try:
        config = config_class(str(model.get("model_type"))).from_json_dict(dict(model))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    params = dict(read_arrays(path, tree, "params", PROJECTIONS))
    head = {name.removeprefix(_HEAD): params.pop(name) for name in list(params) if name.startswith(_HEAD)}
    return Checkpoint(path, config, export_tensors(params, FLAX, config), FLAX, head)
