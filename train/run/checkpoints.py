"""Checkpoints of the train state: written by Orbax in the background, validated when read.

A step's directory contains the state (a tree of arrays) and a small JSON object. Retention and the choice of the step
to restore are not left to Orbax's CheckpointManager: Orbax 0.12.8 lists an empty directory as the latest step, and the
manager keeps listing a step whose background write failed.
"""

import functools
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from flax_lite.checkpoints.sources.work_directory import COMMIT_MARKER, complete_steps
from flax_lite.models.params import path_name
from train.errors import RunError, UserError
from train.machine import hosts
from train.machine.paths import WorkPath, move_tree, remove_tree


class _DropOrbaxRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "/orbax/" not in record.pathname


@functools.cache
def quieten_orbax() -> None:
    """Silences what Orbax prints about a failure in addition to the exception that it raises.

    It logs the tracebacks of all its threads; and when one array fails it closes the event loop that the others still
    report to, which Python prints once per array.
    """
    absl_logging.get_absl_logger().addFilter(_DropOrbaxRecords())
    default_hook = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            default_hook(unraisable)

    sys.unraisablehook = hook


Tree = Any
Meta = dict[str, Any]
_UNFINISHED = re.compile(r"(\d+)\.orbax-checkpoint-tmp.*")
_DELETING = ".deleting"
_LABELS = {"identity": "inputs", "tree": "state"}  # of entries of the JSON, in messages
_WRITE_TIMEOUT_SECONDS = 3600


