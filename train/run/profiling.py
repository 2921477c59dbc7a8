"""Profiling of a window of steps with jax.profiler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax

from train.errors import UserError
from train.machine.paths import WorkPath
from train.run.metrics import Clock
from train.run.workdir import WorkDir

T = TypeVar("T")


def check_window(first_step: int | None, total_steps: int) -> None:
    """Raises UserError if the profile would start after the job's last step."""
    if first_step is not None and first_step > total_steps:
        raise UserError(
            f"profile.first_step={first_step} is past the last step: give at most total_steps={total_steps}"
        )


def make_profiler(work: WorkDir, done: int, clock: Clock, log: Callable[[str], None]) -> "Profiler":
    """Makes the profiler that a run's config asks for; arguments as for Profiler."""
    shown = work.request.workdir / work.profile.name
    return Profiler(**work.request.config.profile, directory=work.profile, shown=shown, done=done, clock=clock, log=log)


class Profiler:
    """Traces a window of a run's steps. Every process traces its own devices, to a file named after its host.

    Args:
      first_step: the first step to trace; None: no trace.
      num_steps: the number of steps to trace.
      directory: the directory of the trace.
      shown: its path for users.
      done: the step the run starts from; only steps after it can be traced.
      clock: counts the time to start and write the trace as "profile".
      log: prints a line.
    """

    def __init__(
        self,
        first_step: int | None,
        num_steps: int,
        directory: Path,
        shown: WorkPath,
        done: int,
        clock: Clock,
        log: Callable[[str], None],
    ) -> None:
        self._directory, self._shown, self._clock, self._log = directory, shown, clock, log
        self._window = range(0)
        self._traced: list[int] = []  # steps of the open trace
        if first_step is not None:
            self._window = range(max(first_step, done + 1), first_step + num_steps)
            if not self._window:
                last = first_step + num_steps - 1
                log(f"no profile: steps {first_step} to {last} were done by an earlier run, which got to step {done}")

    def step(self, number: int, function: Callable[..., T], *arguments: Any) -> T:
        """Calls `function` for a step; inside the window, traces the call and the device work it starts."""
        if number not in self._window:
            return function(*arguments)
        if not self._traced and not self._start():
            return function(*arguments)
        self._traced.append(number)
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            outputs = function(*arguments)
        if number == self._window[-1]:
            jax.block_until_ready(outputs)  # dispatch is asynchronous: the trace would end before this step does
            self.close()
        return outputs

    def close(self) -> None:
        """Writes the open trace, if there is one, and prints its path."""
        if not self._traced:
            return
        first, last, self._traced = self._traced[0], self._traced[-1], []
        with self._clock("profile"):
            try:
                jax.profiler.stop_trace()
            except (RuntimeError, OSError, ValueError) as error:
                self._log(f"the profile of steps {first} to {last} could not be written: {error}")
                return
        self._log(
            f"profile of steps {first} to {last}: {self._shown}. To see it: pip install xprof, then "
            f"xprof --port 8791 {self._shown}; or open its perfetto_trace.json.gz on https://ui.perfetto.dev"
        )

    def _start(self) -> bool:
        with self._clock("profile"):
            try:
                # With several processes on one disk, each would convert the others' traces too.
                one = jax.process_count() == 1
                jax.profiler.start_trace(self._directory, create_perfetto_trace=one, profiler_options=_options())
            except RuntimeError as error:
                self._window = range(0)
                self._log(f"no profile: {error}")
                return False
        return True


def _options() -> jax.profiler.ProfileOptions:
    """Returns profiler options without the tracing of Python calls.

    For that, JAX 0.10 installs a hook in every thread known to Python, and crashes if a C++ thread, such as one that
    writes checkpoints, ends meanwhile.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    return options
