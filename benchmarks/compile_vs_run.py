"""What a training step costs before it runs, over depth: tracing, lowering, compiling, program size, memory.

python -m benchmarks.compile_vs_run [--output DIR] [--depths 12 48 96] [--remat none dots full] [--unroll 1] [--steps 3]

Writes compile_vs_run.json, compile_vs_run.md and compile_vs_run.png, and prints the table.
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.cases import FAMILIES, Case, Sizes, Step
from benchmarks.compile_plot import Curve, draw
from flax_lite.training import TrainState
from train.provenance import provenance

_MIB = 2**20
_REMATS = ("none", "dots", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one case cost; seconds are medians, where a cost was measured more than once.

    Attributes:
        case: what was measured.
        trace_seconds: Python to jaxpr.
        lower_seconds: jaxpr to StableHLO.
        compile_seconds: StableHLO to an executable; no cache.
        all_build_seconds: the sum of the three, of each repetition.
        program_lines: lines of StableHLO.
        temporary_mib: the compiler's temporary memory: activations and what the backward pass keeps of them.
        state_mib: parameters and optimizer state.
        step_seconds: one step, of several after the first; None where none was run.
    """

    case: Case
    trace_seconds: float
    lower_seconds: float
    compile_seconds: float
    all_build_seconds: tuple[float, ...]
    program_lines: int
    temporary_mib: float
    state_mib: float
    step_seconds: float | None

    @property
    def build_seconds(self) -> float:
        """Tracing, lowering and compiling together."""
        return statistics.median(self.all_build_seconds)


def measure(case: Case, repeats: int, steps: int) -> Measurement:
    """Builds the case's step `repeats` times from nothing, then runs the last one `steps` times after a first."""
    step, make_state = case.training_step()
    state, batch = jax.eval_shape(make_state, jax.random.key(0)), case.batch()
    builds = [_build(step, state, batch) for _ in range(repeats)]
    compiled = builds[-1].compiled
    trace, lower, build = (statistics.median(column) for column in zip(*(one.seconds for one in builds), strict=True))
    return Measurement(
        case=case,
        trace_seconds=trace,
        lower_seconds=lower,
        compile_seconds=build,
        all_build_seconds=tuple(sum(one.seconds) for one in builds),
        program_lines=builds[-1].program_lines,
        temporary_mib=compiled.memory_analysis().temp_size_in_bytes / _MIB,
        state_mib=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / _MIB,
        step_seconds=_run(compiled, jax.jit(make_state), batch, steps),
    )


class _Built(NamedTuple):
    compiled: Any
    program_lines: int
    seconds: tuple[float, float, float]


def _build(step: Step, state: TrainState, batch: Mapping[str, np.ndarray]) -> _Built:
    jax.clear_caches()
    trace_seconds, traced = _timed(lambda: jax.jit(step, donate_argnums=0).trace(state, batch))
    lower_seconds, lowered = _timed(traced.lower)
    compile_seconds, compiled = _timed(lowered.compile)
    lines = len(lowered.as_text().splitlines())
    return _Built(compiled, lines, (trace_seconds, lower_seconds, compile_seconds))


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _run(compiled: Any, make_state: Callable[..., Any], batch: Any, steps: int) -> float | None:
    if not steps:
        return None
    state, seconds = make_state(jax.random.key(0)), []
    for _ in range(steps + 1):
        start = time.perf_counter()
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


_COLUMNS: Mapping[str, Callable[[Measurement, Measurement], str]] = {
    "model": lambda one, _: one.case.family,
    "remat": lambda one, _: one.case.remat,
    "unroll": lambda one, _: str(one.case.unroll or "all"),
    "layers": lambda one, _: str(one.case.num_layers),
    "trace (s)": lambda one, _: f"{one.trace_seconds:.2f}",
    "lower (s)": lambda one, _: f"{one.lower_seconds:.2f}",
    "compile (s)": lambda one, _: f"{one.compile_seconds:.2f}",
    "all three (s)": lambda one, _: f"{one.build_seconds:.2f}",
    "from, to": lambda one, _: f"{min(one.all_build_seconds):.2f}, {max(one.all_build_seconds):.2f}",
    "ratio": lambda one, shallowest: f"{one.build_seconds / shallowest.build_seconds:.2f}",
    "StableHLO lines": lambda one, _: str(one.program_lines),
    "temporary (MiB)": lambda one, _: f"{one.temporary_mib:.0f}",
    "state (MiB)": lambda one, _: f"{one.state_mib:.0f}",
    "step (s)": lambda one, _: "not run" if one.step_seconds is None else f"{one.step_seconds:.3f}",
}


