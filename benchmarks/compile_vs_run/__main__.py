"""Compile time against run time, by family, depth, layers per scan iteration, and remat.

    python -m benchmarks.compile_vs_run [--target v5e:2x4] [--output DIR]

By default: the pretraining step of ALBERT, BERT and DistilBERT at 6, 12 and 24 layers, scanned and unrolled, 2 and 4
layers at a time, with and without remat; and at 12 layers a forward pass and a distillation step: 48 cases. With any of
--families, --kinds, --depths, --unroll and --remat: all combinations of the values given (of the others: all families,
the pretraining step, 12 layers, scanned, no remat). --all: every combination, which takes hours.

With --target, everything but run times, from the compiler: for a TPU slice (needs the extra `tpu` and no TPU; a minute
per case) or for several CPU devices, as 8xcpu. The global batch is the batch size times the number of devices.

Each case runs in processes of its own. A case that the output directory's compile_vs_run.json already has, with the
same sizes, device, versions and commit, is not measured again, so repeating an interrupted command resumes it. Writes
compile_vs_run.json, compile_vs_run.md and plots of the current series, and prints its tables.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.compile_vs_run.analysis import break_evens, disagreements
from benchmarks.compile_vs_run.cases import (
    DEFAULT,
    EVERYTHING,
    FAMILIES,
    KINDS,
    REMATS,
    SMOKE,
    SMOKE_SIZES,
    Case,
    Selection,
    Sizes,
    cases,
)
from benchmarks.compile_vs_run.plots import draw_all
from benchmarks.compile_vs_run.results import Measurement, Row
from benchmarks.compile_vs_run.stages import Stages
from benchmarks.compile_vs_run.tables import break_even_table, page, table
from benchmarks.compile_vs_run.worker import Request, ask
from benchmarks.harness import command
from benchmarks.harness.circumstances import moment
from benchmarks.harness.results import Results, decode
from train.errors import UserError
from train.machine.chips import parse_target

NAME = "compile_vs_run"
_START_SECONDS = 300.0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a case has no numbers or another result, or 2 for a user's mistake."""
    return command.run(NAME, _run, _arguments(argv))


def _run(given: argparse.Namespace) -> int:
    if given.report:
        return _write_report(given, Results(given.report, Row), given.report.stem)
    wanted, request = _cases(given), _request(given)
    circumstances = ask(request, "circumstances", _START_SECONDS)
    if isinstance(circumstances, str):
        raise UserError(circumstances)
    results = Results(given.output / f"{NAME}.json", Row).select(circumstances)

    def measure(case: Case) -> Row:
        return Row(case=case, **moment(), outcome=_outcome(case, request, given.limit_seconds))

    command.measure_missing(results, wanted, measure, _summary)
    results.write()
    status = _write_report(given, results, NAME)
    return status or int(any(case not in results.current.measured for case in wanted))


def _outcome(case: Case, request: Request, limit_seconds: float) -> Measurement | str:
    arguments = {"case": dataclasses.asdict(case)}
    found = ask(request, "measure", limit_seconds, **arguments)
    if isinstance(found, str):
        return found
    measured = decode(Measurement, found)
    # An executable for an absent TPU is written to the cache and cannot be loaded from it.
    if request.target and parse_target(request.target).topology is not None:
        return measured
    with tempfile.TemporaryDirectory(prefix="compile_vs_run-") as cache:
        for _ in ("fills the cache", "finds it"):
            started = ask(request, "start", limit_seconds, cache=cache, **arguments)
            if isinstance(started, str):
                return f"warm start: {started}"
    return dataclasses.replace(measured, warm=Stages(*started["stages"]), warm_hit=started["hit"])


def _summary(one: Measurement) -> str:
    step = "" if one.step is None else f", {one.step.median:.4f} s per step"
    return f"built in {one.build_seconds:.2f} s{step}"


def _write_report(given: argparse.Namespace, results: Results[Row], stem: str) -> int:
    """Writes the page and the plots, prints the current tables, and returns 1 if executions disagree."""
    command.write_text(given.output / f"{stem}.md", page(results.series))
    draw_all(results.current, given.output, stem)
    print(table(results.current))
    if evens := break_evens(results.current):
        print(f"\n{break_even_table(evens)}")
    for line in (differing := disagreements(results.current)):
        print(f"not the same result: {line}", file=sys.stderr)
    return int(bool(differing))


def _cases(given: argparse.Namespace) -> list[Case]:
    if given.smoke:
        return cases(SMOKE)
    if given.all:
        return cases([EVERYTHING])
    chosen = {field.name: getattr(given, field.name) for field in dataclasses.fields(Selection)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if any(depth < 1 for depth in chosen.get("depths", ())) or any(unroll < 0 for unroll in chosen.get("unrolls", ())):
        raise UserError("expected depths of 1 or more, and 0 (all) or more layers for --unroll")
    return cases([Selection(**chosen)] if chosen else DEFAULT)


def _request(given: argparse.Namespace) -> Request:
    if given.target and not parse_target(given.target).can_be_compiled_for:
        raise UserError(
            f"--target={given.target}: there is no compiler for it without the device; run there without --target"
        )
    sizes = Sizes(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Sizes)})
    limits = {"repeats": given.repeats, "runs": given.runs}
    if given.smoke:
        sizes, limits = SMOKE_SIZES, {"repeats": 1, "runs": 3}
    if min(limits.values()) < 1:
        raise UserError("expected --repeats and --runs of 1 or more")
    return Request(sizes=sizes, dtype=given.dtype, target=given.target, **limits)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(NAME, __doc__, smoke="two tiny cases in seconds")
    add = parser.add_argument
    add("--families", nargs="+", choices=tuple(FAMILIES))
    add("--kinds", nargs="+", choices=KINDS)
    add("--depths", nargs="+", type=int, help="numbers of layers; of a distillation, the teacher's")
    add("--unroll", dest="unrolls", nargs="+", type=int, help="layers per scan iteration, 0 for all")
    add("--remat", dest="remats", nargs="+", choices=REMATS, help="what the backward pass recomputes")
    add("--all", action="store_true", help="every combination of the default's values")
    add("--target", help="compile for these devices: v5e:2x4, 8xcpu")
    add("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of activations")
    add("--repeats", type=int, default=Request.repeats, help="builds, fewer after 20 s of them")
    add("--runs", type=int, default=Request.runs, help="runs after the first, fewer after 6 s of them")
    add("--limit_seconds", type=float, default=3600.0, help="a process that takes longer is ended")
    for field in dataclasses.fields(Sizes):
        add(f"--{field.name}", type=int, default=field.default)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
