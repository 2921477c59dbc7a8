"""Ablation of a distillation: the full recipe, without each loss, with random initialization, without a teacher.

    python -m train.ablate [--seeds 3] [--rows whole,no_teacher] --config configs/distilbert_tiny.py [--workdir DIR] \
        [--config.KEY=VALUE ...]

Every row is a run of train.distill for each seed, in its own directory below the work directory, where a table and a
plot are written at the end. After an interruption, the same command resumes.

Source of the rows: Sanh et al., 2019, arXiv:1910.01108, Table 4; those without a teacher are ours.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from train import distill
from train.errors import UserError
from train.machine.files import write_json
from train.options import cli
from train.options.request import Request
from train.options.tables import DISTILL_OPTIONS


def run(request: Request, num_seeds: int, chosen: Sequence[str] = ()) -> int:
    """Runs the rows with every seed, then writes ablations.json, ablations.md and ablations.png.

    Args:
        request: the full recipe.
        num_seeds: runs of each row.
        chosen: the directory names of the rows to run; all rows if empty.

    Returns:
        0, or the exit status of the first run that failed.

    Raises:
        UserError: if there is no such row.
    """
    from train.jobs.ablations import draw, rows, table

    scores: dict[str, list[dict[str, float]]] = {}
    known = {row.directory: row for row in rows(request.values)}
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"--rows: there is no {', '.join(unknown)}; the rows are {', '.join(known)}")
    for row in map(known.__getitem__, chosen or known):
        for seed in range(num_seeds):
            work = request.local_workdir / f"{row.directory}-{request.values['seed'] + seed}"
            changes = {**row.changes, "seed": str(request.values["seed"] + seed), "plot": "false"}
            print(f"\n== {row.name}, seed {seed + 1} of {num_seeds}: {work}", flush=True)
            status = distilled(request, work, changes)
            if status:
                return status
            scores.setdefault(row.name, []).append(final_scores(work))
    lines = table(scores)
    request.local_workdir.mkdir(parents=True, exist_ok=True)
    write_json(request.local_workdir / "ablations.json", scores)
    (request.local_workdir / "ablations.md").write_text("\n".join(lines) + "\n")
    draw(scores, request.local_workdir / "ablations.png")
    print(
        "\n".join(["", *lines, "", f"written to {request.local_workdir}: ablations.md, ablations.json, ablations.png"])
    )
    return 0


def distilled(request: Request, work: Path, changes: dict[str, str]) -> int:
    """Runs a distillation with changed options; returns its exit status."""
    options = [f"--config.{path}={text}" for path, text in (request.overrides | changes).items()]
    argv = ["--config", request.spec, "--workdir", str(work), *options]
    return cli.main("distill", DISTILL_OPTIONS, distill.run, argv)


def final_scores(work: Path) -> dict[str, float]:
    """Returns the held-out metrics of a finished run, with NaN for null."""
    found = json.loads((work / "summary.json").read_text())["evaluation"]
    return {name: math.nan if value is None else value for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line: --seeds, --rows, and the arguments of train.distill."""
    parser = argparse.ArgumentParser(
        prog="ablate", usage="--seeds N --rows NAME,NAME", add_help=False, allow_abbrev=False
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default="")
    given, rest = parser.parse_known_args(argv)
    if given.seeds < 1:
        parser.error(f"--seeds is the number of runs of each row, got {given.seeds}")
    status = 0

    def start(request: Request) -> None:
        nonlocal status
        status = run(request, given.seeds, [name for name in given.rows.split(",") if name])

    return cli.main("ablate", DISTILL_OPTIONS, start, rest, help_config="configs/distilbert_tiny.py") or status


if __name__ == "__main__":
    sys.exit(main())
