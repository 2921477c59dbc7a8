"""Pretraining: masked words and sentence order (ALBERT) or next sentence (BERT), from text to a model directory.

    python -m train.pretrain --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]

Worker processes import this module anew, so it imports nothing heavy before it runs.
"""

import sys
from typing import TYPE_CHECKING

from train import cli
from train.leaves import PRETRAIN_LEAVES as LEAVES
from train.request import Request

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal


def run(request: Request) -> None:
    """Trains as requested; raises what `train.loop.run` raises."""
    from train import build, loop
    from train.pretraining import make_job

    build.settle_runtime(request.values)
    loop.run(request, make_job)


def rehearsal(request: Request) -> "Rehearsal":
    """How the job is put together for --dry_run."""
    import functools

    from train.plan import stand_in
    from train.plan.rehearsal import Rehearsal
    from train.pretraining import make_job

    return Rehearsal(functools.partial(make_job, prepare=stand_in.prepare), request)


if __name__ == "__main__":
    sys.exit(cli.main("pretrain", LEAVES, run, rehearsal=rehearsal, joins=True))
