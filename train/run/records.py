"""The records of a run: metrics.jsonl, progress lines, and summary.json over all runs of a work directory."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from train.run.job import Job
from train.run.metrics import Clock, LossMean, MetricsWriter, read_metrics
from train.run.pace import Pace, peak_bytes, peak_flops_per_second
from train.run.progress import Progress
from train.run.provenance import provenance
from train.run.tensorboard import TensorBoardWriter
from train.run.workdir import WorkDir


class Summary:
    """Writes summary.json: this run's entry after those of earlier runs.

    Args:
      work: the work directory.
      clock: this run's clock.
      first_step: the step this run starts from.
      lost_steps: steps that an earlier run did after its last checkpoint and that have to be repeated.
      mesh: mesh sizes.
      inputs: fingerprints of the inputs.
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
          step: the step reached.
          measured: measurements to add to this run's entry.
          **more: entries of the job to add at the top level.
        """
        seconds = {phase: round(spent, 3) for phase, spent in self._clock.read().items()}
        run = {**self._run, "to_step": step, "wall_seconds": round(self._clock.total(), 3), "seconds": seconds}
        run |= measured
        runs = [*self._earlier, run]
        head = {"job": self._work.request.job, "config": self._work.request.spec, "status": status, "step": step}
        head["inputs"] = self._inputs
        self._work.write_summary({**head, **more, "totals": totals(runs), "runs": runs})


def totals(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums up runs.

    Returns:
      Seconds in total and by phase, lost steps, and goodput: the share of the total seconds spent in steps. The entry
      of a killed run ends at its last checkpoint, so its lost steps are in neither number.
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


_MUST_BE_FINITE = ("loss", "grad_norm")


class NotFiniteError(ArithmeticError):
    """A step's loss or gradient norm is not finite."""


class RowWriter(Protocol):
    """A destination for rows of metrics."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one row."""

    def sync(self) -> None:
        """Makes the rows written so far durable."""

    def close(self) -> None:
        """Closes the destination."""


class CallbackWriter:
    """Calls functions of the user with each row that metrics.jsonl gets; their exceptions end the run."""

    def __init__(self, callbacks: Sequence[Callable[[dict[str, Any]], object]]) -> None:
        self._callbacks = callbacks

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Calls the functions with {"step": ..., "split": "train" or "eval", "loss": ...}, a new dictionary each."""
        for callback in self._callbacks:
            callback({"step": step, "split": split, **values})

    def sync(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Records:
    """Writes and shows a run's metrics.

    Args:
      work: the work directory.
      clock: the run's clock.
      progress: shows the rows.
      first_step: the step the run starts from; rows after it are dropped.
      job: the job, for tokens, FLOPs and epochs per step and the terms of the loss.
      mesh: the devices.
      loss_sums: of the checkpoint that the run starts from, as `loss_sums`.
      writes: whether this process writes the files; only host 0 does.

    Raises:
      UserError: a package that the config needs is missing.
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
        loss_sums: Mapping[str, Sequence[float]] | None = None,
        writes: bool = True,
    ) -> None:
        self._work, self._progress = work, progress
        self._loss_mean, self._steps_per_epoch = LossMean(job.losses, loss_sums), job.steps_per_epoch
        self._weights = frozenset(f"{name}_weight" for name in job.losses)
        self._pace = Pace(clock, first_step, job.tokens_per_batch, peak_flops_per_second(job.costs, mesh))
        self._writers: list[RowWriter] = []
        self._summary: Summary | None = None
        if not writes:
            return
        metrics = MetricsWriter(work.metrics, first_step)
        self._writers.append(metrics)
        if metrics.torn_lines:
            progress.log(f"{work.address(work.metrics)}: {metrics.torn_lines} incomplete line(s) dropped")
        if metrics.lost_steps:
            progress.log(f"{metrics.lost_steps} steps after the checkpoint were not saved and are repeated")
        if work.request.config.tensorboard:
            folder = work.path / "tensorboard"
            self._writers.append(TensorBoardWriter(folder, first_step))
            progress.log(f"event files: tensorboard --logdir {work.address(folder)}")
        if work.request.callbacks:
            self._writers.append(CallbackWriter(work.request.callbacks))
        self._summary = Summary(work, clock, first_step, metrics.lost_steps, dict(mesh.shape), job.fingerprints)
        self.status("running", first_step)

    @property
    def loss_sums(self) -> dict[str, list[float]]:
        """A copy of the sums of the loss since the last row, for a checkpoint, which is written in the background."""
        return {name: list(pair) for name, pair in self._loss_mean.sums.items()}

    def train_row(self, step: int, metrics: Mapping[str, jax.Array], flops: float | None = None) -> None:
        """Reads a step's metrics from the devices, shows them, and writes a row every log_every_steps.

        Args:
          step: the step.
          metrics: its metrics, which the devices may still be computing.
          flops: the model FLOPs of the step, if known.

        Raises:
          NotFiniteError: the loss or the gradient norm is not finite. The row is written first.
        """
        config = self._work.request.config
        fetched = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._pace.arrived(flops)
        self._loss_mean.add(fetched)
        row = {"loss": fetched["loss"], "loss_mean": self._loss_mean.value()}  # first for readers: JAX sorts the keys
        if self._steps_per_epoch is not None:
            row["epoch"] = step / self._steps_per_epoch
        row |= {name: value for name, value in fetched.items() if name not in self._weights}
        bad = [name for name in _MUST_BE_FINITE if not math.isfinite(row.get(name, 0.0))]
        write = step % config.log_every_steps == 0 or step == config.total_steps or bool(bad)
        if write:
            row |= self._pace.row(step)
            self._write(step, "train", row)
            self._loss_mean.clear()
        self._progress.step(step, row, write)
        if bad:
            raise NotFiniteError(f"{bad[0]} is {row[bad[0]]}")

    def eval_row(self, step: int, row: Mapping[str, float]) -> None:
        """Writes and shows an evaluation on the held-out set."""
        self._write(step, "eval", row)
        self._progress.evaluation(step, row)

    def evaluation(self, step: int) -> dict[str, float]:
        """Returns the held-out metrics written for a step, or {}."""
        rows = [row for row in read_metrics(self._work.metrics) if row["step"] == step and row["split"] == "eval"]
        found = rows[-1].items() if rows else ()
        # null stands for NaN and infinity, which JSON cannot represent.
        return {name: math.nan if value is None else value for name, value in found if name not in ("step", "split")}

    def sync(self) -> None:
        """Writes the rows to disk, or to the bucket, so that no checkpoint is ahead of metrics.jsonl.

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
        """Yields lines about the whole run: step times and peak device memory."""
        if seconds := self._pace.of_run():
            yield "step seconds: " + ", ".join(f"{name} {value:.3g}" for name, value in seconds.items())
        if (peak := peak_bytes()) is not None:
            yield f"peak device memory: {peak / 2**30:.2f} GiB"

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
