"""What the TPU compiler says of the steps of real jobs, on a machine that has no TPU: time, memory, collectives.

    python -m benchmarks.tpu_steps [--targets v5e:2x4 v6e:2x2] [--unroll 1 0] [--steps albert_base ...] [--output DIR]

Each step is that of a config as it stands, but for its batch: 32 rows of 128 tokens a device. Needs the extra `tpu`,
several GB of memory and minutes a case; a case that the output's tpu_steps.json has already, of the same commit and
versions, is not compiled again.
Writes tpu_steps.json and tpu_steps.md, and prints the table.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import series as kept
from benchmarks.circumstances import beginning, circumstances, told
from benchmarks.markdown import table as markdown_table
from benchmarks.series import Series
from train.errors import UserError
from train.machine.chips import parse_target
from train.plan.compiling import Compiled, compile_elsewhere

ROWS_PER_DEVICE = 32
FILE = "tpu_steps.json"
_LENGTH = 128
_PREDICTIONS = 20  # as published for rows of 128 tokens
_MIB = 2**20
_LIMIT_SECONDS = 3600.0
_HERE = ("platform", "device", "device_count")
# What the teacher computes does not depend on where its numbers are from.
_OWN_TEACHER = ("teacher=random", "student.init=random", "losses.cosine=0")


@dataclasses.dataclass(frozen=True)
class RealStep:
    """A step that users run: a job, its config, and what of it a machine without checkpoints cannot have."""

    name: str
    job: str
    config: str
    changes: tuple[str, ...] = ()

    def argv(self, devices: int, unroll: int) -> list[str]:
        """The command line's words: 32 rows of 128 tokens a device, a vocabulary of 30,000 made on the spot."""
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
    "distilbert_base": RealStep("DistilBERT from BERT-base", "distill", "configs/distilbert_base.py", _OWN_TEACHER),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One case and what came of it: what the compiler says, or why it said nothing."""

    step: str
    target: str
    unroll: int
    started: str
    load_before: float
    outcome: Compiled | str

    @property
    def case(self) -> tuple[str, str, int]:
        """What tells it from other rows."""
        return self.step, self.target, self.unroll


def compile_case(step: str, target_name: str, unroll: int) -> Row:
    """Compiles a step of `STEPS` for a target; `unroll` layers in one iteration of the scan, all of them if 0."""
    target = parse_target(target_name)
    real, began = STEPS[step], beginning()
    outcome = compile_elsewhere(real.job, real.argv(target.devices, unroll), target, _LIMIT_SECONDS)
    return Row(step, target_name, unroll, **began, outcome=outcome)


def _circumstances() -> dict[str, Any]:
    """What compiling depends on: the devices that are here do not matter."""
    return {name: value for name, value in circumstances().items() if name not in _HERE}


_COLUMNS: Mapping[str, Callable[[Compiled], str]] = {
    "lower and compile (s)": lambda found: f"{found.seconds:.0f}",
    "program (MiB)": lambda found: f"{found.memory['program'] / _MIB:.1f}",
    "arguments (MiB)": lambda found: f"{found.memory['arguments'] / _MIB:.0f}",
    "temporaries (MiB)": lambda found: f"{found.memory['temporaries'] / _MIB:.0f}",
    "collectives": lambda found: ", ".join(f"{count} {kind}" for kind, count in found.num_collectives.items()),
    "their results (MiB)": lambda found: f"{sum(found.collectives.values()) / _MIB:.0f}",
}


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown. Memory is that of one device; collectives are those of one step."""
    heads = ["step", "target", "layers", *_COLUMNS, "load before"]
    lines: list[list[str]] = []
    for row in sorted(rows, key=lambda row: (list(STEPS).index(row.step), row.target, row.unroll != 1)):
        if isinstance(row.outcome, Compiled):
            columns = [cell(row.outcome) for cell in _COLUMNS.values()]
        else:
            columns = [row.outcome, *[""] * (len(_COLUMNS) - 1)]
        lines.append([STEPS[row.step].name, row.target, _layers(row.unroll), *columns, f"{row.load_before:.2f}"])
    return markdown_table(heads, lines)


def _layers(unroll: int) -> str:
    return {0: "unrolled", 1: "scanned"}.get(unroll, f"scanned, {unroll} at a time")


def row_of(record: Mapping[str, Any]) -> Row:
    """A case and what came of it from their record."""
    outcome = record["outcome"]
    return Row(**{**record, "outcome": outcome if isinstance(outcome, str) else Compiled(**outcome)})


def write(folder: Path, known: Sequence[Series[Row]]) -> None:
    """Writes all series, and the table of the last one."""
    kept.write(folder / FILE, known)
    heading = f"Whole steps, {ROWS_PER_DEVICE} rows of {_LENGTH} tokens a device, compiled on a machine without TPU.\n"
    text = f"{heading}\n{told(known[-1].circumstances)}.\n\n{table(known[-1].rows)}\n"
    (folder / "tpu_steps.md").write_text(text, encoding="utf-8")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu_steps", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--targets", nargs="+", default=["v5e:2x4", "v6e:2x2"], help="slices, or devices as 8xcpu")
    parser.add_argument("--unroll", nargs="+", type=int, default=[1, 0], help="layers per scan iteration, 0 for all")
    parser.add_argument("--output", type=Path, default=Path("runs/tpu_steps"), help="folder of the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles every combination that the command line names, and writes what came out after each."""
    given = _arguments(argv)
    try:
        known = kept.read(given.output / FILE, row_of)
    except UserError as error:
        print(f"tpu_steps: {error}", file=sys.stderr)
        return error.status
    series = kept.series_of(known, _circumstances())
    for unroll, target, step in itertools.product(given.unroll, given.targets, given.steps):
        if any(row.case == (step, target, unroll) and isinstance(row.outcome, Compiled) for row in series.rows):
            continue
        row = compile_case(step, target, unroll)
        series.put(row, lambda one: one.case)
        write(given.output, known)
        said = row.outcome if isinstance(row.outcome, str) else f"{row.outcome.seconds:.0f} s"
        print(f"{step}, {target}, {_layers(unroll)}: {said}", file=sys.stderr, flush=True)
    print(table(series.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
