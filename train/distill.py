"""Distillation: a student learns masked words and hidden states from a teacher, from text to a model directory.

    python -m train.distill --config configs/distilbert_tiny.py --config.teacher=SOURCE [--workdir DIR] \
        [--config.KEY=VALUE ...]

Worker processes import this module anew, so it imports nothing heavy before it runs.
"""

import sys

from train import cli
from train.cli import Request
from train.leaves import DISTILL_LEAVES


def run(request: Request) -> None:
    """Distils as requested; raises what `train.loop.run` raises."""
    from train import build, loop
    from train.distilling import make_job

    build.apply_xla_flags(request.values)
    loop.run(request, make_job)


if __name__ == "__main__":
    sys.exit(cli.main("distill", DISTILL_LEAVES, run, help_config="configs/distilbert_tiny.py"))
