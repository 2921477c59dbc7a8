"""Runs an experiment with several seeds, and reports the mean and range of each metric."""

import contextlib
import dataclasses
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from train.machine import hosts
from train.machine.files import write_json
from train.machine.lock import open_directory
from train.options import schema
from train.options.request import Request

# The files of such a run's work directory.
_FILE_NAME = re.compile(r"lock|\.?results\.(json|md)(\.\w+)?|seed-\d+")
_COLLAPSED = "no better than guessing"


def run_seeds(request: Request, run: Callable[[Request], None], headline: str) -> None:
    """Runs a request with each of its seeds, and writes results.json and results.md into its work directory.

    Complete runs are skipped, so that the same command resumes after an interruption.

    Args:
        request: a request with `seeds` above 1; each seed gets a subdirectory of its work directory.
        run: runs a request of one seed.
        headline: the metric that comes first.

    Raises:
        UserError: if the work directory is in use or has other contents.
    """
    with contextlib.ExitStack() as stack:
        with hosts.sync_errors("opening the directory of all seeds"):
            if hosts.is_first():
                stack.enter_context(open_directory(request.local_workdir, _is_ours))
        _run_seeds(request, run, headline)


def _run_seeds(request: Request, run: Callable[[Request], None], headline: str) -> None:
    config: Any = request.config
    seeds = range(config.seed, config.seed + config.seeds)
    works = {seed: request.local_workdir / f"seed-{seed}" for seed in seeds}
    for seed, work in works.items():
        print(f"seed {seed}:", flush=True)
        run(_single(request, seed, work))
    if hosts.is_first():
        _write_results(request, works, headline)


def _is_ours(names: set[str]) -> bool:
    return all(map(_FILE_NAME.fullmatch, names))


def _write_results(request: Request, works: Mapping[int, Path], headline: str) -> None:
    summaries = {seed: json.loads((work / "summary.json").read_text()) for seed, work in works.items()}
    results = summarize({seed: summary["evaluation"] for seed, summary in summaries.items()}, headline)
    results["collapsed"] = [seed for seed, summary in summaries.items() if summary.get("collapsed")]
    write_json(request.local_workdir / "results.json", results)
    lines = table(results, headline)
    (request.local_workdir / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def summarize(evaluations: Mapping[int, Mapping[str, float]], headline: str) -> dict[str, Any]:
    """Returns the metrics of each seed, and mean, min and max of each metric, the headline first."""
    names = [headline, *(name for name in next(iter(evaluations.values())) if name != headline)]
    # NaN is null in summary.json; a mean with it is NaN.
    numbers = {
        str(seed): {name: math.nan if value is None else value for name, value in evaluation.items()}
        for seed, evaluation in evaluations.items()
    }
    columns = {name: [evaluation.get(name, math.nan) for evaluation in numbers.values()] for name in names}
    return {"seeds": numbers, "metrics": {name: _spread(values) for name, values in columns.items()}}


def _spread(values: Sequence[float]) -> dict[str, float]:
    if any(map(math.isnan, values)):
        return dict.fromkeys(("mean", "min", "max"), math.nan)
    return {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}


def table(results: Mapping[str, Any], headline: str) -> Sequence[str]:
    """Returns lines of Markdown: a row for each seed, then mean, min and max."""
    names = list(results["metrics"])
    lines = [f"| seed | {' | '.join(names)} | |", f"|---|{'---:|' * len(names)}---|"]
    for seed, evaluation in results["seeds"].items():
        remark = _COLLAPSED if int(seed) in results["collapsed"] else ""
        lines.append(f"| {seed} | {' | '.join(f'{evaluation.get(name, math.nan):.4f}' for name in names)} | {remark} |")
    for statistic in ("mean", "min", "max"):
        values = (results["metrics"][name][statistic] for name in names)
        lines.append(f"| {statistic} | {' | '.join(f'{value:.4f}' for value in values)} | |")
    return lines


def _single(request: Request, seed: int, work: Path) -> Request:
    values = {**request.values, "seed": seed, "seeds": 1}
    config = config_dict.FrozenConfigDict(schema.nest(values))
    overrides = {**request.overrides, "seed": str(seed), "seeds": "1"}
    return dataclasses.replace(request, config=config, workdir=work, overrides=overrides)