def table(measurements: Iterable[Measurement]) -> str:
    """The measurements as Markdown; "ratio" compares with the shallowest of the same model and execution."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS)]
    for _, group in _by_kind(measurements):
        rows += [[cell(one, group[0]) for cell in _COLUMNS.values()] for one in group]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _by_kind(measurements: Iterable[Measurement]) -> list[tuple[tuple[str, str, int], list[Measurement]]]:
    """Those that differ in depth alone, together, shallowest first."""

    def kind(one: Measurement) -> tuple[str, str, int]:
        return one.case.family, one.case.remat, one.case.unroll

    def order(one: Measurement) -> tuple[Any, ...]:
        return one.case.family, _REMATS.index(one.case.remat), one.case.unroll, one.case.num_layers

    ordered = sorted(measurements, key=order)
    return [(name, list(group)) for name, group in itertools.groupby(ordered, kind)]


def environment() -> dict[str, Any]:
    """What stands beside the numbers: versions, commit, device, load of the machine."""
    found = {name: value for name, value in provenance().items() if name != "host"}
    return {**found, "cpu_count": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}


def write(folder: Path, circumstances: dict[str, Any], sizes: Sizes, measurements: Sequence[Measurement]) -> None:
    """Writes the numbers, the table and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(one) for one in measurements]
    record = {"environment": circumstances, "measurements": rows}
    (folder / "compile_vs_run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    names = ("device", "cpu_count", "load_before", "versions", "commit", "started")
    told = ", ".join(f"{name} {circumstances[name]}" for name in names)
    heading = f"Training step (masked words, LAMB, dropout on), {sizes}.\n\n{told}.\n"
    (folder / "compile_vs_run.md").write_text(f"{heading}\n{table(measurements)}\n", encoding="utf-8")
    draw([_curve(kind, group) for kind, group in _by_kind(measurements)], folder / "compile_vs_run.png")


def _curve(kind: tuple[str, str, int], group: Sequence[Measurement]) -> Curve:
    family, remat, unroll = kind
    return Curve(
        colour_by=family,
        dash_by=f"remat {remat}" + ("" if unroll == 1 else f", unroll {unroll or 'all'}"),
        depths=[one.case.num_layers for one in group],
        seconds=[one.build_seconds for one in group],
        mib=[one.temporary_mib for one in group],
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_vs_run", description=__doc__)
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--depths", nargs="+", type=int, default=[12, 48, 96], help="numbers of layers")
    parser.add_argument("--remat", nargs="+", choices=_REMATS, default=list(_REMATS))
    parser.add_argument("--unroll", nargs="+", type=int, default=[1], help="layers per scan iteration, 0 for all")
    parser.add_argument("--repeats", type=int, default=3, help="builds of each step; the median counts")
    parser.add_argument("--steps", type=int, default=0, help="steps to time of each, after a first one")
    parser.add_argument("--output", type=Path, default=Path("runs/compile_vs_run"), help="folder of the results")
    for field in dataclasses.fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every combination that the command line names, and writes what came out."""
    given = _arguments(argv)
    jax.config.update("jax_enable_compilation_cache", False)  # what a cache held would count as compiled
    sizes = Sizes(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Sizes)})
    circumstances = environment()
    measure(Case(family="albert", num_layers=1, sizes=sizes), 1, 0)  # the compiler's own start is nobody's cost
    measurements = []
    for family, remat, unroll, depth in itertools.product(given.families, given.remat, given.unroll, given.depths):
        case = Case(family=family, num_layers=depth, remat=remat, unroll=unroll, sizes=sizes)
        measurements.append(measure(case, given.repeats, given.steps))
        print(f"{family}, {depth} layers, remat {remat}: {measurements[-1].build_seconds:.2f} s", file=sys.stderr)
    write(given.output, circumstances, sizes, measurements)
    print(table(measurements))
    return 0


if __name__ == "__main__":
    sys.exit(main())
