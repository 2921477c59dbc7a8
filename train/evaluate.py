"""Scores a checkpoint, or a file of predictions, on a task's held-out sets.

    python -m train.evaluate --config configs/squad.py:v2 --config.data.source=files:DIR --config.checkpoint=SOURCE
    python -m train.evaluate --config configs/squad.py:v2 --config.data.source=files:DIR --config.predictions=FILE

Takes a fine-tuning config and two more options. Writes one JSON line to standard output and messages to standard
error. All of the data is scored, whether it is a single file or a directory with only the held-out file. A checkpoint
is read with its own tokenizer.
"""

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.errors import UserError
from train.machine.files import to_json
from train.options import cli
from train.options.request import Request
from train.options.schema import Option
from train.options.task_tables import FINETUNE_OPTIONS

_SCORED = (
    Option(
        "checkpoint",
        "free",
        str | None,
        None,
        "model to score: directory, work directory (WORKDIR@best, @last, @STEP), hub id",
        is_path=True,
    ),
    Option("predictions", "free", str | None, None, "file of predictions to score instead", is_path=True),
)
EVALUATE_OPTIONS = {name: (*_SCORED, *options) for name, options in FINETUNE_OPTIONS.items()}


def run(request: Request) -> None:
    """Prints the scores of a checkpoint or of predictions.

    Raises:
        UserError: if neither or both are given, or they do not fit the task's data.
    """
    print(to_json(evaluate(request.values, request.overrides)), flush=True)


def evaluate(values: Mapping[str, Any], given: Collection[str] = ()) -> dict[str, Any]:
    """Returns the metrics of each held-out set, the baseline's, and the numbers of examples.

    Args:
        values: options of a fine-tuning config, with "checkpoint" or "predictions".
        given: options from the command line. A single file is scored as a whole; if "data.eval_fraction" is given, only
            the fraction that training would hold out.

    Raises:
        UserError: as `run`.
    """
    from train.tasks.opening import open_data, prepare
    from train.tasks.readers.folders import single_file

    checkpoint, predictions = values["checkpoint"], values["predictions"]
    if (checkpoint is None) == (predictions is None):
        raise UserError("give one of --config.checkpoint=SOURCE and --config.predictions=FILE")
    # Rows are not checked against these models: they do not take part.
    values = {**values, "init_from": None, "teacher": None}
    if "data.eval_fraction" in values and "data.eval_fraction" not in given and single_file(values["data.source"]):
        values["data.eval_fraction"] = 1.0
    if predictions is not None:
        return _score_file(values, open_data(values, training=False), Path(predictions))
    return _score_checkpoint(values, prepare(values, _log, training=False))


def _score_file(values: Mapping[str, Any], data: Any, path: Path) -> dict[str, Any]:
    """Scores predictions on the set that the file is named after, else on the first held-out one."""
    from train.tasks.examples import is_labeled
    from train.tasks.opening import scorer_of

    scorer = scorer_of(values, data)
    known = {name: examples for name, examples in data.test.items() if all(map(is_labeled, examples))}
    sets = {**known, **data.evaluation}
    named = {scorer.file_name(name, examples): name for name, examples in sets.items()}
    name = path.stem if path.stem in sets else named.get(path.name, next(iter(data.evaluation)))
    return {
        "predictions": str(path),
        "set": name,
        **_counts({str(name): sets[name]}, data.full_sizes),
        **scorer.score(sets[name], scorer.read(path, sets[name])).values,
    }


def _score_checkpoint(values: Mapping[str, Any], prepared: Any) -> dict[str, Any]:
    from flax import nnx

    from flax_lite.models.params import get_params
    from train.jobs.finetuning import summarize
    from train.options import runtime
    from train.tasks.kinds.task import load_trained_model
    from train.tasks.rows import run_rows

    task, source = prepared.task, values["checkpoint"]
    for line in task.describe_truncation():
        _log(line)
    cure = "Evaluate it on data with its labels"
    model = load_trained_model(source, task, runtime.execution(values), option="checkpoint", cure=cure)
    step = task.eval_step(nnx.graphdef(model))
    results = run_rows(step, get_params(model), prepared.held_out.rows, values["data.eval_tokens"])
    _check_numbers(source, results)
    if any(map(math.isnan, prepared.baseline.values.values())):
        for note in prepared.baseline.notes:
            _log(f"note: {note}")
    return {
        "checkpoint": source,
        **_counts(prepared.held_out.sets, task.data.full_sizes),
        **summarize(prepared, results),
        "baseline": dict(prepared.baseline.values),
    }


def _counts(sets: Mapping[str, Sequence[Any]], full_sizes: Mapping[str, int]) -> dict[str, int]:
    """Returns the number of examples of each set, and of the whole that it is part of, named as in `HeldOut.scores`."""
    counts = {}
    for number, (name, examples) in enumerate(sets.items()):
        prefix = f"{name}_" if number else ""
        counts[f"{prefix}examples"] = len(examples)
        if name in full_sizes:
            counts[f"{prefix}of_examples"] = full_sizes[name]
    return counts


def _check_numbers(source: str, results: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Raises UserError if outputs are not finite: their argmax would count as a prediction of the first label."""
    from train.tasks.rows import count_not_finite

    bad, rows = count_not_finite(results)
    if bad:
        raise UserError(
            f"checkpoint={source} returns NaN or infinity for {bad} of {rows} rows, so there is nothing to score: its "
            "training diverged, or its weights were damaged. Try an earlier checkpoint"
        )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(cli.main("evaluate", EVALUATE_OPTIONS, run, help_config="configs/glue.py:sst2"))
