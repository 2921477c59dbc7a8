"""What a program costs before it runs, and while it runs: families, depths, unrolled or scanned, recomputed or kept.

    python -m benchmarks.compile_vs_run [--target v5e:2x4] [--output DIR]

Without further options: the pretraining step of ALBERT, BERT and DistilBERT at 6, 12 and 24 layers, scanned and
unrolled, 2 and 4 layers at a time, with and without remat, and at 12 layers a forward pass and a distillation step:
48 cases. With any of --families, --kinds, --depths, --unroll and --remat: all combinations of
what they name (of what is not named: all families, the pretraining step, 12 layers, scanned, no remat). --all: every
combination, hours.

With --target everything but run times, from the compiler: for a slice of TPUs (needs the extra `tpu` and no TPU; a
minute a case) or for devices on the CPU, as 8xcpu. The batch is that of one device, times their number.

Each case has processes of its own. What the output folder's compile_vs_run.json has already, of the same sizes, device,
versions and commit, is not measured again, so an interrupted command goes on when it is repeated. Writes
compile_vs_run.json, compile_vs_run.md and pictures of what was asked for last, and prints its tables.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import series as kept
from benchmarks.circumstances import beginning, place
from benchmarks.compile_vs_run.analysis import break_evens, disagreements
from benchmarks.compile_vs_run.cases import (
    DEFAULT,
    EVERYTHING,
    FAMILIES,
    KINDS,
    REMATS,
    SMOKE,
    Case,
    Selection,
    Sizes,
    cases,
)
from benchmarks.compile_vs_run.plots import draw_all
from benchmarks.compile_vs_run.results import FILE, Measurement, Row, measured, measurement, row_of
from benchmarks.compile_vs_run.stages import Stages
from benchmarks.compile_vs_run.tables import break_even_table, page, table
from benchmarks.compile_vs_run.worker import Request, ask
from benchmarks.series import Series
from train.errors import UserError
from train.machine.chips import parse_target

_SMOKE_SIZES = Sizes(
    vocab_size=50, hidden_size=16, embedding_size=8, batch_size=4, sequence_length=16, max_predictions=3
)
_START_SECONDS = 300.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the command line names and the output folder does not have; writes what there is after each."""
    given = _arguments(argv)
    try:
        wanted, request = _wanted(given), _request(given)
        circumstances = ask(request, "circumstances", _START_SECONDS)
        if isinstance(circumstances, str):
            raise UserError(circumstances)
        known = kept.read(given.output / FILE, row_of)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.status
    series = kept.series_of(known, circumstances)
    had = measured(series)
    for number, case in enumerate(wanted, start=1):
        if case not in had:
            row = _row(case, request, given.limit_seconds)
            series.put(row, lambda one: one.case)
            kept.write(given.output / FILE, known)
            print(f"{number} of {len(wanted)}: {case}: {_said(row)}", file=sys.stderr, flush=True)
    return _report(given.output, known, series, wanted)


def _row(case: Case, request: Request, limit_seconds: float) -> Row:
    return Row(case=case, **beginning(), outcome=_measured(case, request, limit_seconds))


def _measured(case: Case, request: Request, limit_seconds: float) -> Measurement | str:
    asked = {"case": dataclasses.asdict(case)}
    found = ask(request, "measure", limit_seconds, **asked)
    if isinstance(found, str):
        return found
    cost = measurement(found)
    # An executable for TPUs that are not here is written to the cache and cannot be loaded from it.
    if request.target and parse_target(request.target).topology is not None:
        return cost
    with tempfile.TemporaryDirectory(prefix="compile_vs_run-") as cache:
        for _ in ("fills the cache", "finds it"):
            started = ask(request, "start", limit_seconds, cache=cache, **asked)
            if isinstance(started, str):
                return f"warm start: {started}"
    return dataclasses.replace(cost, warm=Stages(*started["stages"]), warm_hit=started["hit"])


def _said(row: Row) -> str:
    one = row.outcome
    if isinstance(one, str):
        return one
    step = "" if one.step is None else f", {one.step.median:.4f} s a step"
    return f"built in {one.build_seconds:.2f} s{step}"


def _report(folder: Path, known: list[Series[Row]], series: Series[Row], wanted: Sequence[Case]) -> int:
    """Writes everything, prints the tables, and returns 1 unless all went well."""
    found = measured(series)
    kept.write(folder / FILE, known)
    (folder / "compile_vs_run.md").write_text(page(known), encoding="utf-8")
    about = series.circumstances
    draw_all(found, folder, f"{place(about)}, jax {about['versions']['jax']}")
    print(table(found))
    if evens := break_evens(found):
        print(f"\n{break_even_table(evens)}")
    for line in (differing := disagreements(found)):
        print(f"not the same result: {line}", file=sys.stderr)
    return int(bool(differing) or any(case not in found for case in wanted))


def _wanted(given: argparse.Namespace) -> list[Case]:
    if given.smoke:
        return cases(SMOKE)
    if given.all:
        return cases([EVERYTHING])
    named = {field.name: getattr(given, field.name) for field in dataclasses.fields(Selection)}
    named = {name: value for name, value in named.items() if value is not None}
    if any(depth < 1 for depth in named.get("depths", ())) or any(unroll < 0 for unroll in named.get("unrolls", ())):
        raise UserError("expected depths of 1 or more, and 0 (all) or more layers for --unroll")
    return cases([Selection(**named)] if named else DEFAULT)


def _request(given: argparse.Namespace) -> Request:
    if given.target and not parse_target(given.target).can_be_compiled_for:
        raise UserError(f"--target={given.target}: there is no compiler for it without it; run there without --target")
    sizes = Sizes(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Sizes)})
    limits = {"repeats": given.repeats, "runs": given.runs}
    if given.smoke:
        sizes, limits = _SMOKE_SIZES, {"repeats": 1, "runs": 3}
    if min(limits.values()) < 1:
        raise UserError("expected --repeats and --runs of 1 or more")
    return Request(sizes=sizes, dtype=given.dtype, target=given.target, **limits)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_vs_run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--depths", nargs="+", type=int, help="numbers of layers; of a distillation, the teacher's")
    parser.add_argument("--unroll", dest="unrolls", nargs="+", type=int, help="layers per scan iteration, 0 for all")
    parser.add_argument("--remat", dest="remats", nargs="+", choices=REMATS, help="what the backward pass recomputes")
    parser.add_argument("--all", action="store_true", help="every combination of what the default has parts of")
    parser.add_argument("--target", help="compile for these devices: v5e:2x4, 8xcpu")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of activations")
    parser.add_argument("--repeats", type=int, default=Request.repeats, help="builds, fewer after 20 s of them")
    parser.add_argument("--runs", type=int, default=Request.runs, help="runs after the first, fewer after 6 s of them")
    parser.add_argument("--limit_seconds", type=float, default=3600.0, help="of one process, after which it is ended")
    parser.add_argument("--smoke", action="store_true", help="two tiny cases in seconds")
    parser.add_argument("--output", type=Path, default=Path("runs/compile_vs_run"), help="folder of the results")
    for field in dataclasses.fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
