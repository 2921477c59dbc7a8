"""The report in Markdown."""

import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.compile_vs_run.analysis import BreakEven, break_evens, disagreements
from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.results import Measurement, Row
from benchmarks.harness.circumstances import describe, device_title
from benchmarks.harness.results import Series
from benchmarks.harness.tables import column_table

_MIB = 2**20
_TERMS = """\
Seconds of wall-clock time. trace: Python to jaxpr; lower: jaxpr to StableHLO; compile: StableHLO to an executable,
caches off; medians of the builds. Warm start: the same three in another process that finds the program in a
persistent compilation cache, so that compiling is loading; an executable for absent TPUs cannot be loaded, so it is not
tried. First: the first run; step: the median of the runs after it, and their quartiles (minimum and maximum with fewer
than four). Memory is one device's, in MiB, as the compiler reports it: without a TPU's on-chip memory.
Given: parameters, optimizer state, a teacher's parameters and the batch; temporary: what is allocated in addition while
the program runs, mostly activations kept for the backward pass; total: given, returned and temporary, donated arrays
once; peak: the compiler's own estimate of the most alive at once, which leaves temporaries out on XLA:CPU and is above
the total on TPUs. In a distillation the layers are those of the teacher, a BERT; the student has half as many, and the
family of its row.
"""


def _range(totals: Sequence[float]) -> str:
    return f"{min(totals):.2f}, {max(totals):.2f} ({len(totals)})"


def _warm(one: Measurement) -> str:
    if one.warm is None:
        return "not tried"
    return f"{sum(one.warm):.2f}" if one.warm_hit else f"{sum(one.warm):.2f}, not in the cache"


def _quartiles(one: Measurement) -> str:
    return f"{one.step.low:.4f}, {one.step.high:.4f} ({len(one.run_seconds)})" if one.step else ""


def _mib(count: int | None) -> str:
    return "not reported" if count is None else f"{count / _MIB:.1f}"


_CASE: Mapping[str, Callable[[Case], str]] = {
    "work": lambda case: case.kind,
    "model": lambda case: case.family,
    "remat": lambda case: case.remat,
    "unroll": lambda case: str(case.unroll or "all"),
    "layers": lambda case: str(case.num_layers),
}
_MEASURED: Mapping[str, Callable[[Measurement], str]] = {
    "trace": lambda one: f"{one.stages.trace:.2f}",
    "lower": lambda one: f"{one.stages.lower:.2f}",
    "compile": lambda one: f"{one.stages.compile:.2f}",
    "all three": lambda one: f"{one.build_seconds:.2f}",
    "from, to (builds)": lambda one: _range([sum(build) for build in one.builds]),
    "warm start": _warm,
    "first": lambda one: "not run" if one.first_seconds is None else f"{one.first_seconds:.3f}",
    "step": lambda one: "not run" if one.step is None else f"{one.step.median:.4f}",
    "quartiles (runs)": _quartiles,
    "StableHLO lines": lambda one: str(one.program_lines),
    "code": lambda one: _mib(one.code_bytes),
    "given": lambda one: _mib(one.argument_bytes),
    "temporary": lambda one: _mib(one.temporary_bytes),
    "total": lambda one: _mib(one.total_bytes),
    "peak": lambda one: _mib(one.peak_bytes),
}
_BREAK_EVEN: Mapping[str, Callable[[BreakEven], str]] = {
    "build longer by (s)": lambda one: f"{one.more_build_seconds:.2f}",
    "step shorter by (s)": lambda one: f"{one.less_step_seconds:.4f}",
    "break-even steps": lambda one: "never" if math.isinf(one.steps) else f"{one.steps:,.0f}",
    "steps differ beyond their spread": lambda one: "yes" if one.beyond_spread else "no",
}


def table(series: Series[Row]) -> str:
    """Formats a row for each measured case."""
    return _by_case(_MEASURED, series.measured)


def break_even_table(found: Sequence[BreakEven]) -> str:
    """Formats a row for each unrolled case that was run, as was its scan."""
    return _by_case(_BREAK_EVEN, {one.case: one for one in found})


def page(known: Sequence[Series[Row]]) -> str:
    """Formats all series, the last one first."""
    return "\n".join(["# Compile time against run time", "", _TERMS, *map(_section, reversed(known))])


def _by_case(columns: Mapping[str, Callable[..., str]], found: Mapping[Case, object]) -> str:
    of_case = {head: lambda case, _, cell=cell: cell(case) for head, cell in _CASE.items()}
    of_value = {head: lambda _, one, cell=cell: cell(one) for head, cell in columns.items()}
    return column_table(of_case | of_value, sorted(found.items(), key=lambda item: item[0].order))


def _section(series: Series[Row]) -> str:
    loads = [row.load_before for row in series.rows if row.load_before is not None]
    lines = [f"## {device_title(series.circumstances)}", "", f"{describe(series.circumstances)}."]
    if starts := [row.started for row in series.rows if row.started]:
        load = f"load of the machine before a case {min(loads):.2f} to {max(loads):.2f}"
        lines.append(f"\nMeasured {min(starts)} to {max(starts)}, {load}.")
    evens = break_evens(series)
    evens_table = break_even_table(evens) if evens else "No unrolled case and its scan were both run."
    lines += ["", table(series), "", "### Scan or unroll", "", evens_table]
    failed = [f"- {row.case}: {row.outcome}" for row in series.rows if row.failed]
    lines += ["", "### Not measured", "", *failed] if failed else []
    differing = [f"- {line}" for line in disagreements(series)]
    lines += ["", "### Not the same result", "", *differing] if differing else []
    return "\n".join([*lines, ""])
