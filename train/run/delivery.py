"""What a job leaves when its steps are done: model/, the plots, and the last lines it prints."""

from pathlib import Path

from train.machine.whole_writes import staged_directory
from train.run.cards import run_card
from train.run.job import Job, Result
from train.run.metrics import Clock
from train.run.plots import draw_plots
from train.run.progress import Progress
from train.run.records import Records
from train.run.workdir import WorkDir


def deliver(
    job: Job, work: WorkDir, result: Result, total: int, clock: Clock, records: Records, progress: Progress
) -> None:
    """Writes the result and the plots, prints the end, and marks the job finished.

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
        _write_model(job, work, result)
        plots = draw_plots(work.path, job.references, work.request.workdir.name) if work.request.config.plot else []
    progress.say(f"model of step {result.step}: {result.address}")
    if plots:
        progress.say(f"plots: {', '.join(str(work.address(path)) for path in plots)}")
    times = (f"{phase} {seconds:.1f} s" for phase, seconds in clock.read().items())
    progress.say("\n".join((f"time: {', '.join(times)}", *records.describe())))
    more = job.finish(result) or {}
    early = {"ended_early": True} if total < work.request.config.total_steps else {}
    records.status("finished", total, model_step=result.step, evaluation=result.evaluation, **early, **more)


def _write_model(job: Job, work: WorkDir, result: Result) -> None:
    staged: Path
    with staged_directory(work.model) as staged:
        job.export(result.params, staged, result.evaluation)
        if job.task is not None:
            card = run_card(work.request, job.task, result.step, result.evaluation)
            (staged / "README.md").write_text(card, encoding="utf-8")
