"""How a run ends: model/ with its card, the plots and the last lines it prints, or why it cannot go on."""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sources.hub import parse_hub_id
from flax_lite.exporting.model_card import Score, model_card
from flax_lite.files.staging import staged_directory
from train.errors import STORAGE_ERRORS, JobError, RunError, StopError
from train.machine import hosts
from train.machine.paths import fresh_path
from train.options.request import Request
from train.run.checkpoints import Checkpoints
from train.run.job import Job, Result
from train.run.metrics import Clock
from train.run.plots import draw_plots
from train.run.progress import Progress
from train.run.records import Records
from train.run.workdir import WorkDir

# What a reader asks first; the rest is in the work directory's config.json.
_SETTINGS = (
    "task",
    "teacher",
    "total_steps",
    "batch_size",
    "seed",
    "data.source",
    "data.sequence_length",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
)


def run_card(request: Request, task: str, step: int, evaluation: Mapping[str, float]) -> str:
    """README.md of the model that a run made.

    Args:
        request: what the run was asked for.
        task: a task of `flax_lite.pipeline`.
        step: the step that the model is of.
        evaluation: its held-out metrics.
    """
    values = request.values
    data = values.get("task") or values["data.source"]
    if values.get("task") and values["data.source"] == "builtin":  # what stands in for a benchmark is not the benchmark
        data = f"built-in data for {data}"
    bases = [values[name] for name in ("init_from", "teacher") if values.get(name)]
    base = next((source for source in bases if parse_hub_id(source) and not Path(source).exists()), None)
    return model_card(
        request.workdir.name,
        task=task,
        description=f"Made by train.{request.job} of flax_lite; step {step} of {values['total_steps']}.",
        base_model=base,
        scores=[
            Score(metric=n, value=v, dataset=str(data), split="held out")
            for n, v in evaluation.items()
            if math.isfinite(v)
        ],
        settings={name: values[name] for name in _SETTINGS if values.get(name) is not None},
        command=request.command(extend=False),
    )


def deliver(
    job: Job, work: WorkDir, result: Result, total: int, clock: Clock, records: Records, progress: Progress
) -> None:
    """Writes the result and the plots, prints the end, and marks the job finished.

    Once the model is written, nothing of the project's own fails the run any more: it would fail again at every start,
    and the run would never end. What cannot be had is said and left out.

    Args:
      job: what was trained.
      work: where everything goes.
      result: the model that was chosen.
      total: steps taken; fewer than asked for where the job ended early.
      clock: of the phases.
      records: of the run.
      progress: what prints.
    """
    with clock("export"):
        _write_model(job, work, result, progress.say)
        plots: list[Path] = []
        if work.request.config.plot:
            with optional("the plots", progress.say):
                plots = draw_plots(work.path, job.references, work.request.workdir.name)
    more: Mapping[str, Any] = {}
    with optional("the end of what is printed", progress.say, but=STORAGE_ERRORS):
        progress.say(f"model of step {result.step}: {result.address}")
        if plots:
            progress.say(f"plots: {', '.join(str(work.address(path)) for path in plots)}")
        times = (f"{phase} {seconds:.1f} s" for phase, seconds in clock.read().items())
        progress.say("\n".join((f"time: {', '.join(times)}", *records.describe())))
        more = job.finish(result) or {}
    wanted = work.request.config.total_steps
    early = {"ended_early": True, "ended_early_of": wanted} if total < wanted else {}
    records.status("finished", total, model_step=result.step, evaluation=result.evaluation, **early, **more)


@contextlib.contextmanager
def optional(what: str, say: Callable[[str], None], but: Collection[int] = ()) -> Iterator[None]:
    """Lets an error of what is nice to have be a line, with which the body ends.

    Args:
      what: of the body, for the line.
      say: takes it.
      but: numbers of system errors that are raised nevertheless.

    Raises:
      JobError: as the body: a signal, or what the user asked for and cannot have.
      OSError: as the body, with a number in `but`.
    """
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in but:
            raise
        with contextlib.suppress(Exception):  # the output itself may be what failed
            reason = str(error).strip().partition("\n")[0]
            say(f"{what} left out: {type(error).__name__}{': ' * bool(reason)}{reason}")


def _write_model(job: Job, work: WorkDir, result: Result, say: Callable[[str], None]) -> None:
    with staged_directory(work.model, replaces=("*",), alone=True) as staged:
        job.export(result.params, staged, result.evaluation)
        if job.task is not None:
            with optional("the model's card", say):
                card = run_card(work.request, job.task, result.step, result.evaluation)
                (staged / "README.md").write_text(card, encoding="utf-8")


def stopped(work: WorkDir, reason: str, step: int) -> StopError:
    """The end of a job that a signal stopped and that is saved."""
    request = work.request
    return StopError(
        f"stopped by {reason}: step {step} of {request.config.total_steps} is saved in {request.workdir}. "
        f"The same command continues:\n  {request.command(extend=False)}"
    )


def not_finite(work: WorkDir, checkpoints: Checkpoints, step: int, what: str) -> RunError:
    """The end of a job whose numbers no longer are; waits for the save in progress, to name the last good one."""
    with contextlib.suppress(RunError):
        checkpoints.wait()
    saved = checkpoints.steps()
    last = f"the last good checkpoint is step {saved[-1]}" if saved else "there is no checkpoint yet"
    workdir = work.request.workdir
    error = RunError(
        f"step {step}: {what}; {last} in {workdir}.\nThe same command would meet it again. Try a lower "
        "optimizer.learning_rate, more optimizer.warmup_steps or a smaller optimizer.clip_norm, from the start:\n"
        f"  {work.request.command(workdir=fresh_path(workdir))}\n"
        "or go on with --config.execution.dtype=float32, if that is not what it was"
    )
    hosts.everywhere(error)  # all read the same number at the same step
    return error
