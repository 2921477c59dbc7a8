"""Throughput of the training steps: tokens, step times, data wait, model FLOPs; and peak device memory."""

from array import array
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from flax_lite.models.flops import Costs
from train.machine.chips import CHIPS, kind_of
from train.run.metrics import Clock

# Columns of metrics.jsonl that depend on timing and so differ between identical runs.
COLUMNS = (
    "tokens_per_second",
    "step_seconds_p50",
    "step_seconds_p90",
    "data_wait_fraction",
    "model_flops_per_second",
    "mfu",
)
# Phases in which the host does not notice that the devices finish a step. The interval that contains one is too long,
# and the next may be only the rest of a step, so neither is counted as a step time.
_DISTURBING = ("compile", "profile")


def peak_flops_per_second(costs: Costs | None, mesh: Mesh) -> float | None:
    """Returns the peak FLOP/s of a mesh's devices in the model's compute dtype; None if unknown."""
    chip = CHIPS.get(kind_of(mesh.devices.flat[0].device_kind))
    peak = None if costs is None or chip is None else chip.peak_flops_per_second(costs.execution.compute_dtype.name)
    return None if peak is None else peak * mesh.size


class Pace:
    """Times the steps of a run.

    A step's time is the interval between the arrival of its metrics and those of the previous step, because metrics
    arrive when the devices have finished, whereas dispatch is asynchronous. Evaluation, saving and compiling are
    excluded.

    Args:
      clock: the run's clock.
      first_step: the step the run starts from.
      tokens_per_step: tokens in a batch.
      peak_flops_per_second: of all devices; None if unknown.
    """

    def __init__(
        self, clock: Clock, first_step: int, tokens_per_step: int, peak_flops_per_second: float | None
    ) -> None:
        self._clock, self._tokens_per_step, self._peak = clock, tokens_per_step, peak_flops_per_second
        # Eight bytes per step: 8 MB for a million steps.
        self._run_seconds, self._undisturbed = array("d"), True
        self._seconds = clock.read()
        self._begin(first_step)

    def arrived(self, flops: float | None) -> None:
        """Records that a step's metrics have arrived; `flops`: its model FLOPs, if known."""
        before, seconds = self._seconds, self._clock.read()
        self._seconds = seconds
        undisturbed = all(seconds.get(phase) == before.get(phase) for phase in _DISTURBING)
        if undisturbed and self._undisturbed:
            for durations in (self._row_seconds, self._run_seconds):
                durations.append(_training(seconds) - _training(before))
        self._undisturbed = undisturbed
        self._flops += flops or 0.0

    def row(self, step: int) -> dict[str, float]:
        """Returns the timing columns of a row of metrics, for the steps since the previous row.

        Returns:
          `tokens_per_second`; `step_seconds_p50` and `step_seconds_p90`, unless every step was disturbed;
          `data_wait_fraction`, the share of the time in which the loop waited for batches (an upper bound of the
          devices' wait, since they still have a step to run); `model_flops_per_second` and `mfu`, if known.
        """
        seconds = max(_training(self._seconds) - _training(self._at_row), 1e-9)
        waited = self._seconds.get("data", 0.0) - self._at_row.get("data", 0.0)
        row = {"tokens_per_second": self._tokens_per_step * (step - self._row_step) / seconds}
        if self._row_seconds:
            row |= _percentiles("step_seconds_p", self._row_seconds, (50, 90))
        row["data_wait_fraction"] = waited / seconds
        if self._flops:
            row["model_flops_per_second"] = self._flops / seconds
            if self._peak is not None:
                row["mfu"] = row["model_flops_per_second"] / self._peak
        self._begin(step)
        return row

    def of_run(self) -> dict[str, float]:
        """Returns the step times of the run in seconds: "p50", "p90", "p99", "max"; {} if no step was timed."""
        if not self._run_seconds:
            return {}
        return _percentiles("p", self._run_seconds, (50, 90, 99)) | {"max": max(self._run_seconds)}

    def _begin(self, step: int) -> None:
        self._row_step, self._at_row = step, self._seconds
        self._row_seconds, self._flops = array("d"), 0.0


def _percentiles(prefix: str, seconds: array, percents: tuple[int, ...]) -> dict[str, float]:
    values = np.percentile(seconds, percents, method="inverted_cdf")  # measured times, not interpolated ones
    return {f"{prefix}{percent}": float(value) for percent, value in zip(percents, values, strict=True)}


def _training(seconds: dict[str, float]) -> float:
    return seconds.get("steps", 0.0) + seconds.get("data", 0.0)


def peak_bytes(devices: Iterable[Any] | None = None) -> int | None:
    """Returns the peak memory of the fullest device since the process started; None if no device reports it.

    Args:
      devices: the devices to ask; None: this process's local ones. CPUs report nothing.
    """
    chosen = jax.local_devices() if devices is None else devices
    counts = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in chosen]
    return max((count for count in counts if count is not None), default=None)
