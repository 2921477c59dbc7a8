"""Pretraining by masked LM, with sentence order (ALBERT) or next sentence (BERT): from text to a model directory.

    python -m train.pretrain --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]

Worker processes import this module, so its imports are light until `run`.
"""

import sys
from typing import TYPE_CHECKING

from train.options import cli
from train.options.request import Request
from train.options.tables import PRETRAIN_OPTIONS as OPTIONS

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal


def run(request: Request) -> None:
    """Trains a model; raises what `train.run.loop.run` raises."""
    from train.jobs.language_model import inputs
    from train.jobs.pretraining import make_job
    from train.options import runtime
    from train.run import loop

    runtime.settle_runtime(request.values)
    loop.run(request, make_job, inputs)


def rehearsal(request: Request) -> "Rehearsal":
    """Returns how to build the job for --dry_run, on stand-in data."""
    import functools

    from train.jobs.pretraining import make_job
    from train.plan import stand_in
    from train.plan.rehearsal import Rehearsal

    return Rehearsal(functools.partial(make_job, prepare=stand_in.prepare), request)


def plan(request: Request) -> None:
    """Prints what a run would need, for --dry_run."""
    from train.plan.report import print_plan

    print_plan(rehearsal(request), request.target)


if __name__ == "__main__":
    sys.exit(cli.main("pretrain", OPTIONS, run, plan=plan, joins=True))
