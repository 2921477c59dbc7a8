"""What is done between steps, each every so many of them: reading metrics, scoring held-out rows, saving."""

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

# (step, what was found) to the error that ends the run.
NotFinite = Callable[[int, str], RunError]


class Log:
    """Reads each step's metrics one step late: the devices never wait for the host.

    Args:
      records: where they go, as often as log_every_steps says.
      stop: hears in them whether another host was asked to stop.
      step: the step that the run begins from.
      not_finite: the error that ends the run.

    Attributes:
      step: the last step taken.
    """

    def __init__(self, records: Records, stop: Stop, step: int, not_finite: NotFinite) -> None:
        self._records, self._stop, self._not_finite = records, stop, not_finite
        self._flying: tuple[int, Mapping[str, jax.Array], float | None] | None = None
        self.step = step

    def __call__(self, step: int, metrics: Mapping[str, jax.Array], flops: float | None, *, at_once: bool) -> None:
        """Reads the metrics of the step before, and this step's too where something waits for it."""
        self.flush()
        self._flying, self.step = (step, metrics, flops), step
        if at_once:
            self.flush()

    def flush(self) -> None:
        """Reads what has not been read yet.

        Raises:
          RunError: a loss or the norm of a gradient is not finite.
        """
        if self._flying is None:
            return
        (step, metrics, flops), self._flying = self._flying, None
        try:
            self._records.train_row(step, self._stop.heard(metrics), flops)
        except NotFiniteError as error:
            raise self._not_finite(step, str(error)) from error


class Evaluate:
    """Scores the held-out rows every `eval_every_steps`, and at the end.

    Args:
      job: what is scored; where it has no evaluation, nothing is.
      config: the run's.
      programs: with the evaluation step.
      best: notes the results.
      records: where they go.
      stop: ends an evaluation; the continued run sees that its row is missing.
      clock: counts as "eval".
    """

    def __init__(
        self, job: Job, config: Any, programs: Programs, best: Best, records: Records, stop: Stop, clock: Clock
    ) -> None:
        self._job, self._programs, self._best, self._records = job, programs, best, records
        self._stop, self._clock = stop, clock
        self._every, self._last = config.eval_every_steps, config.total_steps

    def is_due(self, step: int) -> bool:
        """Whether a step's parameters are to be scored."""
        return self._job.eval_step is not None and step > 0 and (step % self._every == 0 or step == self._last)

    def __call__(self, step: int, params: Params) -> bool:
        """Scores them; returns whether they are the best so far, to be kept."""
        with self._clock("eval"):
            results: list[Outputs] = []
            for batch in self._job.eval_batches():
                if self._stop.asked:
                    return False
                results.append(self._stop.heard(fetch(self._programs.evaluate(params, batch))))
            row = self._job.summarize(results)
            self._records.eval_row(step, row)
        return self._best.update(step, row)

    def catch_up(self, step: int, params: Params) -> None:
        """Scores the restored step where an interruption left that out; a score that came after the save counts too."""
        if not self.is_due(step):
            return
        row = hosts.broadcast_from_host0("rows", self._records.evaluation(step))
        if row:
            self._best.update(step, row)
        else:
            self(step, params)


class Save:
    """Saves the state every `checkpoint_every_steps`, and at the end; never one that is not finite.

    Args:
      job: says what its checkpoints say of themselves.
      config: the run's.
      programs: with the check of the parameters.
      checkpoints: where the state goes.
      best: goes with it.
      records: no checkpoint is ahead of its rows.
      clock: counts as "checkpoint".
      not_finite: the error that ends the run.
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
        self._begun: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether a step's state is to be saved."""
        return step % self._config.checkpoint_every_steps == 0 or step == self._config.total_steps

    def __call__(self, step: int, state: State) -> None:
        """Begins to save it; the devices work on. The summary names it when it is whole: here, the one before.

        Raises:
          RunError: a parameter is not finite.
        """
        with self._clock("checkpoint"):
            if not self._programs.is_finite(state["params"]):
                raise self._not_finite(step, "the parameters are not finite after it")
            with hosts.sync_errors("syncing the records"):
                self._records.sync()
            meta = {"step": step, "next_row": step * self._config.batch_size, "best": self._best.found}
            meta["model"] = dict(self._job.model)
            self._checkpoints.save(step, state, meta | expected_meta(self._job), self._best.step)
            self._note()
            self._begun = step

    def finish(self, step: int, state: State) -> None:
        """Sees to it that a step, the last one taken, is saved; returns when it is."""
        with self._clock("checkpoint"):
            self._checkpoints.wait()
        if not self._checkpoints.has(step):
            self(step, state)
            self._checkpoints.wait()
        self._note()

    def _note(self) -> None:
        """Notes the step whose save was begun, which is whole by now."""
        if self._begun is not None:
            with hosts.sync_errors("noting the step"):
                self._records.status("running", self._begun)
            self._begun = None
