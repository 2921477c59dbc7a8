"""What a job says when it cannot go on, or was told not to."""

import contextlib

from train.errors import RunError, StopError
from train.machine.paths import fresh_path
from train.run.checkpoints import Checkpoints
from train.run.workdir import WorkDir


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
    return RunError(
        f"step {step}: {what}; {last} in {workdir}.\nThe same command would meet it again. Try a lower "
        "optimizer.learning_rate, more optimizer.warmup_steps or a smaller optimizer.clip_norm, from the start:\n"
        f"  {work.request.command(workdir=fresh_path(workdir))}\n"
        "or go on with --config.execution.dtype=float32, if that is not what it was"
    )