class Checkpoints:
    """The checkpoints of one work directory.

    Args:
      root: the directory with one entry per step.
      keep: the number of newest steps to keep, in addition to `best_step`.
      log: prints a line; called when something is wrong with a checkpoint.
      is_ours: whether this job may still delete in `root`.
    """

    def __init__(
        self, root: WorkPath, keep: int, log: Callable[[str], None], is_ours: Callable[[], bool] = lambda: True
    ) -> None:
        self.root: WorkPath = root.absolute() if isinstance(root, Path) else root
        self.keep, self._log, self._is_ours = keep, log, is_ours
        self.best_step: int | None = None
        self._writing: int | None = None
        self._next_best: int | None = None
        quieten_orbax()
        handler = ocp.CompositeCheckpointHandler(
            state=ocp.StandardCheckpointHandler(), meta=ocp.JsonCheckpointHandler()
        )
        self._orbax = ocp.AsyncCheckpointer(handler, timeout_secs=_WRITE_TIMEOUT_SECONDS)
        # Each host reads independently and reports the outcome to the others: a host that fails must not leave them
        # waiting in a barrier of Orbax.
        alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
        self._reader = ocp.Checkpointer(handler, multiprocessing_options=alone)

    def steps(self) -> list[int]:
        """Returns the steps with a complete checkpoint, oldest first."""
        return complete_steps(self.root)

    def has(self, step: int) -> bool:
        """Whether host 0 sees a complete checkpoint of a step; the same on all hosts, so that they act alike."""
        return step in hosts.broadcast_from_host0("saved steps", self.steps())

    def save(self, step: int, state: Tree, meta: Mapping[str, Any], best_step: int | None = None) -> None:
        """Starts writing a checkpoint in the background; returns when the state may be donated.

        Args:
          step: the number of updates done.
          state: a tree of arrays with the same number under "step".
          meta: other data for resuming, as JSON.
          best_step: the step to keep in addition to the newest ones, once this save is complete.

        Raises:
          RunError: this save or the previous one could not be written.
        """
        self.wait()
        with hosts.sync_errors(f"removing an incomplete step {step}"):
            path = self.root / str(step)  # exists if, in a bucket, a process that was taken over was still writing
            if hosts.is_first() and path.exists() and step not in self.steps() and self._is_ours():
                self._set_aside(path, step, "no commit marker")
        if self.has(step):
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"tree": describe_tree(state), **meta}),
        )
        self._writing, self._next_best = step, best_step
        try:
            self.root.mkdir(parents=True, exist_ok=True)  # Orbax would create it in a thread and wait there
            self._orbax.save(self.root / str(step), args=items)
        except Exception as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Waits for the save in progress, then deletes checkpoints that are no longer kept.

        Raises:
          RunError: the save failed.
        """
        if self._writing is None:
            return
        try:
            self._orbax.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error
        self._writing, self.best_step = None, self._next_best
        if jax.process_index() == 0:
            self.prune(self.keep)

    def prune(self, keep: int) -> None:
        """Deletes all checkpoints except for the `keep` newest ones and the best; logs a line if that fails."""
        try:
            if self._is_ours():
                for step in self.steps()[:-keep]:
                    if step != self.best_step:
                        self._delete(step)
        except Exception as error:  # not fatal: the next save tries again
            self._log(f"old checkpoints could not be deleted from {self.root}: {_first_line(error)}")

    def close(self) -> None:
        """Ends Orbax's threads. Call `wait` first: this does not report its errors."""
        self._orbax.close()
        self._reader.close()

    def restore(self, abstract: Tree, expected: Mapping[str, Any]) -> tuple[Tree, Meta] | None:
        """Restores the newest good checkpoint and moves bad ones to checkpoints.bad/.

        Args:
          abstract: ShapeDtypeStructs with the shardings to restore to, on any mesh.
          expected: entries that the checkpoint's JSON must equal.

        Returns:
          The state and its JSON, or None if there is no good checkpoint.

        Raises:
          UserError: an intact checkpoint contains another tree or other entries than expected.
        """
        if hosts.is_first():
            self._set_unfinished_aside()
        names = [path.name for path in _entries(self.root) if path.name.isdigit()]
        numbered: list[int] = hosts.broadcast_from_host0("checkpoints", sorted(map(int, names), reverse=True))
        for step in numbered:
            loaded, fault = self._try(self.root / str(step), abstract, expected)
            if loaded is not None:
                return loaded
            if hosts.is_first():
                self._set_aside(self.root / str(step), step, fault)
        if numbered:
            self._log("no good checkpoint is left: starting from the first step")
        return None

    def load(self, step: int, abstract: Tree, expected: Mapping[str, Any]) -> Tree | None:
        """Restores one step's state; logs a line and returns None if it is missing or bad."""
        loaded, fault = self._try(self.root / str(step), abstract, expected)
        if loaded is None:
            self._log(f"checkpoint {step} cannot be used: {fault}")
        return loaded[0] if loaded else None

    def _try(self, path: WorkPath, abstract: Tree, expected: Mapping[str, Any]) -> tuple[tuple[Tree, Meta] | None, str]:
        """Returns a checkpoint's state and JSON, or None and the fault, which may be on any host."""
        with hosts.sync_errors(f"reading {path.name}"):
            found, fault = self._read_whole(path, abstract, expected)
        fault = next(filter(None, hosts.gather(f"read {path.name}", fault)), "")
        if found is None or fault:
            return None, fault
        if not bool(all_finite(found[0]["params"])):
            return None, "parameters that are not finite"
        return found, ""

    def _read_whole(
        self, path: WorkPath, abstract: Tree, expected: Mapping[str, Any]
    ) -> tuple[tuple[Tree, Meta] | None, str]:
        """Returns the same as `_try`, but checks this host only."""
        if not path.exists():
            return None, "missing"
        if not path.is_dir() or not any(path.iterdir()):
            return None, "empty"
        if not (path / COMMIT_MARKER).exists():
            return None, "no commit marker"
        try:
            meta: Meta = self._read(path, meta=ocp.args.JsonRestore())["meta"]
            tree = meta["tree"]
        except Exception as error:
            return None, f"unreadable ({_first_line(error)})"
        _require_same(path, "tree", tree, describe_tree(abstract))
        for name, value in expected.items():
            _require_same(path, name, meta.get(name), value)
        try:
            state = self._read(path, state=ocp.args.StandardRestore(abstract))["state"]
        except Exception as error:
            if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                raise  # out of memory: the checkpoint may be intact
            return None, f"unreadable ({_first_line(error)})"
        if describe_tree(state) != tree:
            return None, "other shapes than recorded"
        if int(state["step"]) != int(path.name) or meta.get("step") != int(path.name):
            return None, "another step than its name"
        return (state, meta), ""

    def _read(self, path: WorkPath, **items: Any) -> Any:
        return self._reader.restore(path, args=ocp.args.Composite(**items))

    def _failed(self, error: Exception) -> RunError:
        step, self._writing = self._writing, None
        done = self.steps()
        last = f"the last complete one is step {done[-1]}" if done else "there is no complete one yet"
        return RunError(
            f"the checkpoint of step {step} could not be written to {self.root}: {_first_line(error)}\n"
            f"{last}. Free some space there; then the same command continues from it"
        )

    def _delete(self, step: int) -> None:
        """Deletes a step's directory such that it never looks complete when it is half deleted."""
        path = self.root / str(step)
        if isinstance(path, Path):
            doomed = path.with_name(f"{step}{_DELETING}")
            path.rename(doomed)
            remove_tree(doomed)
        else:
            (path / COMMIT_MARKER).unlink(missing_ok=True)
            remove_tree(path)

    def _set_unfinished_aside(self) -> None:
        for path in _entries(self.root):
            if path.name.endswith(_DELETING):
                remove_tree(path)
            elif match := _UNFINISHED.fullmatch(path.name):
                self._set_aside(path, int(match[1]), "unfinished")

    def _set_aside(self, path: WorkPath, step: int, fault: str) -> None:
        if not isinstance(path, Path) and fault == "no commit marker":
            # In a bucket Orbax writes to the final name, so this is an interrupted write or deletion.
            remove_tree(path)
            self._log(f"checkpoint {step} was not finished: removed")
            return
        bad = self.root.with_name(f"{self.root.name}.bad")
        bad.mkdir(exist_ok=True)
        reason = re.sub(r"\W+", "-", fault.partition(" (")[0])
        if reason == "unfinished":  # of little use for debugging: keep only the newest
            for former in bad.glob(f"*-{reason}"):
                remove_tree(former)
        target, number = bad / f"{step}-{reason}", 2
        while target.exists():
            target, number = bad / f"{step}-{reason}-{number}", number + 1
        move_tree(path, target)
        self._log(f"checkpoint {step} is bad: {fault}; set aside as {target}")


