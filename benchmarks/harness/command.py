"""The command line that all benchmarks share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.results import Results, RowT
from train.errors import UserError

REPORT_HELP = "measure nothing: write the tables and plots of these results to the output directory"


def make_parser(name: str, description: str | None, smoke: str = "") -> argparse.ArgumentParser:
    """Returns a parser with --output, --report, and --smoke if its help text is given."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("runs") / name, help="directory of the results")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="measure nothing: write the report of these results to --output",
    )
    if smoke:
        parser.add_argument("--smoke", action="store_true", help=smoke)
    return parser


def run(name: str, function: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Runs a command; a user's mistake is one line on standard error and exit status 2."""
    try:
        if given.report and not given.report.exists():
            raise UserError(f"--report {given.report}: there is no such file")
        return function(given)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.status


def measure_missing(
    results: Results[RowT], cases: Sequence[Any], measure: Callable[[Any], RowT], summary: Callable[[Any], str]
) -> None:
    """Measures the cases that the current series has no numbers of, and writes the results after each.

    Args:
        results: resumed from their file.
        cases: in the order in which they are measured.
        measure: from a case to its row.
        summary: from an outcome with numbers to a few words for the log.
    """
    for number, case in enumerate(cases, start=1):
        if case not in results.current.measured:
            row = measure(case)
            results.put(row)
            print(f"{number} of {len(cases)}: {case}: {outcome_text(row, summary)}", file=sys.stderr, flush=True)


def outcome_text(row: Any, summary: Callable[[Any], str]) -> str:
    """Returns the reason why a row failed, or the summary of its numbers."""
    return row.outcome if row.failed else summary(row.outcome)


def write_text(file: Path, text: str) -> None:
    """Writes a report, making its directory."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
