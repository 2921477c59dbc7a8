"""How fast the training steps go (tokens, time for each, the wait for data), and what the devices do and hold then."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import jax
from jax.sharding import Mesh

from flax_lite.models.flops import Costs
from train.machine.chips import CHIPS, kind_of
from train.run.metrics import Clock

# Buckets grow by 1%, so that a percentile is within half of that. From a microsecond to a day there are some 2500.
_GROWTH = math.log(1.01)


_SHORTEST_SECONDS = 1e-6


class Durations:
    """Counts durations in buckets of equal ratio.

    Attributes:
      longest: seconds of the longest one, exactly.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Counts one more."""
        bucket = math.floor(math.log(max(seconds, _SHORTEST_SECONDS)) / _GROWTH)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.longest = max(self.longest, seconds)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def percentile(self, percent: float) -> float:
        """Seconds that `percent` of the durations do not exceed (nearest rank), to half a percent.

        Raises:
          ValueError: there are none.
        """
        if not self._counts:
            raise ValueError("no duration was counted")
        rank = max(math.ceil(percent / 100 * len(self)), 1)
        buckets = sorted(self._counts)
        ranks = itertools.accumulate(self._counts[bucket] for bucket in buckets)
        found = next(bucket for bucket, last in zip(buckets, ranks, strict=True) if last >= rank)
        return min(math.exp((found + 0.5) * _GROWTH), self.longest)


# The names of the columns, which no two runs share.
COLUMNS = (
    "tokens_per_second",
    "step_seconds_p50",
    "step_seconds_p90",
    "data_wait_fraction",
    "model_flops_per_second",
    "mfu",
)
# Devices finish a step unseen while the host does one of these: neither the interval in which it does nor the one that
# follows, which may be what is left of a step, is a step's time.
_DISTURBING = ("compile", "profile")


def peak_flops_per_second(costs: Costs | None, mesh: Mesh) -> float | None:
    """What the devices of a mesh could do in the dtype that the model is computed in; None where it is not known."""
    chip = CHIPS.get(kind_of(mesh.devices.flat[0].device_kind))
    peak = None if costs is None or chip is None else chip.peak_flops_per_second(costs.execution.compute_dtype.name)
    return None if peak is None else peak * mesh.size


class Pace:
    """Times the steps of a run.

    The time of a step is that between its metrics' arrival and those of the step before, as metrics arrive when the
    devices have finished: dispatching says nothing. Evaluation, saving and compiling are left out.

    Args:
      clock: the run's clock.
      first_step: the step the run continues from.
      tokens_per_step: what tokens per second counts.
      peak_flops_per_second: of all devices; None where it is not known.
    """

    def __init__(
        self, clock: Clock, first_step: int, tokens_per_step: int, peak_flops_per_second: float | None
    ) -> None:
        self._clock, self._tokens_per_step, self._peak = clock, tokens_per_step, peak_flops_per_second
        self._of_run, self._calm = Durations(), True
        self._seconds = clock.read()
        self._begin(first_step)

    def arrived(self, flops: float | None) -> None:
        """Notes that a step's metrics have arrived; `flops`: its model FLOPs, where they are known."""
        before, seconds = self._seconds, self._clock.read()
        self._seconds = seconds
        calm, self._calm = self._calm, all(seconds.get(phase) == before.get(phase) for phase in _DISTURBING)
        if calm and self._calm:
            for durations in (self._of_row, self._of_run):
                durations.add(_training(seconds) - _training(before))
        self._flops += flops or 0.0

    def row(self, step: int) -> dict[str, float]:
        """The columns of a row of metrics: rates since the last one.

        Returns:
          `tokens_per_second`; `step_seconds_p50` and `step_seconds_p90`, unless all were disturbed;
          `data_wait_fraction`, the share of the time in which the loop waited for batches (what the devices wait is at
          most that, as they still have a step to do); `model_flops_per_second` and `mfu` where they are known.
        """
        seconds = max(_training(self._seconds) - _training(self._at_row), 1e-9)
        waited = self._seconds.get("data", 0.0) - self._at_row.get("data", 0.0)
        row = {"tokens_per_second": self._tokens_per_step * (step - self._row_step) / seconds}
        if len(self._of_row):
            row |= {f"step_seconds_p{percent}": self._of_row.percentile(percent) for percent in (50, 90)}
        row["data_wait_fraction"] = waited / seconds
        if self._flops:
            row["model_flops_per_second"] = self._flops / seconds
            if self._peak is not None:
                row["mfu"] = row["model_flops_per_second"] / self._peak
        self._begin(step)
        return row

    def of_run(self) -> dict[str, float]:
        """Seconds of a step over the run: "p50", "p90", "p99" (to half a percent), "max"; {} where none was timed."""
        if not len(self._of_run):
            return {}
        percentiles = {f"p{percent}": self._of_run.percentile(percent) for percent in (50, 90, 99)}
        return percentiles | {"max": self._of_run.longest}

    def _begin(self, step: int) -> None:
        self._row_step, self._at_row = step, self._seconds
        self._of_row, self._flops = Durations(), 0.0


def _training(seconds: dict[str, float]) -> float:
    return seconds.get("steps", 0.0) + seconds.get("data", 0.0)


def peak_bytes(devices: Iterable[Any] | None = None) -> int | None:
    """The most bytes that one of these devices has held since the process began; None where none of them counts.

    Args:
      devices: this process's own if None. CPUs keep no such count.
    """
    chosen = jax.local_devices() if devices is None else devices
    counts = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in chosen]
    return max((count for count in counts if count is not None), default=None)
