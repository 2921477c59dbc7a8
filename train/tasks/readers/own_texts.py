"""A user's own texts with labels, as TSV, CSV or JSON lines."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from train.data.sources.corpus import hash_share
from train.errors import UserError
from train.tasks.examples import Problem, TaskData, TextExample
from train.tasks.readers.label_names import index_of, name_of, number_of, sorted_labels
from train.tasks.readers.tables import Row, read_rows


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """How a user's files are read.

    Attributes:
        text: column of the text.
        text_pair: column of a second text, if there is one.
        label: column of the label.
        id: column of an id; the row's number, from 0, if None.
        header: the names of the columns of files that have no header line.
        separator: between the labels of a text, where there may be several and they stand in one field.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    id: str | None = None
    header: tuple[str, ...] = ()
    separator: str = ","


def read_classify(
    train: str | Path | None,
    *,
    evaluation: str | Path | None = None,
    evaluation_fraction: float = 0.0,
    test: str | Path | None = None,
    columns: Columns | None = None,
    problem: Problem = "single_label",
    labels: Sequence[str] = (),
) -> TaskData:
    """Reads a user's own task. The formats are those of `tables.read_rows`.

    Args:
        train: the file to learn from; None where there is an evaluation file alone.
        evaluation: the file to evaluate on.
        evaluation_fraction: share of the rows of `train` to hold out where there is no such file: those whose texts'
            hash falls below it, so that equal texts stay together and adding rows moves none.
        test: a file to predict; its label column may be missing or empty.
        columns: where texts and labels stand.
        problem: one label of several; any number of them (a list in JSON, else names between separators; none is an
            empty field); or a number.
        labels: their names in the order of their indices; those found in `train`, or in `evaluation` where that is
            alone, sorted (by value where all are numbers), if none are given.

    Returns:
        Its examples; the only evaluation set is "dev".

    Raises:
        UserError: with file and line, for a missing column, an empty text, a label that is missing, no number or
            unknown, a doubled id, or a line that cannot be read; for less than two labels; for no way to evaluate.
    """
    columns = columns or Columns()
    _check_request(evaluation, evaluation_fraction, problem, labels)
    rows = list(read_rows(Path(train).expanduser(), columns.header)) if train is not None else []
    alone = list(read_rows(Path(evaluation).expanduser(), columns.header)) if evaluation and train is None else []
    names = _names(rows or alone, columns, problem, labels, train or evaluation)
    known_from = "The labels given are" if labels else f"The labels of {train or evaluation} are"

    def examples(rows: Iterable[Row], *, labelled: bool = True) -> list[TextExample]:
        return _examples(rows, columns, problem, names, known_from, labelled=labelled)

    learned = examples(rows)
    if evaluation is not None:
        held_out = examples(alone or read_rows(Path(evaluation).expanduser(), columns.header))
    else:
        shares = [hash_share(example.texts) < evaluation_fraction for example in learned]
        held_out = [example for example, held in zip(learned, shares, strict=True) if held]
        learned = [example for example, held in zip(learned, shares, strict=True) if not held]
        if not held_out or not learned:
            raise UserError(
                f"A share of {evaluation_fraction} of the {len(rows)} rows of {train} leaves {len(learned)} to learn "
                f"from and {len(held_out)} to evaluate on. Change the share, or give an evaluation file."
            )
    return TaskData(
        kind="classification",
        train=learned,
        evaluation={"dev": held_out},
        test={"test": examples(read_rows(Path(test).expanduser(), columns.header), labelled=False)} if test else {},
        labels=names,
        problem=problem,
    )


def _check_request(evaluation: object, fraction: float, problem: Problem, labels: Sequence[str]) -> None:
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"The share to evaluate on is {fraction}, expected 0 or more and less than 1.")
    if evaluation is None and not fraction:
        raise UserError("There is nothing to evaluate on: give an evaluation file, or a share of the training file.")
    if evaluation is not None and fraction:
        raise UserError("Both an evaluation file and a share of the training file are given to evaluate on: give one.")
    if problem == "regression" and len(labels) > 1:
        raise UserError(f"A number is predicted, so there is one label, got {len(labels)}: {', '.join(labels)}.")
    if len(set(labels)) < len(labels):
        raise UserError(f"A label is given twice: {', '.join(labels)}.")


def _names(
    rows: Iterable[Row], columns: Columns, problem: Problem, labels: Sequence[str], train: object
) -> tuple[str, ...]:
    if problem == "regression":
        return tuple(labels) or (columns.label,)
    names = tuple(labels) or sorted_labels(
        name for row in rows for name in _label_names(row, columns, multiple=problem == "multi_label")
    )
    if len(names) < 2:
        raise UserError(
            f"Expected at least two labels, got {', '.join(map(repr, names)) or 'none'}. Check column "
            f"{columns.label!r} of {train}."
        )
    return names


def _examples(
    rows: Iterable[Row],
    columns: Columns,
    problem: Problem,
    names: Sequence[str],
    known_from: str,
    *,
    labelled: bool,
) -> list[TextExample]:
    examples: dict[str, TextExample] = {}
    for number, row in enumerate(rows):
        texts = tuple(row.text(column) for column in (columns.text, columns.text_pair) if column is not None)
        identifier = str(number) if columns.id is None else name_of(row.value(columns.id))
        if identifier in examples:
            raise UserError(f"{row.place}: the id {identifier!r} is there twice. Each row needs its own.")
        known = labelled or row.fields.get(columns.label) not in (None, "")
        label = _label(row, columns, problem, names, known_from) if known else None
        examples[identifier] = TextExample(id=identifier, texts=texts, label=label)
    return list(examples.values())


def _label(
    row: Row, columns: Columns, problem: Problem, names: Sequence[str], known_from: str
) -> int | float | tuple[float, ...]:
    if problem == "regression":
        return number_of(row.value(columns.label), row.place)
    found = _label_names(row, columns, multiple=problem == "multi_label")
    indices = [index_of(name, names, row.place, known_from) for name in found]
    return indices[0] if problem == "single_label" else tuple(float(n in indices) for n in range(len(names)))


def _label_names(row: Row, columns: Columns, *, multiple: bool) -> list[str]:
    written: Any = row.value(columns.label)
    if multiple:
        written = written.split(columns.separator) if isinstance(written, str) else written
        if not isinstance(written, list):
            raise UserError(f"{row.place}: column {columns.label!r} holds {written!r}, expected a list of labels.")
        return [name for name in map(name_of, written) if name]
    if isinstance(written, (list, dict)):
        raise UserError(f"{row.place}: column {columns.label!r} holds {written!r:.200}, expected one label.")
    if written is None or name_of(written) == "":
        raise UserError(f"{row.place}: the label in column {columns.label!r} is empty. Fill it in or remove the row.")
    return [name_of(written)]