def describe_tree(tree: Tree) -> dict[str, str]:
    """Returns {path: "float32[2,3]"} for a tree of arrays or ShapeDtypeStructs."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves}


@jax.jit
def all_finite(tree: Tree) -> jax.Array:
    """Returns whether all elements of all inexact arrays are finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]))


def _require_same(path: WorkPath, name: str, stored: Any, wanted: Any) -> None:
    if stored == wanted:
        return
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        keys = [key for key in {**stored, **wanted} if stored.get(key) != wanted.get(key)]
        lines = [f"  {key}: {stored.get(key)} -> {wanted.get(key)}" for key in keys[:5]]
        lines += [f"  and {len(keys) - 5} more"] * (len(keys) > 5)
    else:
        lines = [f"  {stored} -> {wanted}"]
    raise UserError(
        f"checkpoint {path} is intact, but does not match this run ({_LABELS.get(name, name)}):\n"
        + "\n".join(lines)
        + "\n"
        "Use the version and the inputs that it was made with, or give a new --workdir"
    )


def _entries(root: WorkPath) -> Sequence[WorkPath]:
    return list(root.iterdir()) if root.is_dir() else []


def _first_line(error: Exception) -> str:
    # TensorStore appends the array's whole description to the reason.
    text = str(error).strip().split("\n")[0].partition(" [tensorstore_spec=")[0]
    if len(text) > 240:  # Orbax nests messages: the operation comes first, the cause last
        text = f"{text[:80]} ... {text[-150:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
