"""What a run leaves behind for people: metric rows, progress lines, the summary."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from train.metrics import Clock, MetricsWriter, read_metrics
from train.progress import Progress
from train.summary import Summary
from train.workdir import WorkDir

_WATCHED = ("loss", "grad_norm")


class NotFiniteError(ArithmeticError):
    """A step's loss or gradient norm is not a finite number."""


class Records:
    """Writes and shows a run's metrics.

    Args:
      work: the work directory.
      clock: the run's clock.
      progress: where rows are shown.
      first_step: the step the run continues from; rows past it are dropped.
      tokens_per_step: what tokens per second counts.
      mesh: the devices.
    """

    def __init__(
        self, work: WorkDir, clock: Clock, progress: Progress, first_step: int, tokens_per_step: int, mesh: Mesh
    ) -> None:
        self._work, self._clock, self._progress = work, clock, progress
        self._tokens_per_step = tokens_per_step
        self._rated_step, self._rated_seconds = first_step, self._training_seconds()
        self._metrics = MetricsWriter(work.metrics, first_step)
        if self._metrics.torn_lines:
            progress.say(f"{work.metrics}: {self._metrics.torn_lines} torn line(s) dropped")
        if self._metrics.lost_steps:
            progress.say(f"{self._metrics.lost_steps} steps past the checkpoint were not saved and are done again")
        self._summary = Summary(work, clock, first_step, self._metrics.lost_steps, dict(mesh.shape))
        self._summary.write("running", first_step)

    def train_row(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Reads a step's metrics from the devices, shows them, and writes them where log_every_steps says so.

        Raises:
          NotFiniteError: the loss or the gradient norm is not finite. The row is written.
        """
        config = self._work.request.config
        fetched = {name: float(value) for name, value in jax.device_get(metrics).items()}
        row = {"loss": fetched.pop("loss"), **fetched}  # JAX sorts; a reader looks for the loss first
        bad = [name for name in _WATCHED if not math.isfinite(row.get(name, 0.0))]
        write = step % config.log_every_steps == 0 or step == config.total_steps or bool(bad)
        if write:
            row["tokens_per_second"] = self._tokens_per_second(step)
            self._metrics.write(step, "train", row)
        self._progress.step(step, row, write)
        if bad:
            raise NotFiniteError(f"{bad[0]} is {row[bad[0]]}")

    def eval_row(self, step: int, row: Mapping[str, float]) -> None:
        """Writes and shows a held-out result."""
        self._metrics.write(step, "eval", row)
        self._progress.evaluation(step, row)

    def evaluation(self, step: int) -> dict[str, float]:
        """Returns the held-out metrics written for a step, {} where there are none."""
        rows = [row for row in read_metrics(self._work.metrics) if row["step"] == step and row["split"] == "eval"]
        return {name: value for name, value in rows[-1].items() if name not in ("step", "split")} if rows else {}

    def sync(self) -> None:
        """Forces the rows to disk: no checkpoint may be ahead of its rows."""
        self._metrics.sync()

    def status(self, status: str, step: int, **more: Any) -> None:
        """Writes summary.json."""
        self._summary.write(status, step, **more)

    def close(self) -> None:
        """Closes the metrics file."""
        self._metrics.close()

    def _tokens_per_second(self, step: int) -> float:
        """The rate since the last row that had one; evaluation and saving are left out."""
        now = self._training_seconds()
        rate = self._tokens_per_step * (step - self._rated_step) / max(now - self._rated_seconds, 1e-9)
        self._rated_step, self._rated_seconds = step, now
        return rate

    def _training_seconds(self) -> float:
        seconds = self._clock.read()
        return seconds.get("steps", 0.0) + seconds.get("data", 0.0)
