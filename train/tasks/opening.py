"""From a fine-tuning's leaves to a prepared task: which reader, which tokenizer, which kind of rows."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from train.errors import UserError
from train.tasks.examples import TaskData
from train.tasks.prepared import HeldOut, Prepared, limited, texts_of
from train.tasks.registry import TASKS
from train.tasks.scores.scoring import Scorer

Values = Mapping[str, Any]


def open_data(values: Values) -> TaskData:
    """Reads a task's examples.

    Raises:
        UserError: if there is no such task or source, or the data is not as its benchmark has it.
    """
    task, source = values["task"], values["data.source"]
    if task not in TASKS:
        raise UserError(f"there is no task {task}; there are {', '.join(TASKS)}")
    entry = TASKS[task]
    if source == "builtin":
        from train.tasks.builtin import builtin_task

        sizes = {"num_train": values["data.max_train_examples"], "num_evaluation": values["data.max_eval_examples"]}
        given = {name: size for name, size in sizes.items() if size is not None}
        data = builtin_task(entry.builtin, **given, **entry.options)
    else:
        scheme, colon, _ = source.partition(":")
        if not colon or scheme not in ("files", "tfds"):
            raise UserError(f"data.source={source} is none of builtin, files:PATH and tfds:NAME[/CONFIG]")
        data = entry.read(values)
    if entry.kind is not None:
        data = dataclasses.replace(data, kind=entry.kind)
    return limited(data, values["data.max_train_examples"], values["data.max_eval_examples"])


def scorer_of(values: Values, data: TaskData) -> Scorer:
    """How the task's predictions are scored; a built-in task that stands in for a benchmark's has none of its rules."""
    return Scorer(None if values["data.source"] == "builtin" else values["task"], data)


def prepare(values: Values, say: Callable[[str], None], *, training: bool = True) -> Prepared:
    """Makes a task ready.

    Args:
        values: the job's leaves.
        say: takes lines for a person.
        training: whether rows to learn from are wanted.

    Raises:
        UserError: as `open_data`, or if the tokenizer cannot be read, or rows cannot be cut as the leaves say.
    """
    data = open_data(values)
    task = TASKS[values["task"]].make(data, _tokenizer(values, data, say), values)
    scorer = scorer_of(values, data)
    return Prepared(
        task=task,
        train=task.rows(data.train if training else []),
        held_out=HeldOut.of(task, data.evaluation),
        test=HeldOut.of(task, data.test if training else {}),
        scorer=scorer,
        baseline=scorer.baseline(next(iter(data.evaluation.values()))),
    )


def _tokenizer(values: Values, data: TaskData, say: Callable[[str], None]) -> Any:
    from flax_lite.tokenization import load_tokenizer, parse_tokenizer_spec, train_tokenizer
    from train.jobs import build

    spec = build.tokenizer_spec(values)
    try:
        training = parse_tokenizer_spec(spec)
        if training is None:
            return load_tokenizer(spec)
        say(f"Training a {training.kind} tokenizer of {training.vocab_size} pieces on the training examples.")
        return train_tokenizer(texts_of(data.train), training.kind, training.vocab_size)
    except (ValueError, OSError) as error:
        raise UserError(f"tokenizer={spec}: {error}") from error
