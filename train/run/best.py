"""Which evaluation was the best, and whether there was none for too long."""

import math
from collections.abc import Mapping
from typing import Any

from train.run.job import Job


class Best:
    """The best held-out result of a run.

    Attributes:
      found: {"step", "metric", "value"} of it, or None; as "skipped" also the steps since whose result is no number.
      is_kept: whether its checkpoint is kept, and delivered at the end.

    Args:
      job: says which metric counts, and how long to be patient.
      kept: whether the config asks for the best checkpoint.
      found: what earlier runs found.
      patient_from: the step at which patience begins anew: a run that had ended early was extended there.
    """

    def __init__(self, job: Job, kept: bool, found: dict[str, Any] | None, patient_from: int = 0) -> None:
        self._job, self.is_kept, self.found, self._patient_from = job, kept, found, patient_from

    @property
    def step(self) -> int | None:
        """Its step, None where there is none."""
        return self.found["step"] if self.found else None

    def update(self, step: int, row: Mapping[str, float]) -> bool:
        """Notes a result; returns whether it is the best one, to be kept."""
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
        """Whether as many evaluations as the job has patience for, one each `every` steps, have passed since it."""
        step -= every * len((self.found or {}).get("skipped", ()))  # what is no number is not worse either
        if self._job.patience is None or self.found is None:
            return False
        return step // every - max(self.found["step"], self._patient_from) // every >= self._job.patience

    def ended_early(self, step: int, total: int) -> str:
        """A line for a person: why a run ended at a step before its total."""
        best: Any = self.found
        return (
            f"ended at step {step} of {total}: {best['metric']} has not been better than {best['value']:.4g} "
            f"(step {best['step']}) for {self._job.patience} evaluations"
        )
