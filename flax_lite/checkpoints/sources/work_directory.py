"""Work directories of training jobs as sources of models, even while the job runs.

A checkpoint contains the configuration of its model (`"model"` in its JSON, in the format of config.json), so the code
of the job is not needed. Its parameters get Hugging Face's Flax names, and are then loaded like those of any file.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import config_class
from flax_lite.checkpoints.checkpoint import FLAX, Checkpoint
from flax_lite.checkpoints.engine import export_tensors
from flax_lite.checkpoints.formats.orbax_step import read_arrays, read_meta
from flax_lite.files.names import CONFIG
from flax_lite.files.strict_json import read_json

FORMAT = 1  # version of the layout of work directories
COMMIT_MARKER = "commit_success.txt"  # the last file that Orbax writes, since 0.12.3
BEST, LAST = "best", "last"
CHECKPOINTS = "checkpoints"
# Parameters of a student that exist only while it is trained (flax_lite.distillation.objective.Projections).
PROJECTIONS = "projections"
_HEAD = "head/"  # paths of a head without rows in the weight tables

logger = logging.getLogger("flax_lite")


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
    """Opens a checkpoint of a work directory, and logs its step.

    Args:
        path: the work directory.
        which: a step's number, "best" or "last". None is the step of the final model of a finished job, which is the
            best one if the job kept it, and the newest step of any other job.

    Raises:
        ValueError: if there is no such checkpoint, it cannot be read, or the work directory has another format.
    """
    step, reason = _choose_step(path, which)
    checkpoint = _open_step(path / CHECKPOINTS / str(step))
    logger.warning("%s: using step %d%s", path, step, reason)
    return checkpoint


def work_directory_config(path: Path, which: str | None = None) -> EncoderConfig:
    """Returns the architecture of a checkpoint that `open_work_directory` would open, without reading its arrays.

    Raises:
        ValueError: as `open_work_directory`.
    """
    directory = path / CHECKPOINTS / str(_choose_step(path, which)[0])
    return _config(directory, read_meta(directory))


def _choose_step(path: Path, which: str | None) -> tuple[int, str]:
    """Returns the step that `which` names, and the end of the message that describes the choice."""
    found = read_json(path / CONFIG).get("format")
    if found != FORMAT:
        raise ValueError(
            f"{path} is a work directory of format {found!r}, this version reads {FORMAT}: give {path / 'model'}, "
            "which is a normal model directory, or use the version that wrote it (summary.json names the commit)"
        )
    steps = complete_steps(path / CHECKPOINTS)
    if not steps:
        raise ValueError(f"{path} is a work directory without a complete checkpoint yet; wait for the first one")
    listed, newest = ", ".join(map(str, steps)), steps[-1]
    if which is not None and which not in (BEST, LAST):
        if not which.isdigit() or int(which) not in steps:
            raise ValueError(
                f"{path} has no checkpoint {which!r}; it has {listed}, {LAST!r}, and {BEST!r} if one is kept"
            )
        return int(which), ""
    best = _read_best(path / CHECKPOINTS / str(newest), steps)
    if which == BEST and not best:
        raise ValueError(f"{path} has no best checkpoint (keep_best=True keeps one); name a step: {listed}")
    if which is not None:
        step, note = (best["step"] if which == BEST else newest), ""
    else:
        step, note = _default_step(path, steps, best)
    if step == best.get("step"):
        others = " and the newest" if step == newest else f"; the newest is {newest}"
        return step, f", the best by {best.get('metric')}{others}"
    others = f"; the best so far is {best['step']}" if best else ""
    return step, f", {'the newest' if step == newest else 'that of its final model'}{note}{others}"


def _default_step(path: Path, steps: Sequence[int], best: Mapping[str, Any]) -> tuple[int, str]:
    """Returns the step to open if none is named, and a note about a job that has not finished."""
    try:
        summary = read_json(path / "summary.json")
    except (OSError, ValueError):
        summary = {}
    if summary.get("status") != "finished":
        return steps[-1], " of a job that has not finished"
    named = (summary.get("model_step"), best.get("step"))
    return next((step for step in named if isinstance(step, int) and step in steps), steps[-1]), ""


def _read_best(newest: Path, steps: Collection[int]) -> Mapping[str, Any]:
    """Returns the best evaluation that the newest checkpoint records; empty if the step of it is not kept."""
    best = read_meta(newest).get("best")
    return best if isinstance(best, Mapping) and best.get("step") in steps else {}


def _open_step(path: Path) -> Checkpoint:
    meta = read_meta(path)
    config = _config(path, meta)
    params = dict(read_arrays(path, meta["tree"], "params", PROJECTIONS))
    head = {name.removeprefix(_HEAD): params.pop(name) for name in list(params) if name.startswith(_HEAD)}
    return Checkpoint(path, config, export_tensors(params, FLAX, config), FLAX, head)


def _config(path: Path, meta: Mapping[str, Any]) -> EncoderConfig:
    """Returns the architecture in the JSON object of a step."""
    model = meta.get("model")
    if not isinstance(model, Mapping) or not isinstance(meta.get("tree"), Mapping):
        raise ValueError(
            f"{path} does not contain the configuration of its model; it was written by another version of the job"
        )
    try:
        return config_class(str(model.get("model_type"))).from_json_dict(dict(model))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
