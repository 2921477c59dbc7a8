"""What a fine-tuning says of its data before it starts, and of its result when it ends."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from train.job import Result
from train.language_model import say
from train.tasks.baseline import verdict
from train.tasks.predicting import run_rows
from train.tasks.prepared import Prepared
from train.tasks.submission import write_predictions
from train.workdir import WorkDir

_SHOWN = 5  # as many as fit a screen


def describe_data(prepared: Prepared) -> list[str]:
    """Sets, labels, lengths and the baseline, in a line each."""
    task = prepared.task
    counts = [f"{len(task.data.train):,} to learn from"]
    counts += [f"{len(examples):,} in {name}" for name, examples in prepared.held_out.sets.items()]
    lines = [f"examples: {', '.join(counts)}"]
    if task.data.labels and task.problem != "regression":
        shown = ", ".join(task.data.labels[:20]) + (", ..." if len(task.data.labels) > 20 else "")
        lines.append(f"labels: {shown}")
    if len(prepared.train):
        longest = max(row.length for row in prepared.train.rows)
        lines.append(f"rows: {len(prepared.train):,}, up to {longest} tokens; lengths {_lengths(prepared)}")
    if task.num_cut:
        lines.append(f"cut: {task.num_cut:,} texts are longer than {task.max_length} tokens and lose their end")
    guess = prepared.baseline
    lines.append(f"baseline: {guess.text}: {_scores(guess.scores)}")
    return lines


def finish(work: WorkDir, prepared: Prepared, structure: nnx.GraphDef, result: Result) -> dict[str, Any]:
    """Prints scores, verdict and examples, writes predictions; returns what summary.json keeps."""
    task, values = prepared.task, work.request.values
    step, tokens = task.eval_step(structure), values["data.eval_tokens"]
    folder = work.path / "predictions"
    folder.mkdir(exist_ok=True)
    for held_out in (prepared.held_out, prepared.test):
        if held_out.sets:
            results = run_rows(step, result.params, held_out.rows, tokens)
            predictions = held_out.predictions(task, results)
            for name, each in predictions.items():
                path = write_predictions(values["task"], task.data, name, held_out.sets[name], each, folder)
                say(f"predictions: {path}")
    say(f"held out, step {result.step}:")
    say(f"  {_scores({name: value for name, value in result.evaluation.items() if name != 'loss'})}")
    judged = verdict(prepared.baseline, result.evaluation, len(next(iter(prepared.held_out.sets.values()))))
    say(f"  {judged.text}")
    return {"baseline": dict(prepared.baseline.scores), "collapsed": judged.collapsed}


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _lengths(prepared: Prepared) -> str:
    counts = {
        length: int((prepared.train.bucket == index).sum()) for index, length in enumerate(prepared.train.lengths)
    }
    return ", ".join(f"{length}: {count:,}" for length, count in counts.items() if count)
