"""Hooks that run between steps: logging metrics, evaluating the held-out set, saving checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from train.errors import RunError
from train.machine import hosts
from train.machine.mesh import fetch
from train.machine.stopping import Stop
from train.run.best import Best
from train.run.checkpoints import Checkpoints
from train.run.job import Job, Outputs, Params, State
from train.run.metrics import Clock
from train.run.programs import Programs
from train.run.records import NotFiniteError, Records
from train.run.start import expected_meta

# (step, description) -> the error that ends the run.
NotFinite = Callable[[int, str], RunError]


class Log:
    """Logs each step's metrics one step late, so that the devices never wait for the host.

    Args:
      records: writes the metrics, every log_every_steps.
      stop: reads the stop flag from the metrics.
      step: the step that the run starts from.
      not_finite: makes the error that ends the run.

    Attributes:
      step: the last step taken.
    """

    def __init__(self, records: Records, stop: Stop, step: int, not_finite: NotFinite) -> None:
        self._records, self._stop, self._not_finite = records, stop, not_finite
        self._pending: tuple[int, Mapping[str, jax.Array], float | None] | None = None
        self.step = step

    def __call__(self, step: int, metrics: Mapping[str, jax.Array], flops: float | None, *, at_once: bool) -> None:
        """Logs the previous step's metrics, and with `at_once` this step's too."""
        self.flush()
        self._pending, self.step = (step, metrics, flops), step
        if at_once:
            self.flush()

    def flush(self) -> None:
        """Waits for the pending metrics, if any, and logs them.

        Raises:
          RunError: a loss or a gradient norm is not finite.
        """
        if self._pending is None:
            return
        (step, metrics, flops), self._pending = self._pending, None
        try:
            self._records.train_row(step, self._stop.read_flag(metrics), flops)
        except NotFiniteError as error:
            raise self._not_finite(step, str(error)) from error


class Evaluate:
    """Evaluates the held-out set every `eval_every_steps` and at the end, if the job has an evaluation.

    Args:
      job: the job to evaluate.
      config: the run's config.
      programs: the compiled steps.
      best: tracks the best result.
      records: writes the results.
      stop: interrupts an evaluation; the resumed run makes up for the missing row.
      clock: counts the time as "eval".
    """

    def __init__(
        self, job: Job, config: Any, programs: Programs, best: Best, records: Records, stop: Stop, clock: Clock
    ) -> None:
        self._job, self._programs, self._best, self._records = job, programs, best, records
        self._stop, self._clock = stop, clock
        self._every, self._last = config.eval_every_steps, config.total_steps

    def is_due(self, step: int) -> bool:
        """Whether to evaluate after this step."""
        return self._job.eval_step is not None and step > 0 and (step % self._every == 0 or step == self._last)

    def __call__(self, step: int, params: Params) -> bool:
        """Evaluates the parameters; returns whether they are the best so far and should be saved."""
        with self._clock("eval"):
            results: list[Outputs] = []
            for batch in self._job.eval_batches():
                if self._stop.requested:
                    return False
                results.append(self._stop.read_flag(fetch(self._programs.evaluate(params, batch))))
            row = self._job.summarize(results)
            self._records.eval_row(step, row)
        return self._best.update(step, row)

    def catch_up(self, step: int, params: Params) -> None:
        """Evaluates the restored step if an interruption prevented that; else reads the result from its row."""
        if not self.is_due(step):
            return
        row = hosts.broadcast_from_host0("evaluation", self._records.evaluation(step))
        if row:
            self._best.update(step, row)
        else:
            self(step, params)


class Save:
    """Saves the state every `checkpoint_every_steps` and at the end, if all parameters are finite.

    Args:
      job: the job; its model and fingerprints are saved with the state.
      config: the run's config.
      programs: the compiled check of the parameters.
      checkpoints: writes the state.
      best: the best result, saved with the state.
      records: synced first, so that no checkpoint is ahead of metrics.jsonl.
      clock: counts the time as "checkpoint".
      not_finite: makes the error that ends the run.
    """

    def __init__(
        self,
        job: Job,
        config: Any,
        programs: Programs,
        checkpoints: Checkpoints,
        best: Best,
        records: Records,
        clock: Clock,
        not_finite: NotFinite,
    ) -> None:
        self._job, self._config, self._programs, self._checkpoints = job, config, programs, checkpoints
        self._best, self._records, self._clock, self._not_finite = best, records, clock, not_finite
        self._saving: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether to save after this step."""
        return step % self._config.checkpoint_every_steps == 0 or step == self._config.total_steps

    def __call__(self, step: int, state: State) -> None:
        """Starts saving the state in the background, and records the previous save, which is complete now.

        Raises:
          RunError: a parameter is not finite.
        """
        with self._clock("checkpoint"):
            if not self._programs.is_finite(state["params"]):
                raise self._not_finite(step, "the parameters are not finite after it")
            with hosts.sync_errors("syncing the records"):
                self._records.sync()
            meta = {"step": step, "next_row": step * self._config.batch_size, "best": self._best.found}
            meta |= {"model": dict(self._job.model), "loss_sums": self._records.loss_sums}
            self._checkpoints.save(step, state, meta | expected_meta(self._job), self._best.step)
            self._record_saved()
            self._saving = step

    def finish(self, step: int, state: State) -> None:
        """Saves the last step taken unless it is saved already, and waits for the write to complete."""
        with self._clock("checkpoint"):
            self._checkpoints.wait()
        if not self._checkpoints.has(step):
            self(step, state)
            self._checkpoints.wait()
        self._record_saved()

    def _record_saved(self) -> None:
        """Writes the step of the completed save to summary.json."""
        if self._saving is not None:
            with hosts.sync_errors("recording the saved step"):
                self._records.status("running", self._saving)
            self._saving = None
