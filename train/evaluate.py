"""Scores a checkpoint, or predictions that were made before, on a task's held-out sets.

    python -m train.evaluate --config configs/squad.py:v2 --config.data.source=files:DIR --config.checkpoint=SOURCE
    python -m train.evaluate --config configs/squad.py:v2 --config.data.source=files:DIR --config.predictions=FILE

Takes a fine-tuning config and two options more, writes one JSON line to standard output, and what it does beside that
to standard error.
"""

import json
import sys
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.options import cli
from train.options.request import Request
from train.options.schema import Leaf
from train.options.task_leaves import FINETUNE_LEAVES

_OWN_LEAVES = (
    Leaf(
        "checkpoint",
        "free",
        str | None,
        "model to score: directory, work directory, WORKDIR@best, hub id",
        implied=True,
    ),
    Leaf("predictions", "free", str | None, "file of predictions to score instead", implied=True),
)
EVALUATE_LEAVES = {name: (*_OWN_LEAVES, *leaves) for name, leaves in FINETUNE_LEAVES.items()}


def run(request: Request) -> None:
    """Scores as requested.

    Raises:
        UserError: if neither or both are given, or they do not fit the task's data.
    """
    print(json.dumps(evaluate(request.values)), flush=True)


def evaluate(values: dict[str, Any]) -> dict[str, Any]:
    """The metrics of each held-out set, the baseline's beside them.

    Args:
        values: leaves of a fine-tuning config, with "checkpoint" or "predictions".

    Raises:
        UserError: as `run`.
    """
    from train.tasks.opening import open_data, prepare

    checkpoint, predictions = values["checkpoint"], values["predictions"]
    if (checkpoint is None) == (predictions is None):
        raise UserError("give one of --config.checkpoint=SOURCE and --config.predictions=FILE")
    if predictions is not None:
        return _score_file(values, open_data(values), Path(predictions))
    prepared = prepare({**values, "init_from": checkpoint}, _say, training=False)
    return _score_checkpoint(values, prepared)


def _score_file(values: dict[str, Any], data: Any, path: Path) -> dict[str, Any]:
    """Of several sets whose labels are known, the one that the file is named after, else the first held-out one."""
    from train.tasks.examples import is_labelled
    from train.tasks.opening import scorer_of

    scorer = scorer_of(values, data)
    known = {name: examples for name, examples in data.test.items() if all(map(is_labelled, examples))}
    sets = {**known, **data.evaluation}
    named = {scorer.file_name(name, examples): name for name, examples in sets.items()}
    name = path.stem if path.stem in sets else named.get(path.name, next(iter(data.evaluation)))
    return {
        "predictions": str(path),
        "set": name,
        **scorer.score(sets[name], scorer.read(path, sets[name])).values,
    }


def _score_checkpoint(values: dict[str, Any], prepared: Any) -> dict[str, Any]:
    from flax import nnx

    from flax_lite.models.params import get_params
    from train.jobs.finetuning import summarise
    from train.options import runtime
    from train.tasks.kinds.task import trained_model
    from train.tasks.rows import run_rows

    task, source = prepared.task, values["checkpoint"]
    for line in task.describe_cut():
        _say(line)
    cure = "Evaluate it on data with its labels"
    model = trained_model(source, task, runtime.execution(values), option="checkpoint", cure=cure)
    step = task.eval_step(nnx.graphdef(model))
    results = run_rows(step, get_params(model), prepared.held_out.rows, values["data.eval_tokens"])
    return {"checkpoint": source, **summarise(prepared, results), "baseline": dict(prepared.baseline.values)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(cli.main("evaluate", EVALUATE_LEAVES, run, help_config="configs/glue.py:sst2"))
