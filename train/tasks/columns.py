"""A user's own table of texts and labels."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.data.sources.corpus import hash_share
from train.errors import UserError
from train.tasks.examples import Problem, TaskData, TextExample
from train.tasks.tables import Record, first_file, read_table

_ENDINGS = (".tsv", ".csv", ".jsonl")
_SETS = {"train": ("train",), "dev": ("dev", "valid", "validation", "eval"), "test": ("test",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a table has what.

    Attributes:
        text: column of the text.
        text_pair: column of a second text, if there is one.
        label: column of the label.
        id: column of the id; the row's number without one.
        problem: what labels are.
        separator: what stands between the labels of a row that is no JSON list (multi_label).
    """

    text: str
    label: str
    text_pair: str | None = None
    id: str | None = None
    problem: Problem = "single_label"
    separator: str = ","


def read_columns(source: str, columns: Columns, eval_fraction: float) -> TaskData:
    """Reads a user's table.

    Args:
        source: files:FILE, of which a part is held out; or files:DIR with train and dev, and test if there is one, as
            .tsv, .csv or .jsonl.
        columns: what stands where.
        eval_fraction: the held-out part where there is no file of held-out examples, by a hash of the text.

    Raises:
        UserError: if a file, a column, a text or a label is missing or not what it should be.
    """
    sets = _records(Path(source.partition(":")[2]))
    test = sets.pop("test", [])
    if _has_labels(test, columns):
        sets["test"], test = test, []
    names = _label_names(sets["train"] or sets.get("dev", []), columns)
    examples = {name: [_example(*item, columns, names) for item in enumerate(each)] for name, each in sets.items()}
    train = examples.pop("train")
    if not examples:
        held = [hash_share(example.texts) < eval_fraction for example in train]
        examples["dev"] = [example for example, is_held in zip(train, held, strict=True) if is_held]
        train = [example for example, is_held in zip(train, held, strict=True) if not is_held]
        if not examples["dev"] or not train:
            raise UserError(
                f"data.eval_fraction={eval_fraction} leaves {len(train)} examples to learn from and "
                f"{len(examples['dev'])} to score: give another, or a file of held-out examples beside train"
            )
    return TaskData(
        kind="classification",
        train=train,
        evaluation=examples,
        test={"test": [_example(*item, columns, None) for item in enumerate(test)]} if test else {},
        labels=names,
        problem=columns.problem,
        metrics=("accuracy", "macro_f1") if columns.problem == "single_label" else (),
    )


def _records(path: Path) -> dict[str, list[Record]]:
    if path.is_file():
        found = {"train": path}
    elif path.is_dir():
        found = {
            name: file
            for name, stems in _SETS.items()
            if (file := first_file(path, tuple(f"{stem}{ending}" for stem in stems for ending in _ENDINGS)))
        }
    else:
        raise UserError(f"data.source=files:{path} is neither a file nor a directory")
    if not found.keys() & {"train", "dev"}:
        raise UserError(f"{path} has no train or dev file, each as one of {', '.join(_ENDINGS)}")
    sets = {"train": [], **{name: list(read_table(file)) for name, file in found.items()}}
    empty = [str(found[name]) for name, records in sets.items() if name in found and not records]
    if empty:
        raise UserError(f"{empty[0]} has no rows")
    return sets


def _has_labels(records: Sequence[Record], columns: Columns) -> bool:
    return bool(records) and columns.label in records[0].values


def _label_names(records: Sequence[Record], columns: Columns) -> tuple[str, ...]:
    """The labels found, in order: by value where all of them are numbers."""
    if columns.problem == "regression":
        return (columns.label,)
    found = {name for record in records for name in _labels_of(record, columns)}
    if len(found) < 2:
        raise UserError(
            f"column {columns.label!r} holds {'one label' if found else 'no label'} alone, expected several"
        )
    numbers = {name: number for name in found if (number := _number(name)) is not None}
    return tuple(sorted(found, key=numbers.__getitem__) if len(numbers) == len(found) else sorted(found))


def _labels_of(record: Record, columns: Columns) -> list[str]:
    value = record.get(columns.label)
    if columns.problem == "multi_label":
        if isinstance(value, list):
            return [str(each) for each in value]
        return [part.strip() for part in str(value).split(columns.separator) if part.strip()]
    if value is None or isinstance(value, (list, dict)) or not str(value).strip():
        raise UserError(f"{record.where}: column {columns.label!r} holds {value!r}, expected a label")
    return [str(value)]


def _example(number: int, record: Record, columns: Columns, names: tuple[str, ...] | None) -> TextExample:
    texts = tuple(record.text(column) for column in (columns.text, columns.text_pair) if column)
    name = str(record.get(columns.id)) if columns.id else str(number)
    return TextExample(id=name, texts=texts, label=None if names is None else _label(record, columns, names))


def _label(record: Record, columns: Columns, names: tuple[str, ...]) -> Any:
    if columns.problem == "regression":
        number = _number(record.get(columns.label))
        if number is None:
            raise UserError(f"{record.where}: column {columns.label!r} holds {record.get(columns.label)!r}, no number")
        return number
    given = _labels_of(record, columns)
    unknown = [label for label in given if label not in names]
    if unknown:
        raise UserError(
            f"{record.where}: the label {unknown[0]!r} does not occur in training; there are {', '.join(names)}"
        )
    return names.index(given[0]) if columns.problem == "single_label" else tuple(float(n in given) for n in names)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
