"""Labeled tasks made of the built-in corpus; see `builtin_task`."""

from train.tasks.builtin.table import BUILTIN_TASKS, builtin_task

__all__ = ["BUILTIN_TASKS", "builtin_task"]
