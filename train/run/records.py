"""What a run leaves behind for people: metric rows, progress lines, and summary.json over all runs of a directory."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from train.run.job import Job
from train.run.metrics import Clock, MetricsWriter, read_metrics
from train.run.pace import Pace, peak_bytes, peak_flops_per_second
from train.run.progress import Progress
from train.run.provenance import provenance
from train.run.tensorboard import TensorBoardWriter
from train.run.workdir import WorkDir


class Summary:
    """Keeps this run's entry beside those of the runs before it.

    Args:
      work: the work directory.
      clock: this run's clock.
      first_step: the step it continues from.
      lost_steps: steps an earlier run did behind its last checkpoint, to be done again.
      mesh: mesh sizes.
      inputs: fingerprints of what it reads.
    """

    def __init__(
        self,
        work: WorkDir,
        clock: Clock,
        first_step: int,
        lost_steps: int,
        mesh: dict[str, int],
        inputs: Mapping[str, str],
    ) -> None:
        self._work, self._clock, self._inputs = work, clock, dict(inputs)
        self._earlier = list(work.read_summary().get("runs", []))
        self._run = {**provenance(), "mesh": mesh, "from_step": first_step, "lost_steps": lost_steps}

    def write(self, status: str, step: int, measured: Mapping[str, Any], **more: Any) -> None:
        """Writes the file.

        Args:
          status: "running", "interrupted", "failed" or "finished".
          step: the step that was reached.
          measured: of this run, added to its entry.
          **more: of the job, added at the top.
        """
        seconds = {phase: round(spent, 3) for phase, spent in self._clock.read().items()}
        run = {**self._run, "to_step": step, "wall_seconds": round(self._clock.total(), 3), "seconds": seconds}
        run |= measured
        runs = [*self._earlier, run]
        head = {"job": self._work.request.job, "config": self._work.request.spec, "status": status, "step": step}
        head["inputs"] = self._inputs
        self._work.write_summary({**head, **more, "totals": totals(runs), "runs": runs})


def totals(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums runs up.

    Returns:
      Seconds in all and by phase, steps that were lost and done again, and goodput: the share of all seconds that went
      into steps. A killed run is known up to its last checkpoint, so the steps it lost count neither way.
    """
    phases = dict.fromkeys(phase for run in runs for phase in run["seconds"])
    seconds = {phase: round(sum(run["seconds"].get(phase, 0.0) for run in runs), 3) for phase in phases}
    wall = sum(run["wall_seconds"] for run in runs)
    return {
        "wall_seconds": round(wall, 3),
        "seconds": seconds,
        "lost_steps": sum(run["lost_steps"] for run in runs),
        "goodput": round(seconds.get("steps", 0.0) / wall, 4) if wall else 0.0,
    }


_WATCHED = ("loss", "grad_norm")


class NotFiniteError(ArithmeticError):
    """A step's loss or gradient norm is not a finite number."""


class RowWriter(Protocol):
    """Where rows of metrics go."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one row."""

    def sync(self) -> None:
        """Lets no row that was written get lost."""

    def close(self) -> None:
        """Ends the series."""


class Records:
    """Writes and shows a run's metrics.

    Args:
      work: the work directory.
      clock: the run's clock.
      progress: where rows are shown.
      first_step: the step the run continues from; rows past it are dropped.
      job: what is trained: tokens and operations of a step.
      mesh: the devices.
      writes: whether this process keeps the files: one of several does.

    Raises:
      UserError: a package that the config asks for is missing.
    """

    def __init__(
        self,
        work: WorkDir,
        clock: Clock,
        progress: Progress,
        first_step: int,
        job: Job,
        mesh: Mesh,
        *,
        writes: bool = True,
    ) -> None:
        self._work, self._progress = work, progress
        self._pace = Pace(clock, first_step, job.tokens_per_batch, peak_flops_per_second(job.costs, mesh))
        self._writers: list[RowWriter] = []
        self._summary: Summary | None = None
        if not writes:
            return
        metrics = MetricsWriter(work.metrics, first_step)
        self._writers.append(metrics)
        if metrics.torn_lines:
            progress.say(f"{work.address(work.metrics)}: {metrics.torn_lines} torn line(s) dropped")
        if metrics.lost_steps:
            progress.say(f"{metrics.lost_steps} steps past the checkpoint were not saved and are done again")
        if work.request.config.tensorboard:
            folder = work.path / "tensorboard"
            self._writers.append(TensorBoardWriter(folder, first_step))
            progress.say(f"event files: tensorboard --logdir {work.address(folder)}")
        self._summary = Summary(work, clock, first_step, metrics.lost_steps, dict(mesh.shape), job.identity)
        self.status("running", first_step)

    def train_row(self, step: int, metrics: Mapping[str, jax.Array], flops: float | None = None) -> None:
        """Reads a step's metrics from the devices, shows them, and writes them where log_every_steps says so.

        Args:
          step: the step.
          metrics: its metrics, which the devices may still work on.
          flops: the model's operations in it, where they are known.

        Raises:
          NotFiniteError: the loss or the gradient norm is not finite. The row is written.
        """
        config = self._work.request.config
        fetched = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._pace.arrived(flops)
        row = {"loss": fetched.pop("loss"), **fetched}  # JAX sorts; a reader looks for the loss first
        bad = [name for name in _WATCHED if not math.isfinite(row.get(name, 0.0))]
        write = step % config.log_every_steps == 0 or step == config.total_steps or bool(bad)
        if write:
            row |= self._pace.row(step)
            self._write(step, "train", row)
        self._progress.step(step, row, write)
        if bad:
            raise NotFiniteError(f"{bad[0]} is {row[bad[0]]}")

    def eval_row(self, step: int, row: Mapping[str, float]) -> None:
        """Writes and shows a held-out result."""
        self._write(step, "eval", row)
        self._progress.evaluation(step, row)

    def evaluation(self, step: int) -> dict[str, float]:
        """Returns the held-out metrics written for a step, {} where there are none."""
        rows = [row for row in read_metrics(self._work.metrics) if row["step"] == step and row["split"] == "eval"]
        found = rows[-1].items() if rows else ()
        # JSON has null for what is no number.
        return {name: math.nan if value is None else value for name, value in found if name not in ("step", "split")}

    def sync(self) -> None:
        """Forces the rows to disk, or to the bucket: no checkpoint may be ahead of its rows.

        Raises:
          RunError: as `WorkDir.publish`.
        """
        for writer in self._writers:
            writer.sync()
        self._work.publish()

    def status(self, status: str, step: int, **more: Any) -> None:
        """Writes summary.json."""
        if self._summary is not None:
            self._summary.write(status, step, _measured(self._pace), **more)

    def describe(self) -> Iterator[str]:
        """Lines about the whole run: how long its steps took, and what the fullest device held."""
        if seconds := self._pace.of_run():
            yield "seconds of a step: " + ", ".join(f"{name} {value:.3g}" for name, value in seconds.items())
        if (peak := peak_bytes()) is not None:
            yield f"device memory: {peak / 2**30:.2f} GiB at most"

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers:
            writer.close()

    def _write(self, step: int, split: str, row: Mapping[str, float]) -> None:
        for writer in self._writers:
            writer.write(step, split, row)


def _measured(pace: Pace) -> dict[str, Any]:
    measured = {"step_seconds": pace.of_run(), "device_memory_peak_bytes": peak_bytes()}
    return {name: value for name, value in measured.items() if value}
