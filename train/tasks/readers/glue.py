"""Reads GLUE, nine tasks and a diagnostic set, from the benchmark's files or from `tfds:glue`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.data.sources.tfds import read_examples, text_of
from train.errors import UserError
from train.options.schema import nearest
from train.tasks.examples import TaskData, TextExample
from train.tasks.readers.folders import find_file, require_file, single_file, source_directory
from train.tasks.readers.glue_table import GLUE, GlueTask
from train.tasks.readers.label_names import label_index, parse_number
from train.tasks.readers.lines import read_all
from train.tasks.readers.tables import Row, missing_column_error, tsv_rows

# Files of Microsoft's archive of MRPC, from which GLUE's were made; it has no dev set.
_MSR = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
_TFDS_SETS = {"dev": "validation", "matched": "validation_matched", "mismatched": "validation_mismatched"}
_TFDS_TESTS = {"test": "test", "matched": "test_matched", "mismatched": "test_mismatched"}


def read_glue(task: str, source: str, *, tfds_dir: str | None = None, training: bool = True) -> TaskData:
    """Reads a task of GLUE (Wang et al. 2019, arXiv:1804.07461).

    For MRPC, the two files of Microsoft's archive are also accepted; the evaluation set is then the archive's test set,
    as a note states. A missing or unknown label is an error, and so is a row with the wrong number of fields, except in
    QQP, whose files have some that every reader skips; a note counts them.

    Args:
        task: a key of `GLUE`.
        source: `files:DIR` with the folder of the task, or its parent, or `tfds:glue/NAME`.
        tfds_dir: directory of the prepared tfds data sets; the default of tfds if None.
        training: whether a training set is required; if not, the evaluation file suffices, in its directory or by
            itself (`files:FILE`).

    Returns:
        The examples. Ids are the numbers of the rows, as in submissions. `test` is empty if there is no test file.

    Raises:
        UserError: if the task or source is unknown, a file or column is missing, or a row is invalid.
    """
    if task not in GLUE:
        raise UserError(f"GLUE has no task {task!r}{nearest(task, GLUE)}. Its tasks: {', '.join(GLUE)}.")
    if source.startswith("tfds:"):
        return _read_tfds(GLUE[task], source.removeprefix("tfds:"), tfds_dir)
    usage = f"'files:DIR' with the files of GLUE's archive in DIR or DIR/{GLUE[task].folder}, or 'tfds:glue/{task}'"
    if not training and (alone := single_file(source)):
        name = next((name for name, file in GLUE[task].evaluation.items() if file == alone.name), "dev")
        notes: list[str] = []
        return _task_data(GLUE[task], [], {name: _labeled(GLUE[task], alone, notes)}, {}, notes)
    folder = source_directory(source, usage)
    inner = folder / GLUE[task].folder
    return _read_files(GLUE[task], (inner if inner.is_dir() else folder,), training)


def _read_files(task: GlueTask, folders: tuple[Path, ...], training: bool) -> TaskData:
    has_train = find_file(folders, ["train.tsv"]) is not None
    held_out = {name: file for name, file in task.evaluation.items() if find_file(folders, [file])}
    is_msr = task is GLUE["mrpc"] and not has_train and (training or not held_out)
    if is_msr and find_file(folders, [_MSR["train" if training else "test"]]):
        return _read_msr(task, folders, training)
    notes: list[str] = []
    train: list[TextExample] = []
    if task.evaluation and (training or has_train):
        train = _labeled(task, require_file(folders, ["train.tsv"], f"training file of {task.folder}"), notes)
    evaluation = {
        name: _labeled(task, require_file(folders, [file], f"{name} file of {task.folder}"), notes)
        for name, file in (task.evaluation if training or not held_out else held_out).items()
    }
    tests = {name: find_file(folders, [file]) for name, file in task.test.items()}
    test = {name: _unlabeled(task, path) for name, path in tests.items() if path}
    if not evaluation and not test:
        require_file(folders, task.test.values(), f"file of {task.folder}")
    return _task_data(task, train, evaluation, test, notes)


def _read_msr(task: GlueTask, folders: tuple[Path, ...], training: bool) -> TaskData:
    train, dev = (
        _labeled(task, require_file(folders, [name], f"{split} file of MRPC"), [])
        if training or find_file(folders, [name])
        else []
        for split, name in _MSR.items()
    )
    note = (
        f"MRPC is read from Microsoft's files, which have no dev set: the evaluation set is {_MSR['test']}, GLUE's "
        "test set. Do not compare these scores with published scores on the dev set."
    )
    return _task_data(task, train, {"dev": dev}, {}, [note])


def _labeled(task: GlueTask, path: Path, notes: list[str]) -> list[TextExample]:
    bad: list[int] = []
    rows = tsv_rows(path, task.columns, on_bad_row=bad.append if task.bad_rows else None)
    examples = read_all(
        enumerate(rows), lambda numbered: _example(task, str(numbered[0]), numbered[1], numbered[1].value(task.label))
    )
    if bad:
        notes.append(f"{path} has {len(bad)} row(s) with a wrong number of fields, line {bad[0]} first: skipped.")
    return examples


def _unlabeled(task: GlueTask, path: Path) -> list[TextExample]:
    return read_all(tsv_rows(path), lambda row: _example(task, row.name(task.index), row, None))


def _example(task: GlueTask, identifier: str, row: Row, written: Any) -> TextExample:
    # The files of the benchmark have some empty texts.
    texts = tuple(row.text(column, may_be_empty=True) for column in task.texts)
    label = None if written is None else _label(task, str(written).strip(), row.location)
    return TextExample(id=identifier, texts=texts, label=label)


def _label(task: GlueTask, written: str, location: str) -> int | float:
    if task.problem == "regression":
        return _on_scale(task, parse_number(written, location), location)
    return label_index(written, task.written, location, f"The labels of {task.folder}")


def _on_scale(task: GlueTask, number: float, location: str) -> float:
    least, largest = task.scale
    if not least <= number <= largest:
        raise UserError(f"{location}: {number:g} is not within the scale of {task.folder}, {least:g} to {largest:g}.")
    return number


def _read_tfds(task: GlueTask, name: str, data_dir: str | None) -> TaskData:
    sets = {"train": "train"} if task.evaluation else {}
    read = {split: _tfds_examples(task, name, tfds_split, data_dir) for split, tfds_split in sets.items()}
    evaluation = {split: _tfds_examples(task, name, _TFDS_SETS[split], data_dir) for split in task.evaluation}
    test = {split: _tfds_examples(task, name, _TFDS_TESTS[split], data_dir) for split in task.test}
    for split, examples in {**read, **evaluation, **({} if evaluation else test)}.items():
        if not examples:
            raise UserError(f"tfds:{name} has no example of the {split} set of {task.folder}. Prepare it again.")
    return _task_data(task, read.get("train", []), evaluation, {key: value for key, value in test.items() if value})


def _tfds_examples(task: GlueTask, name: str, split: str, data_dir: str | None) -> list[TextExample]:
    return [
        _tfds_example(task, example, f"tfds:{name}:{split}, example {number}")
        for number, example in enumerate(read_examples(name, split, data_dir) or ())
    ]


def _tfds_example(task: GlueTask, example: dict[str, Any], location: str) -> TextExample:
    columns = (*(task.tfds_texts or task.texts), "label", "idx")
    if missing := [column for column in columns if column not in example]:
        raise missing_column_error(missing[0], list(example), location)
    texts = tuple(text_of(example[column], location) for column in columns[:-2])
    return TextExample(id=str(example["idx"]), texts=texts, label=_tfds_label(task, example["label"], location))


def _tfds_label(task: GlueTask, label: Any, location: str) -> int | float | None:
    if label == -1:  # an unlabeled test set
        return None
    if task.problem == "regression":
        return _on_scale(task, parse_number(label, location), location)
    if label not in range(len(task.labels)):
        raise UserError(f"{location}: {task.folder} has no label {label}, only 0 to {len(task.labels) - 1}.")
    return int(label)


def _task_data(
    task: GlueTask,
    train: list[TextExample],
    evaluation: dict[str, list[TextExample]],
    test: dict[str, list[TextExample]],
    notes: Sequence[str] = (),
) -> TaskData:
    return TaskData(
        kind="classification",
        train=train,
        evaluation={**evaluation},
        test={**test},
        labels=task.labels,
        problem=task.problem,
        notes=tuple(notes),
    )
