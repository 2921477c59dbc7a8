"""The measurements in Markdown."""

import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.circumstances import place, told
from benchmarks.compile_vs_run.analysis import BreakEven, break_evens, disagreements
from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.results import Measurement, Row, measured
from benchmarks.markdown import table as markdown_table
from benchmarks.series import Series

_MIB = 2**20
_TERMS = """\
Seconds of wall-clock time. trace: Python to jaxpr; lower: jaxpr to StableHLO; compile: StableHLO to an executable,
caches off; medians of the builds. Warm start: the same three in another process that finds the program in a
persistent compilation cache, so that compiling is loading; an executable for TPUs that are not here cannot be loaded,
and is not tried. First: the first run; step: the median of the runs after it, and their quartiles (of fewer than four
the least and the most). Memory is one device's, in MiB, as the compiler has it: without what a TPU keeps on the chip.
Given: parameters, optimizer state, a teacher's parameters and the batch; temporary: what is allocated on top while the
program runs, activations kept for the backward pass above all; total: given, returned and temporary, donated arrays
once; peak: the compiler's own estimate of the most alive at once, which leaves temporaries out on XLA:CPU and is above
the total on TPUs. In a distillation the layers are the teacher's, a BERT; the student has half of them, and its own
family.
"""

_COLUMNS: Mapping[str, Callable[[Case, Measurement], str]] = {
    "work": lambda case, _: case.kind,
    "model": lambda case, _: case.family,
    "remat": lambda case, _: case.remat,
    "unroll": lambda case, _: str(case.unroll or "all"),
    "layers": lambda case, _: str(case.num_layers),
    "trace": lambda _, one: f"{one.stages.trace:.2f}",
    "lower": lambda _, one: f"{one.stages.lower:.2f}",
    "compile": lambda _, one: f"{one.stages.compile:.2f}",
    "all three": lambda _, one: f"{one.build_seconds:.2f}",
    "from, to (builds)": lambda _, one: _from_to(one),
    "warm start": lambda _, one: _warm(one),
    "first": lambda _, one: "not run" if one.first_seconds is None else f"{one.first_seconds:.3f}",
    "step": lambda _, one: "not run" if one.step is None else f"{one.step.median:.4f}",
    "quartiles (runs)": lambda _, one: _quartiles(one),
    "StableHLO lines": lambda _, one: str(one.program_lines),
    "code": lambda _, one: _mib(one.code_bytes),
    "given": lambda _, one: _mib(one.argument_bytes),
    "temporary": lambda _, one: _mib(one.temporary_bytes),
    "total": lambda _, one: _mib(one.total_bytes),
    "peak": lambda _, one: _mib(one.peak_bytes),
}
_BREAK_EVEN_COLUMNS: Mapping[str, Callable[[BreakEven], str]] = {
    "work": lambda one: one.case.kind,
    "model": lambda one: one.case.family,
    "remat": lambda one: one.case.remat,
    "unroll": lambda one: str(one.case.unroll or "all"),
    "layers": lambda one: str(one.case.num_layers),
    "build longer by (s)": lambda one: f"{one.more_build_seconds:.2f}",
    "step shorter by (s)": lambda one: f"{one.less_step_seconds:.4f}",
    "break-even steps": lambda one: "never" if math.isinf(one.steps) else f"{one.steps:,.0f}",
    "steps differ beyond their spread": lambda one: "yes" if one.beyond_spread else "no",
}


def table(known: Mapping[Case, Measurement]) -> str:
    """A row for each case."""
    return markdown_table(list(_COLUMNS), [[cell(*item) for cell in _COLUMNS.values()] for item in known.items()])


def break_even_table(found: Sequence[BreakEven]) -> str:
    """A row for each unrolled case that was run beside its scan."""
    rows = [[cell(one) for cell in _BREAK_EVEN_COLUMNS.values()] for one in found]
    return markdown_table(list(_BREAK_EVEN_COLUMNS), rows)


def page(known: Sequence[Series[Row]]) -> str:
    """All series, the last one first."""
    return "\n".join(["# Compile time against run time", "", _TERMS, *map(_section, reversed(known))])


def _section(series: Series[Row]) -> str:
    loads = [row.load_before for row in series.rows]
    about = series.circumstances
    lines = [f"## {place(about)}", "", f"{told(about)}."]
    if series.rows:
        when = f"{min(row.started for row in series.rows)} to {max(row.started for row in series.rows)}"
        lines.append(f"\nMeasured {when}, load of the machine before a case {min(loads):.2f} to {max(loads):.2f}.")
    found = measured(series)
    lines += ["", table(found), "", "### Scan or unroll", ""]
    evens = break_evens(found)
    lines.append(break_even_table(evens) if evens else "No unrolled case was run beside its scan.")
    failed = [f"- {row.case}: {row.outcome}" for row in series.rows if isinstance(row.outcome, str)]
    lines += ["", "### Not measured", "", *failed] if failed else []
    differing = [f"- {line}" for line in disagreements(found)]
    lines += ["", "### Not the same result", "", *differing] if differing else []
    return "\n".join([*lines, ""])


def _from_to(one: Measurement) -> str:
    totals = [sum(build) for build in one.builds]
    return f"{min(totals):.2f}, {max(totals):.2f} ({len(totals)})"


def _warm(one: Measurement) -> str:
    if one.warm is None:
        return "not tried"
    return f"{sum(one.warm):.2f}" if one.warm_hit else f"{sum(one.warm):.2f}, not in the cache"


def _quartiles(one: Measurement) -> str:
    return f"{one.step.low:.4f}, {one.step.high:.4f} ({len(one.run_seconds)})" if one.step else ""


def _mib(count: int | None) -> str:
    return "not told" if count is None else f"{count / _MIB:.1f}"
