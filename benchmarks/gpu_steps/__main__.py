"""How much of a GPU the pretraining step uses, beside its targets and beside PyTorch, in one call.

    python -m benchmarks.gpu_steps [--minutes N] [--together N] [--torch make|none|PYTHON] [--models ...]
        [--lengths ...] [--smoke]

ALBERT-xxlarge, ALBERT-base and BERT-base in bfloat16 on rows of 128 and 512 tokens: more rows while they help, layers
scanned and unrolled, cuDNN's attention, remat, determinism. Each case has a process of its own, so that running out of
memory ends a case. PyTorch (compiled, SDPA) runs in an environment that is made on demand, or in that of --torch.
Where a GPU is at hand for minutes only, --together has several cases compile at a time; each still runs by itself.

The most important cases come first; what --minutes leaves no time for is "not run". Results are written after each
case; started again, under the same circumstances, the command goes on. Writes gpu_steps.json and gpu_steps.md.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.circumstances import beginning
from benchmarks.gpu_steps import asking
from benchmarks.gpu_steps.cases import REAL, WORKS, Case, Group, Work
from benchmarks.gpu_steps.plan import groups, plan
from benchmarks.gpu_steps.results import FILE, Measurement, Results, Row, disagreements, read, tokens_per_second, write
from benchmarks.gpu_steps.tables import page, summary
from benchmarks.peers.environments import SetupError
from train.errors import UserError

_START_SECONDS = 300.0  # JAX's start on a cold machine, and the products
_BUILD_SECONDS = 300.0
_RUN_SECONDS = 300.0


class Session:
    """A call of the command: what it is to do, and what it has found.

    Args:
        given: the command line.
        clock: seconds.
    """

    def __init__(self, given: argparse.Namespace, clock: Callable[[], float] = time.monotonic) -> None:
        self._given, self._clock = given, clock
        self._deadline = clock() + 60 * given.minutes
        self._name = "smoke" if given.smoke else "real"
        self._groups = _groups(self._work, given)
        asking.check_interpreter(given.torch)
        self._python = ""
        self._no_torch = "PyTorch was not asked for" if given.torch == asking.NONE else ""
        device = asking.describe(self._name, _START_SECONDS)
        device["circumstances"]["built together"] = given.together
        self.results: Results = read(given.output / FILE, device)

    @property
    def _work(self) -> Work:
        return WORKS[self._name]

    def run(self) -> None:
        """Measures case after case until all are done or time is over; writes after each."""
        self._write()
        while (cases := self._next()) and self._clock() < self._deadline:
            if any(case.setting is None for case in cases) and not self._make_torch():
                continue
            self._measure(cases)
        self._write()

    def report(self) -> int:
        """Prints the targets; 1 if settings disagree."""
        print(summary(self._work, self.results, self._groups, self.not_run()))
        differing = disagreements(self.results)
        for line in differing:
            print(f"not the same result: {line}", file=sys.stderr)
        return int(bool(differing))

    def not_run(self) -> dict[Case, str]:
        """What is wanted and has not been tried, with the reason."""
        missing = [case for case in self._plan() if case not in self.results.speeds]
        return {case: self._no_torch if case.setting is None and self._no_torch else "not reached" for case in missing}

    def _plan(self) -> list[Case]:
        return plan(self._work, self._groups, self.results.speeds)

    def _next(self) -> list[Case]:
        known = self.results.speeds
        able = (case for case in self._plan() if case.setting is not None or not self._no_torch)
        return [case for case in able if case not in known][: self._given.together]

    def _make_torch(self) -> bool:
        """Whether there is an interpreter for PyTorch; one that cannot be made is not tried again."""
        if not self._python:
            try:
                folder = self._given.output / "environments" / "hf_torch"
                self._python = asking.torch_python(self._given.torch, folder)
            except SetupError as error:
                self._no_torch = f"its environment cannot be made: {error}"
                print(f"PyTorch: {self._no_torch}", file=sys.stderr)
        return bool(self._python)

    def _measure(self, cases: Sequence[Case]) -> None:
        """Measures some cases; those that the end of time cuts short leave no row."""
        started = beginning()["started"]
        left = self._deadline - self._clock()
        limit = max(1.0, min(_BUILD_SECONDS, left))
        outcomes = asking.measure(self._name, cases, self._python, limit, _RUN_SECONDS)
        with contextlib.closing(outcomes):
            for case, outcome in outcomes:
                if isinstance(outcome, str) and left < _BUILD_SECONDS and self._clock() >= self._deadline:
                    continue
                row = Row(case=case, started=started, outcome=outcome)
                self.results.rows.append(row)
                self._write()
                print(f"{case}: {_said(row)}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        missing = self.not_run()
        write(self._given.output / FILE, self.results, missing)
        text = page(self._work, self.results, self._groups, missing)
        (self._given.output / "gpu_steps.md").write_text(text, encoding="utf-8")


def _groups(work: Work, given: argparse.Namespace) -> list[Group]:
    if given.together < 1:
        raise UserError(f"--together {given.together}: expected 1 or more")
    lengths = given.lengths or list(work.predictions)
    if unknown := [length for length in lengths if length not in work.predictions]:
        raise UserError(f"--lengths {unknown[0]}: expected some of {', '.join(map(str, work.predictions))}")
    return groups(work, given.models, lengths)


def _said(row: Row) -> str:
    if not isinstance(row.outcome, Measurement):
        return row.outcome
    return f"{1e3 * row.outcome.step:.1f} ms a step, {tokens_per_second(row.case, row.outcome):,.0f} tokens/s"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_steps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="no case begins after so many (default 12)")
    parser.add_argument("--together", type=int, default=1, help="cases that are built at a time (default 1)")
    parser.add_argument(
        "--torch",
        default=asking.MAKE,
        help="make (default): an environment is made with pip; none; or an interpreter with torch and transformers",
    )
    parser.add_argument("--models", nargs="+", choices=tuple(REAL.models), default=list(REAL.models))
    parser.add_argument("--lengths", nargs="+", type=int, help="tokens of a row; default: all")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on any device, to see that it works")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu_steps"), help="folder of the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the command line names and the results do not have; 2 without a GPU, 1 if settings disagree."""
    try:
        session = Session(_arguments(argv))
    except UserError as error:
        print(f"gpu_steps: {error}", file=sys.stderr)
        return error.status
    session.run()
    return session.report()


if __name__ == "__main__":
    sys.exit(main())
