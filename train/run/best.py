"""Tracks the best evaluation, for keep_best and early stopping."""

import math
from collections.abc import Mapping
from typing import Any

from train.run.job import Job


class Best:
    """The best held-out result of a run.

    Attributes:
      found: its {"step", "metric", "value"}, or None; "skipped" lists later steps whose result was not finite.
      is_kept: whether its checkpoint is kept and delivered at the end.

    Args:
      job: defines the metric and the patience.
      kept: whether the config asks for the best checkpoint.
      found: the best result of earlier runs.
      patient_from: the step from which patience is counted anew: where a run that had ended early was extended.
    """

    def __init__(self, job: Job, kept: bool, found: dict[str, Any] | None, patient_from: int = 0) -> None:
        self._job, self.is_kept, self.found, self._patient_from = job, kept, found, patient_from

    @property
    def step(self) -> int | None:
        """The step of the best evaluation, or None."""
        return self.found["step"] if self.found else None

    def update(self, step: int, row: Mapping[str, float]) -> bool:
        """Records a result; returns whether it is the best so far and should be saved."""
        name, end = self._job.best
        value = row.get(name, math.nan)
        if not self.is_kept:
            return False
        if not math.isfinite(value):
            if self.found is not None:
                self.found = {**self.found, "skipped": sorted({*self.found.get("skipped", ()), step})}
            return False
        sign = 1 if end == "min" else -1
        if self.found is not None and sign * value >= sign * self.found["value"]:
            return False
        self.found = {"step": step, "metric": name, "value": value}
        return True

    def is_too_old(self, step: int, every: int) -> bool:
        """Whether `patience` evaluations, one per `every` steps, have passed since the best."""
        step -= every * len((self.found or {}).get("skipped", ()))  # a result that is not finite counts neither way
        if self._job.patience is None or self.found is None:
            return False
        return step // every - max(self.found["step"], self._patient_from) // every >= self._job.patience

    def ended_early(self, step: int, total: int) -> str:
        """Returns the line that explains why a run ended before its total."""
        best: Any = self.found
        return (
            f"ended at step {step} of {total}: {best['metric']} has not been better than {best['value']:.4g} "
            f"(step {best['step']}) for {self._job.patience} evaluations"
        )
