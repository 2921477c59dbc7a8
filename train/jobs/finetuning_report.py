"""The report of a fine-tuning: its data at the start, its scores and predictions at the end."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flax import nnx

from flax_lite.exporting.hub_upload import check_upload, push_to_hub
from flax_lite.tokenization import Tokenizer
from train.data.unknown import count_ids, describe_unknown, unknown_notes, unknown_share
from train.errors import RunError, UserError
from train.jobs.language_model import log
from train.machine.files import write_json
from train.run.delivery import optional
from train.run.job import Result
from train.run.metrics import read_metrics
from train.run.plots import draw_confusion_matrix
from train.run.workdir import WorkDir
from train.tasks.examples import Prediction, TaskData, TextExample, is_labeled
from train.tasks.opening import ExampleSets, Prepared
from train.tasks.rows import Row, count_not_finite, run_rows
from train.tasks.scores.diagnosis import Curve, ReferenceLosses, diagnose, reference_losses
from train.tasks.scores.metrics import Scores, format_scores
from train.tasks.scores.report import class_report

_SHOWN_CLASSES = 10  # in the output; report.json has all


@dataclasses.dataclass(frozen=True)
class _Scored:
    """The predictions of a labeled set, and their scores."""

    examples: Sequence[Any]
    predictions: Sequence[Prediction]
    scores: Scores


def describe_data(prepared: Prepared) -> list[str]:
    """Returns lines about sets, labels, lengths and the baseline."""
    task = prepared.task
    sizes = {"in training": len(task.data.train)}
    sizes |= {f"in {name}": len(examples) for name, examples in prepared.held_out.sets.items()}
    lines = [f"examples: {', '.join(f'{size:,} {name}' for name, size in sizes.items())}"]
    unknown = dict(zip(sizes, _unknown_fractions(prepared), strict=True))
    lines.append(f"tokens: {', '.join(f'{name} {describe_unknown(share)}' for name, share in unknown.items())}")
    if task.data.labels and task.problem != "regression":
        names = ", ".join(task.data.labels[:20]) + (", ..." if len(task.data.labels) > 20 else "")
        lines.append(f"labels: {names}")
    if len(prepared.train):
        longest = max(row.length for row in prepared.train.rows)
        lines.append(f"rows: {len(prepared.train):,}, up to {longest} tokens; lengths {_lengths(prepared)}")
    lines += task.describe_truncation()
    lines.append(f"guessing: {format_scores(prepared.baseline.values)}")
    lines += unknown_notes({f"texts {name}": share for name, share in unknown.items()})
    is_undefined = math.isnan(prepared.baseline.values[prepared.scorer.reported.headline])
    notes = (*(prepared.baseline.notes if is_undefined else ()), *task.data.notes)
    return [*lines, *_constant_label(prepared), *(f"note: {note}" for note in notes)]


def unknown_share_of(rows: Sequence[Row], tokenizer: Tokenizer) -> float:
    """Returns the fraction of unknown tokens in the rows."""
    return unknown_share(count_ids((tokens for row in rows for tokens in row.tokens), tokenizer.vocab_size), tokenizer)


def _unknown_fractions(prepared: Prepared) -> Iterator[float]:
    """Yields the fraction of unknown tokens in the training rows, then in each held-out set."""
    tokenizer, ends = prepared.task.tokenizer, list(itertools.accumulate(map(len, prepared.held_out.sets.values())))
    yield unknown_share_of(prepared.train.rows, tokenizer)
    for first, end in zip((0, *ends), ends, strict=False):
        yield unknown_share_of([row for row in prepared.held_out.rows.rows if first <= row.example < end], tokenizer)


def _constant_label(prepared: Prepared) -> list[str]:
    """Returns a note if all training examples have the same label."""
    data = prepared.task.data
    found = [str(example.label) for example in data.train if isinstance(example, TextExample)]
    if data.kind != "classification" or len(set(found)) != 1:
        return []
    name = data.labels[int(found[0])] if data.problem == "single_label" else found[0]
    return [f"note: all {len(found):,} training examples have the same label, {name}: there is nothing to learn"]


def finish(work: WorkDir, prepared: Prepared, structure: nnx.GraphDef, result: Result) -> dict[str, Any]:
    """Prints scores and verdict, writes predictions and report; returns the entries of summary.json."""
    held_out, test = (_predict(work, prepared, sets, structure, result) for sets in (prepared.held_out, prepared.test))
    if test and not work.request.values["score_test"]:
        log(f"{', '.join(test)}: predicted, not scored (score_test=true, or train.evaluate, does that)")
        test = {}
    found, tested = ({name: each.scores for name, each in sets.items()} for sets in (held_out, test))
    log(f"held out, step {result.step}:")
    log(f"  {format_scores({name: value for name, value in result.evaluation.items() if name != 'loss'})}")
    for name, scores in tested.items():
        log(f"  {name}: {format_scores(scores.values)}")
    for note in (note for scores in (*found.values(), *tested.values()) for note in scores.notes):
        log(f"  note: {note}")
    for line in _write_report(work, prepared.task.data, result.step, {**held_out, **test}):
        log(f"  {line}")
    collapsed, message = _judge(work, prepared, held_out.get(next(iter(prepared.held_out.sets))))
    log(f"  {message}")
    repository = work.request.values["push_to_hub"]
    if repository is not None:
        log(f"uploaded: {_uploaded(result, repository)}")
    more = {"test": {name: dict(scores.values) for name, scores in tested.items()}} if tested else {}
    return {"baseline": dict(prepared.baseline.values), "collapsed": collapsed, **more}


def _judge(work: WorkDir, prepared: Prepared, first: "_Scored | None") -> tuple[bool, str]:
    """Returns whether the model is no better than guessing on the first held-out set, and the verdict in words."""
    scores = Scores(dict.fromkeys(prepared.baseline.values, math.nan)) if first is None else first.scores
    predictions = [] if first is None else first.predictions
    judged = prepared.scorer.judge(scores, prepared.baseline, prepared.primary_examples, predictions)
    if not judged.guessing:
        return False, judged.message
    curve = Curve.of(read_metrics(work.metrics))
    return True, f"{judged.message}. {diagnose(curve, _reference_losses(work, prepared))}".rstrip()


def _reference_losses(work: WorkDir, prepared: Prepared) -> ReferenceLosses | None:
    """Returns the losses to compare the curve with; None if the training loss is not only that of the labels."""
    values, task = work.request.values, prepared.task
    if values["teacher"] is not None or values["losses.task"] != 1.0 or not len(prepared.train):
        return None
    num_classes = len(prepared.train.rows[0].tokens) if task.kind == "choices" else len(task.data.labels)
    weights = values.get("class_weights", "equal")
    if not isinstance(weights, str):  # the loss of a constant prediction depends on them
        return None
    return reference_losses(task.kind, task.problem, prepared.train.rows, num_classes, balanced=weights == "balanced")


def _write_report(work: WorkDir, data: TaskData, step: int, scored: "Mapping[str, _Scored]") -> list[str]:
    """Writes report.json and confusion_matrix.png, if the task has classes; returns lines about the first set."""
    sets = {name: class_report(data, each.examples, each.predictions) for name, each in scored.items()}
    sets = {name: report for name, report in sets.items() if report}
    if not sets:
        return []
    path = work.path / "report.json"
    write_json(path, {"step": step, "sets": sets})
    name, first = next(iter(sets.items()))
    lines = [
        f"{label}: precision {each['precision']:.4f}, recall {each['recall']:.4f}, f1 {each['f1']:.4f} of "
        f"{each['support']:,}"
        for label, each in itertools.islice(first.get("classes", {}).items(), _SHOWN_CLASSES)
    ]
    if "calibration" in first:
        lines.append(f"expected calibration error: {first['calibration']['expected_calibration_error']:.4f}")
    written = [work.address(path)]
    if "confusion_matrix" in first and work.request.values["plot"]:
        with optional("the confusion matrix", log):
            target = work.path / "confusion_matrix.png"
            title = f"{work.request.workdir.name}, {name}"
            draw_confusion_matrix(first["confusion_matrix"], data.labels, target, title)
            written.append(work.address(target))
    return [*lines, f"report: {', '.join(map(str, written))}"]


def check_push(values: Mapping[str, Any]) -> None:
    """Raises UserError if push_to_hub names no repository, there is no token, or there are several seeds."""
    repository = values["push_to_hub"]
    if repository is None:
        return
    if values["seeds"] > 1:
        raise UserError(
            f"push_to_hub={repository}: {values['seeds']} seeds make as many models, and a repository has one. "
            "Leave it out, and upload the best model with flax_lite.exporting.hub_upload.push_to_hub"
        )
    try:
        check_upload(repository)
    except ValueError as error:
        raise UserError(f"push_to_hub={repository}: {error}") from error


def _uploaded(result: Result, repository: str) -> str:
    try:
        return push_to_hub(result.model, repository)
    except ValueError as error:
        raise RunError(f"the model is in {result.address}, but push_to_hub={repository}: {error}") from error


def _predict(
    work: WorkDir, prepared: Prepared, held_out: ExampleSets, structure: nnx.GraphDef, result: Result
) -> dict[str, _Scored]:
    """Writes the predictions of every set; returns the scored predictions of those that have labels."""
    if not held_out.sets:
        return {}
    task, folder = prepared.task, work.path / "predictions"
    folder.mkdir(exist_ok=True)
    tokens = work.request.values["data.eval_tokens"]
    results = run_rows(task.eval_step(structure), result.params, held_out.rows, tokens)
    bad, rows = count_not_finite(results)
    if bad:
        log(f"no predictions for {', '.join(held_out.sets)}: NaN or infinity for {bad} of {rows} rows")
        return {}
    predictions = held_out.predictions(task, results)
    scores = {}
    for name, examples in held_out.sets.items():
        log(f"predictions: {work.address(prepared.scorer.write(name, examples, predictions[name], folder))}")
        if all(is_labeled(example) for example in examples):
            scores[name] = _Scored(examples, predictions[name], prepared.scorer.score(examples, predictions[name]))
    return scores


def _lengths(prepared: Prepared) -> str:
    counts = {
        length: int((prepared.train.bucket == index).sum()) for index, length in enumerate(prepared.train.lengths)
    }
    return ", ".join(f"{length}: {count:,}" for length, count in counts.items() if count)
