"""Runs a fine-tuning with each combination of several values of options, and compares the results in one table."""

import contextlib
import dataclasses
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.jobs.seeds import summarize
from train.machine import hosts
from train.machine.files import write_json
from train.machine.lock import open_directory
from train.options.request import Request

_DIRECTORY = re.compile(r"[\w.]+=.*")
_FILE_NAME = re.compile(r"lock|\.?sweep\.(json|md)(\.\w+)?")


def combinations(sweep: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Returns every combination of the values, the last option varying fastest."""
    return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]


def directory_name(changes: Mapping[str, str]) -> str:
    """Returns the directory of a combination, `optimizer.learning_rate=1e-5,batch_size=16`."""
    return ",".join(f"{path}={re.sub(r'[^-+.0-9A-Za-z_]+', '_', text)}" for path, text in changes.items())


def run_sweep(request: Request, run: Callable[[Request], str]) -> None:
    """Runs a request with each combination of its sweep, and writes sweep.json and sweep.md into its work directory.

    Complete runs are skipped, so that the same command resumes after an interruption. More values may be given later.

    Args:
        request: a request with a sweep; each combination gets a subdirectory of its work directory.
        run: runs a request of one combination, with all of its seeds; returns the metric that chooses its checkpoint.

    Raises:
        UserError: if two combinations have the same directory, or the work directory is in use or has other contents.
    """
    chosen = combinations(request.sweep)
    names = [directory_name(changes) for changes in chosen]
    if len(set(names)) < len(names):
        raise UserError(f"--sweep has a value twice: {', '.join(names)}")
    with contextlib.ExitStack() as stack:
        with hosts.sync_errors("opening the directory of the sweep"):
            if hosts.is_first():
                stack.enter_context(open_directory(request.local_workdir, _is_ours))
        rows, headline = {}, ""
        for name, changes in zip(names, chosen, strict=True):
            print(f"\n{name}:", flush=True)
            work = request.local_workdir / name
            headline = run(_single(request, changes, work))
            if hosts.is_first():
                rows[name] = _result(work, headline, request.config.seeds)
        if hosts.is_first():
            _write(request.local_workdir, rows, headline)


def _single(request: Request, changes: Mapping[str, str], work: Path) -> Request:
    parsed = {path: request.parsed(path, text) for path, text in changes.items()}
    changed = request.with_values(parsed)
    return dataclasses.replace(changed, workdir=work, overrides={**request.overrides, **changes}, sweep={})


def _result(work: Path, headline: str, num_seeds: int) -> dict[str, Any]:
    """Returns {metric: {"mean", "min", "max"}} of one combination, the headline first."""
    if num_seeds > 1:
        return json.loads((work / "results.json").read_text())["metrics"]
    evaluation = json.loads((work / "summary.json").read_text())["evaluation"]
    return summarize({0: evaluation}, headline)["metrics"]


def _write(work: Path, rows: Mapping[str, Any], headline: str) -> None:
    write_json(work / "sweep.json", {"metric": headline, "runs": rows})
    lines = table(rows)
    (work / "sweep.md").write_text("\n".join(lines) + "\n")
    print("\n".join(["", *lines]), flush=True)


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Returns lines of Markdown: for each combination the mean of each metric, and its range over the seeds."""
    metrics = list(next(iter(rows.values())))
    lines = [f"| run | {' | '.join(metrics)} |", f"|---|{'---:|' * len(metrics)}"]
    for name, found in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(found.get(metric, {})) for metric in metrics)} |")
    return lines


def _cell(spread: Mapping[str, float | None]) -> str:
    mean, low, high = (math.nan if spread.get(name) is None else spread[name] for name in ("mean", "min", "max"))
    return f"{mean:.4f}" if low == high else f"{mean:.4f} ({low:.4f} to {high:.4f})"


def _is_ours(names: set[str]) -> bool:
    return all(_FILE_NAME.fullmatch(name) or _DIRECTORY.fullmatch(name) for name in names)
