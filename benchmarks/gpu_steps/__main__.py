"""The pretraining step's use of a GPU, compared with its targets and with PyTorch, in one call.

    python -m benchmarks.gpu_steps [--minutes N] [--together N] [--torch make|none|PYTHON] [--models ...]
        [--lengths ...] [--smoke]

ALBERT-xxlarge, ALBERT-base and BERT-base in bfloat16 on rows of 128 and 512 tokens: more rows while they help, layers
scanned and unrolled, cuDNN's attention, remat, determinism. Each case runs in a process of its own, so running out of
memory ends that case alone. PyTorch (compiled, SDPA) runs in an environment that is made on demand, or in that of
--torch. If a GPU is available for minutes only, --together compiles several cases at a time; each still runs by itself.

The most important cases come first; those that --minutes leaves no time for are "not run". Results are written after
each case; repeated under the same circumstances, the command resumes. Writes gpu_steps.json and gpu_steps.md.
"""

import argparse
import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.gpu_steps import measuring
from benchmarks.gpu_steps.cases import REAL, WORKS, Case, Group, Work
from benchmarks.gpu_steps.plan import groups, plan
from benchmarks.gpu_steps.results import (
    Measurement,
    NotRun,
    Results,
    Row,
    disagreements,
    read,
    tokens_per_second,
    write,
)
from benchmarks.gpu_steps.tables import page, summary
from benchmarks.harness import command
from benchmarks.harness.circumstances import moment
from benchmarks.peers.environments import SetupError, environments, python_of
from train.errors import UserError

NAME = "gpu_steps"
MAKE, NONE = "make", "none"
_START_SECONDS = 300.0  # JAX's start on a cold machine, and the matrix products
_BUILD_SECONDS = 300.0
_RUN_SECONDS = 300.0


class Session:
    """One call of the command: its plan, and the results so far.

    Args:
        given: the arguments.
        clock: seconds.
    """

    def __init__(self, given: argparse.Namespace, clock: Callable[[], float] = time.monotonic) -> None:
        self._given, self._clock = given, clock
        self._deadline = clock() + 60 * given.minutes
        self._name = "smoke" if given.smoke else "real"
        self.work = WORKS[self._name]
        self.groups = _groups(self.work, given)
        if given.torch not in (MAKE, NONE) and shutil.which(given.torch) is None:
            raise UserError(f"--torch {given.torch}: no such program; expected {MAKE}, {NONE} or an interpreter's path")
        self._python = "" if given.torch == MAKE else given.torch
        self._no_torch = "PyTorch was not asked for" if given.torch == NONE else ""
        device = measuring.describe(self._name, _START_SECONDS)
        device["circumstances"]["built together"] = given.together
        self.results = read(given.output / f"{NAME}.json", device)

    def run(self) -> None:
        """Measures case after case until all are done or the time is over; writes after each."""
        self._write()
        while (cases := self._next()) and self._clock() < self._deadline:
            if any(case.setting is None for case in cases) and not self._make_torch():
                continue
            self._measure(cases)
        self._write()

    def _missing(self) -> list[Case]:
        known = self.results.speeds
        return [case for case in plan(self.work, self.groups, known) if case not in known]

    def _next(self) -> list[Case]:
        able = [case for case in self._missing() if case.setting is not None or not self._no_torch]
        return able[: self._given.together]

    def _make_torch(self) -> bool:
        """Returns whether there is an interpreter for PyTorch; making its environment is tried once."""
        if not self._python:
            try:
                folder = (self._given.output / "environments" / "hf_torch").resolve()
                self._python = str(python_of(folder, environments()["hf_torch"]))
            except SetupError as error:
                self._no_torch = f"its environment cannot be made: {error}"
                print(f"PyTorch: {self._no_torch}", file=sys.stderr)
        return bool(self._python)

    def _measure(self, cases: Sequence[Case]) -> None:
        """Measures some cases; a case that the deadline cuts short gets no row."""
        when, left = moment(), self._deadline - self._clock()
        limit = max(1.0, min(_BUILD_SECONDS, left))
        outcomes = measuring.measure(self._name, cases, self._python, limit, _RUN_SECONDS)
        with contextlib.closing(outcomes):
            for case, outcome in outcomes:
                if isinstance(outcome, str) and left < _BUILD_SECONDS and self._clock() >= self._deadline:
                    continue
                row = Row(case=case, **when, outcome=outcome)
                self.results.rows.append(row)
                self._write()
                text = command.outcome_text(row, lambda one, case=case: _summary(case, one))
                print(f"{case}: {text}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        def reason(case: Case) -> str:
            return self._no_torch if case.setting is None and self._no_torch else "not reached"

        missing = [NotRun(case=case, reason=reason(case)) for case in self._missing()]
        self.results = dataclasses.replace(self.results, not_run=missing)
        write(self._given.output / f"{NAME}.json", self.results)
        command.write_text(self._given.output / f"{NAME}.md", page(self.work, self.results, self.groups))


def _groups(work: Work, given: argparse.Namespace) -> list[Group]:
    if given.together < 1:
        raise UserError(f"--together {given.together}: expected 1 or more")
    lengths = given.lengths or list(work.predictions)
    if unknown := [length for length in lengths if length not in work.predictions]:
        raise UserError(f"--lengths {unknown[0]}: expected some of {', '.join(map(str, work.predictions))}")
    return groups(work, given.models, lengths)


def _summary(case: Case, one: Measurement) -> str:
    return f"{1e3 * one.step:.1f} ms per step, {tokens_per_second(case, one):,.0f} tokens/s"


def _report(work: Work, results: Results, wanted: Sequence[Group]) -> int:
    """Prints the targets, and returns 1 if settings disagree."""
    print(summary(work, results, wanted))
    for line in (differing := disagreements(results)):
        print(f"not the same result: {line}", file=sys.stderr)
    return int(bool(differing))


def _run(given: argparse.Namespace) -> int:
    if not given.report:
        session = Session(given)
        session.run()
        return _report(session.work, session.results, session.groups)
    results = read(given.report)
    work = WORKS[results.circumstances["work"]]
    known = {one.case.group for one in (*results.rows, *results.not_run)}
    wanted = [group for group in groups(work, list(work.models), list(work.predictions)) if group in known]
    command.write_text(given.output / f"{given.report.stem}.md", page(work, results, wanted))
    return _report(work, results, wanted)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(NAME, __doc__, smoke="tiny sizes on any device, to see that it works")
    add = parser.add_argument
    add("--minutes", type=float, default=12.0, help="no case starts after this time (default 12)")
    add("--together", type=int, default=1, help="cases that are built at a time (default 1)")
    add(
        "--torch",
        default=MAKE,
        help="make (default): an environment is made with pip; none; or an interpreter with torch and transformers",
    )
    add("--models", nargs="+", choices=tuple(REAL.models), default=list(REAL.models))
    add("--lengths", nargs="+", type=int, help="tokens per row; default: all")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if settings disagree, or 2 for a user's mistake or without a GPU."""
    return command.run(NAME, _run, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
