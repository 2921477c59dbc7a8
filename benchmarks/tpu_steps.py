"""The TPU compiler's figures of real jobs' steps, on a machine without a TPU: time, memory, collectives.

    python -m benchmarks.tpu_steps [--targets v5e:2x4 v6e:2x2] [--unroll 1 0] [--steps albert_base ...] [--output DIR]

Each step is that of a config as it is, except for the batch: 32 rows of 128 tokens per device. Needs the extra `tpu`,
several GB of memory and minutes per case; a case that the output's tpu_steps.json already has, of the same commit and
versions, is not compiled again. Writes tpu_steps.json and tpu_steps.md, and prints the table.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness import command, results
from benchmarks.harness.circumstances import circumstances, describe, moment
from benchmarks.harness.results import Results, Series
from benchmarks.harness.tables import markdown_table
from train.machine.chips import parse_target
from train.plan.compiling import Compiled, compile_elsewhere

NAME = "tpu_steps"
ROWS_PER_DEVICE = 32
_LENGTH = 128
_PREDICTIONS = 20  # as published for rows of 128 tokens
_MIB = 2**20
_LIMIT_SECONDS = 3600.0
_LOCAL = ("platform", "device", "device_count")  # compiling for a target does not depend on them
# The step's cost does not depend on the teacher's numbers, and its checkpoint is not needed.
_RANDOM_TEACHER = ("teacher=random", "student.init=random", "losses.cosine=0")


@dataclasses.dataclass(frozen=True)
class RealStep:
    """A step that users run: its title, job and config, and changes that make checkpoints unnecessary."""

    title: str
    job: str
    config: str
    changes: tuple[str, ...] = ()

    def argv(self, devices: int, unroll: int) -> list[str]:
        """Returns the job's arguments: 32 rows of 128 tokens per device, a vocabulary of 30,000 trained on the spot."""
        changes = (
            f"batch_size={ROWS_PER_DEVICE * devices}",
            f"data.sequence_length={_LENGTH}",
            f"data.max_predictions={_PREDICTIONS}",
            "tokenizer=train:unigram:30000",
            f"execution.unroll={unroll}",
            *self.changes,
        )
        return ["--config", self.config, *(f"--config.{change}" for change in changes)]


STEPS: Mapping[str, RealStep] = {
    "albert_base": RealStep("ALBERT-base", "pretrain", "configs/albert_base.py"),
    "albert_xxlarge": RealStep("ALBERT-xxlarge", "pretrain", "configs/albert_xxlarge.py"),
    "bert_base": RealStep("BERT-base", "pretrain", "configs/bert_base.py"),
    "distilbert_base": RealStep("DistilBERT from BERT-base", "distill", "configs/distilbert_base.py", _RANDOM_TEACHER),
}


class Case(NamedTuple):
    """A step of STEPS, a target, and layers per scan iteration (0 for all)."""

    step: str
    target: str
    unroll: int

    def __str__(self) -> str:
        return f"{self.step}, {self.target}, {_layers(self.unroll)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(results.Row):
    """A case and the compiler's figures."""

    step: str
    target: str
    unroll: int
    outcome: Compiled | str

    @property
    def case(self) -> Case:
        """The case that the row belongs to."""
        return Case(self.step, self.target, self.unroll)


def compile_case(case: Case) -> Row:
    """Compiles a step for a target in a process of its own."""
    target, real, when = parse_target(case.target), STEPS[case.step], moment()
    outcome = compile_elsewhere(real.job, real.argv(target.devices, case.unroll), target, _LIMIT_SECONDS)
    return Row(**case._asdict(), **when, outcome=outcome)


_COLUMNS: Mapping[str, Callable[[Compiled], str]] = {
    "lower and compile (s)": lambda one: f"{one.seconds:.0f}",
    "program (MiB)": lambda one: f"{one.memory['program'] / _MIB:.1f}",
    "arguments (MiB)": lambda one: f"{one.memory['arguments'] / _MIB:.0f}",
    "temporaries (MiB)": lambda one: f"{one.memory['temporaries'] / _MIB:.0f}",
    "collectives": lambda one: ", ".join(f"{count} {kind}" for kind, count in one.num_collectives.items()),
    "their results (MiB)": lambda one: f"{sum(one.collectives.values()) / _MIB:.0f}",
}


def table(rows: Sequence[Row]) -> str:
    """Formats the rows. Memory is that of one device; collectives are those of one step."""
    lines: list[list[str]] = []
    for row in sorted(rows, key=lambda row: (list(STEPS).index(row.step), row.target, row.unroll != 1)):
        if isinstance(row.outcome, Compiled):
            columns = [cell(row.outcome) for cell in _COLUMNS.values()]
        else:
            columns = [row.outcome, *[""] * (len(_COLUMNS) - 1)]
        lines.append([STEPS[row.step].title, row.target, _layers(row.unroll), *columns, f"{row.load_before:.2f}"])
    return markdown_table(["step", "target", "layers", *_COLUMNS, "load before"], lines)


def _layers(unroll: int) -> str:
    return {0: "unrolled", 1: "scanned"}.get(unroll, f"scanned, {unroll} at a time")


def read(file: Any) -> Results[Row]:
    """Reads results; a file of the first form has one series, whose circumstances are called its environment."""

    def upgrade(record: Any) -> Any:
        if "environment" in record:
            return {"series": [{"circumstances": record["environment"], "rows": record["rows"]}]}
        return record

    return Results(file, Row, upgrade)


def page(series: Series[Row]) -> str:
    """Formats a series under its circumstances."""
    heading = f"Whole steps, {ROWS_PER_DEVICE} rows of {_LENGTH} tokens per device, compiled on a machine without TPU."
    return f"{heading}\n\n{describe(series.circumstances)}.\n\n{table(series.rows)}\n"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(NAME, __doc__)
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--targets", nargs="+", default=["v5e:2x4", "v6e:2x2"], help="slices, or CPU devices as 8xcpu")
    parser.add_argument("--unroll", nargs="+", type=int, default=[1, 0], help="layers per scan iteration, 0 for all")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles every combination of the arguments, and writes the results after each."""
    return command.run(NAME, _run, _arguments(argv))


def _run(given: argparse.Namespace) -> int:
    known = read(given.report or given.output / f"{NAME}.json")
    if not given.report:
        known.select({name: value for name, value in circumstances().items() if name not in _LOCAL})
        wanted = itertools.product(given.unroll, given.targets, given.steps)
        cases = [Case(step, target, unroll) for unroll, target, step in wanted]
        command.measure_missing(known, cases, compile_case, lambda one: f"{one.seconds:.0f} s")
    stem = given.report.stem if given.report else NAME
    command.write_text(given.output / f"{stem}.md", page(known.current))
    print(table(known.current.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
