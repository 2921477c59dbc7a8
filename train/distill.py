"""Distillation: a student learns the predictions and hidden states of a teacher, from text to a model directory.

    python -m train.distill --config configs/distilbert_tiny.py --config.teacher=SOURCE [--workdir DIR] \
        [--config.KEY=VALUE ...]

Worker processes import this module, so its imports are light until `run`.
"""

import sys
from typing import TYPE_CHECKING

from train.options import cli
from train.options.request import Request
from train.options.tables import DISTILL_OPTIONS as OPTIONS

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal


def run(request: Request) -> None:
    """Trains a student; raises what `train.run.loop.run` raises."""
    from train.jobs.distillation import make_job
    from train.jobs.language_model import inputs
    from train.options import runtime
    from train.run import loop

    runtime.settle_runtime(request.values)
    loop.run(request, make_job, inputs)


def rehearsal(request: Request) -> "Rehearsal":
    """Returns how to build the job for --dry_run, on stand-in data."""
    import functools

    from train.jobs.distillation import make_job
    from train.plan import stand_in
    from train.plan.rehearsal import Rehearsal

    return Rehearsal(functools.partial(make_job, prepare=stand_in.prepare), request)


def plan(request: Request) -> None:
    """Prints what a run would need, for --dry_run."""
    from train.plan.report import print_plan

    print_plan(rehearsal(request), request.target)


if __name__ == "__main__":
    sys.exit(cli.main("distill", OPTIONS, run, help_config="configs/distilbert_tiny.py", plan=plan, joins=True))
