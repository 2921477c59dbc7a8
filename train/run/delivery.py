"""The end of a run: model/ with its card, plots and final output; or the error that explains why it stopped."""

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

# The options shown on the model card; config.json in the work directory has all of them.
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
    """Returns the text of the model card (README.md) for a run's model.

    Args:
        request: the run's request.
        task: a task of `flax_lite.pipeline`.
        step: the step of the model.
        evaluation: its held-out metrics.
    """
    values = request.values
    data = values.get("task") or values["data.source"]
    if values.get("task") and values["data.source"] == "builtin":  # generated, not the benchmark itself
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
    """Writes the model and the plots, prints the final lines, and marks the job finished.

    After the model is written, errors in this project's own code no longer fail the run: they would recur at every
    start, and the run would never finish. The affected part is skipped with a message.

    Args:
      job: the job that was trained.
      work: the work directory.
      result: the chosen model.
      total: the steps taken; fewer than total_steps if the job ended early.
      clock: the run's clock.
      records: the run's records.
      progress: prints lines.
    """
    with clock("export"):
        _write_model(job, work, result, progress.log)
        plots: list[Path] = []
        if work.request.config.plot:
            with optional("the plots", progress.log):
                plots = draw_plots(work.path, job.references, work.request.workdir.name)
    more: Mapping[str, Any] = {}
    with optional("the final output", progress.log, raised_errnos=STORAGE_ERRORS):
        progress.log(f"model of step {result.step}: {result.address}")
        if plots:
            progress.log(f"plots: {', '.join(str(work.address(path)) for path in plots)}")
        times = (f"{phase} {seconds:.1f} s" for phase, seconds in clock.read().items())
        progress.log("\n".join((f"time: {', '.join(times)}", *records.describe())))
        more = job.finish(result) or {}
    requested = work.request.config.total_steps
    early = {"ended_early": True, "ended_early_of": requested} if total < requested else {}
    records.status("finished", total, model_step=result.step, evaluation=result.evaluation, **early, **more)


@contextlib.contextmanager
def optional(what: str, log: Callable[[str], None], raised_errnos: Collection[int] = ()) -> Iterator[None]:
    """Turns an error of its body, an optional part of the job, into a printed line.

    Args:
      what: the name of the part, for the line.
      log: prints the line.
      raised_errnos: numbers of system errors that are raised nevertheless.

    Raises:
      JobError: from the body: a signal, or a request that cannot be fulfilled.
      OSError: from the body, with a number in `raised_errnos`.
    """
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in raised_errnos:
            raise
        with contextlib.suppress(Exception):  # the output itself may be what failed
            reason = str(error).strip().partition("\n")[0]
            log(f"{what} skipped: {type(error).__name__}{': ' * bool(reason)}{reason}")


def _write_model(job: Job, work: WorkDir, result: Result, log: Callable[[str], None]) -> None:
    with staged_directory(work.model, replaces=("*",), alone=True) as staged:
        job.export(result.params, staged, result.evaluation)
        if job.task is not None:
            with optional("the model card", log):
                card = run_card(work.request, job.task, result.step, result.evaluation)
                (staged / "README.md").write_text(card, encoding="utf-8")


def stopped(work: WorkDir, reason: str, step: int) -> StopError:
    """Makes the error that ends a job after a signal, once its state is saved."""
    request = work.request
    return StopError(
        f"stopped by {reason}: step {step} of {request.config.total_steps} is saved in {request.workdir}. "
        f"The same command continues:\n  {request.command(extend=False)}"
    )


def not_finite(work: WorkDir, checkpoints: Checkpoints, step: int, what: str) -> RunError:
    """Makes the error that ends a job with a value that is not finite, after waiting for the save in progress."""
    with contextlib.suppress(RunError):
        checkpoints.wait()
    saved = checkpoints.steps()
    last = f"the last good checkpoint is step {saved[-1]}" if saved else "there is no checkpoint yet"
    workdir = work.request.workdir
    error = RunError(
        f"step {step}: {what}; {last} in {workdir}.\nThe same command would fail again. Try a lower "
        "optimizer.learning_rate, more optimizer.warmup_steps or a smaller optimizer.clip_norm, from the first step:\n"
        f"  {work.request.command(workdir=fresh_path(workdir))}\n"
        "or continue with --config.execution.dtype=float32, unless it was used already"
    )
    hosts.raised_everywhere(error)  # every host reads the same value at the same step
    return error
