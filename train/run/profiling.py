"""A profile of a few steps: what the host and the devices do in them, to the microsecond."""

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
    """Raises UserError where a profile would begin behind the job's last step."""
    if first_step is not None and first_step > total_steps:
        raise UserError(
            f"profile.first_step={first_step} is past the last step: give at most total_steps={total_steps}"
        )


def profiler_of(work: WorkDir, done: int, clock: Clock, say: Callable[[str], None]) -> "Profiler":
    """The profiler that a run's config asks for; arguments as of Profiler."""
    shown = work.request.workdir / work.profile.name
    return Profiler(**work.request.config.profile, directory=work.profile, shown=shown, done=done, clock=clock, say=say)


class Profiler:
    """Traces a window of a run's steps. Every process traces its own devices, into a file of its host's name.

    Args:
      first_step: the first step to trace; None: none is.
      num_steps: how many.
      directory: where the trace goes.
      shown: where people find it.
      done: the steps that earlier runs did; of a window that they are in, the rest is traced.
      clock: counts what opening and writing the trace take as "profile".
      say: prints a line.
    """

    def __init__(
        self,
        first_step: int | None,
        num_steps: int,
        directory: Path,
        shown: WorkPath,
        done: int,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._directory, self._shown, self._clock, self._say = directory, shown, clock, say
        self._window = range(0)
        self._traced: list[int] = []  # of the trace that is open
        if first_step is not None:
            self._window = range(max(first_step, done + 1), first_step + num_steps)
            if not self._window:
                last = first_step + num_steps - 1
                say(f"no profile: steps {first_step} to {last} were done by an earlier run, which got to step {done}")

    def step(self, number: int, function: Callable[..., T], *arguments: Any) -> T:
        """Takes a step: calls `function`; in the window, traces the call and what the devices do for it."""
        if number not in self._window:
            return function(*arguments)
        if not self._traced and not self._start():
            return function(*arguments)
        self._traced.append(number)
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            outputs = function(*arguments)
        if number == self._window[-1]:
            jax.block_until_ready(outputs)  # the devices work on; a trace that is closed now would miss this step
            self.close()
        return outputs

    def close(self) -> None:
        """Writes the trace that is open, if one is, and says where it is."""
        if not self._traced:
            return
        first, last, self._traced = self._traced[0], self._traced[-1], []
        with self._clock("profile"):
            try:
                jax.profiler.stop_trace()
            except (RuntimeError, OSError, ValueError) as error:
                self._say(f"the profile of steps {first} to {last} could not be written: {error}")
                return
        self._say(
            f"profile of steps {first} to {last}: {self._shown}. To see it: pip install xprof, then "
            f"xprof --port 8791 {self._shown}; or open its perfetto_trace.json.gz on https://ui.perfetto.dev"
        )

    def _start(self) -> bool:
        with self._clock("profile"):
            try:
                # Of several processes on one disk each would take the others' traces for its own.
                one = jax.process_count() == 1
                jax.profiler.start_trace(self._directory, create_perfetto_trace=one, profiler_options=_options())
            except RuntimeError as error:
                self._window = range(0)
                self._say(f"no profile: {error}")
                return False
        return True


def _options() -> jax.profiler.ProfileOptions:
    """Without the calls of Python functions.

    To trace them, JAX 0.10 puts a hook into every thread that Python knows, and crashes where one of C++ ends
    meanwhile, as those do that write checkpoints.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    return options
