"""Pretraining: masked words and sentence order (ALBERT) or next sentence (BERT), from text to a model directory.

    python -m train.pretrain --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]

Worker processes import this module anew, so it imports nothing heavy before it runs.
"""

import sys

from train import cli
from train.cli import Request
from train.leaves import PRETRAIN_LEAVES


def run(request: Request) -> None:
    """Trains as requested; raises what `train.loop.run` raises."""
    from train import build, loop
    from train.pretraining import make_job

    build.apply_xla_flags(request.values)
    loop.run(request, make_job)


if __name__ == "__main__":
    sys.exit(cli.main("pretrain", PRETRAIN_LEAVES, run))
