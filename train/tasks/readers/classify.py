"""A user's own texts with labels, as TSV, CSV or JSON lines."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from train.data.sources.corpus import hash_share
from train.errors import UserError
from train.tasks.examples import Problem, TaskData, TextExample
from train.tasks.readers.label_names import (
    KnownLabels,
    is_missing,
    label_index,
    label_name,
    looks_like_several,
    parse_list,
    parse_number,
    sorted_labels,
)
from train.tasks.readers.lines import read_all
from train.tasks.readers.tables import Row, missing_column_error, read_rows

# What a set to predict has for labels that are not known, in tfds and in Hugging Face's sets.
_UNKNOWN = ("-1", "-1.0")


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
        fields: between the fields of a row, as `tables.read_rows` takes it.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    id: str | None = None
    header: tuple[str, ...] = ()
    separator: str = ","
    fields: str = "auto"


def read_classify(
    train: str | Path | None,
    *,
    evaluation: str | Path | None = None,
    evaluation_fraction: float = 0.0,
    test: str | Path | None = None,
    columns: Columns | None = None,
    problem: Problem = "single_label",
    labels: Sequence[str] = (),
    known: KnownLabels | None = None,
) -> TaskData:
    """Reads a user's own task, in the formats of `tables.read_rows`; the only evaluation set is "dev".

    Args:
        train: the file to learn from; None where there is an evaluation file alone.
        evaluation: the file to evaluate on.
        evaluation_fraction: share of the rows of `train` to hold out where there is no such file.
        test: a file to predict; its label column may be missing or empty, or -1 where that is no label.
        columns: where texts and labels stand.
        problem: one label of several; any number of them (a list in JSON, else names between separators, or a list as
            Python writes it; none is an empty field); or a number.
        labels: their names in the order of their indices; those found in `train`, or in `evaluation` where that is
            alone, sorted (by value where all are numbers), if none are given.
        known: the labels of a model at hand, taken where none are given and those found are among them.

    Raises:
        UserError: with file and line, for a missing column, an empty text, a label that is missing, no number or
            unknown, a doubled id, or a line that cannot be read; for less than two labels; for no way to evaluate.
    """
    columns = columns or Columns()
    _check_request(evaluation, evaluation_fraction, problem, labels, columns)
    notes: list[str] = []
    source = train if train is not None else evaluation
    rows = _rows(Path(train), columns, notes) if train is not None else []
    alone = _rows(Path(evaluation), columns, notes) if evaluation is not None and train is None else []
    names, known_from = tuple(labels) or (columns.label,), "The labels given are"
    if problem != "regression":
        if not labels:
            found = _found(rows or alone, columns, problem, source)
            names, known_from = _names_of(found, known or KnownLabels(), source, notes)
        _check_names(names, columns, source)

    def examples(rows: Sequence[Row], *, labeled: bool = True) -> list[TextExample]:
        return _examples(rows, columns, problem, names, known_from, labeled=labeled)

    learned = examples(rows)
    if evaluation is not None:
        held_out = examples(alone or _rows(Path(evaluation), columns, notes))
    else:
        learned, held_out = _divided(learned, evaluation_fraction, train)
    return TaskData(
        kind="classification",
        train=learned,
        evaluation={"dev": held_out},
        test={"test": examples(_rows(Path(test), columns, notes), labeled=False)} if test else {},
        labels=names,
        problem=problem,
        full_sizes={"dev": len(rows)} if evaluation is None else {},
        notes=tuple(notes),
    )


def _names_of(
    found: Sequence[str], known: KnownLabels, source: object, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    """Labels where none are given, and how a message calls them."""
    names = tuple(known.choose(found))
    absent = [name for name in names if name not in found]
    if absent:
        notes.append(f"{source} has no example of {', '.join(absent)}, which {known.source} knows")
    return names, f"The labels of {known.source if absent else source} are"


def _check_names(names: Sequence[str], columns: Columns, source: object) -> None:
    if len(names) < 2:
        raise UserError(
            f"Expected at least two labels, got {', '.join(map(repr, names)) or 'none'}. Check column "
            f"{columns.label!r} of {source}; data.labels names labels that it lacks."
        )


def _divided(
    examples: Sequence[TextExample], share: float, source: object
) -> tuple[list[TextExample], list[TextExample]]:
    """Those to learn from, and those to hold out: equal texts stay together, and adding rows moves none."""
    held_out = [example for example in examples if hash_share(example.texts) < share]
    learned = [example for example in examples if hash_share(example.texts) >= share]
    if not held_out or not learned:
        raise UserError(
            f"A share of {share} of the {len(examples)} rows of {source} leaves {len(learned)} to learn from and "
            f"{len(held_out)} to evaluate on. Change the share, or give an evaluation file."
        )
    return learned, held_out


def _rows(path: Path, columns: Columns, notes: list[str]) -> list[Row]:
    rows = list(read_rows(path, columns.header, separator=columns.fields, notes=notes))
    if columns.text not in rows[0].fields:
        error = missing_column_error(columns.text, list(rows[0].fields), rows[0].place)
        raise type(error)(
            f"{error} A file without a header needs data.columns.header, the names of its columns; one whose fields "
            "are divided otherwise, data.separator."
        )
    return rows


def _check_request(
    evaluation: object, fraction: float, problem: Problem, labels: Sequence[str], columns: Columns
) -> None:
    if problem == "multi_label" and not columns.separator:
        raise UserError("data.label_separator is empty: give what stands between the labels of a text, as ',' or ';'.")
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


def _found(rows: Iterable[Row], columns: Columns, problem: Problem, train: object) -> tuple[str, ...]:
    """The labels that the rows have, sorted."""
    multiple = problem == "multi_label"
    lists = read_all(rows, lambda row: _label_names(row, columns, multiple=multiple))
    if multiple:
        _check_indicators(lists, columns, train)
    return sorted_labels(itertools.chain(*lists))


def _check_indicators(lists: Sequence[Sequence[str]], columns: Columns, train: object) -> None:
    """Refuses a 0 or 1 for each label, which would be taken for two labels named 0 and 1."""
    if {*itertools.chain(*lists)} <= {"0", "1", "0.0", "1.0"} and any(len(set(each)) < len(each) for each in lists):
        raise UserError(
            f"Column {columns.label!r} of {train} has a 0 or 1 for each label, expected the names of those that hold."
        )


def _examples(
    rows: Sequence[Row],
    columns: Columns,
    problem: Problem,
    names: Sequence[str],
    known_from: str,
    *,
    labeled: bool,
) -> list[TextExample]:
    seen: set[str] = set()
    # Among numbers one of -1 may be meant; if there is no other, none is.
    is_number = problem == "regression" and not all(_is_unknown(row.fields.get(columns.label)) for row in rows)

    def example(numbered: tuple[int, Row]) -> TextExample:
        number, row = numbered
        texts = tuple(row.text(column) for column in (columns.text, columns.text_pair) if column is not None)
        identifier = str(number) if columns.id is None else row.name(columns.id)
        if identifier in seen:
            raise UserError(f"{row.place}: the id {identifier!r} is there twice. Each row needs its own.")
        seen.add(identifier)
        written = row.fields.get(columns.label)
        known = labeled or not (is_missing(written) or (_is_unknown(written) and not is_number and "-1" not in names))
        label = _label(row, columns, problem, names, known_from) if known else None
        return TextExample(id=identifier, texts=texts, label=label)

    return read_all(enumerate(rows), example)


def _is_unknown(written: Any) -> bool:
    """Whether it is what a set that need have no labels has instead of one."""
    return is_missing(written) or (not isinstance(written, (list, dict)) and label_name(written) in _UNKNOWN)


def _label(
    row: Row, columns: Columns, problem: Problem, names: Sequence[str], known_from: str
) -> int | float | tuple[float, ...]:
    if problem == "regression":
        return parse_number(row.value(columns.label), row.place)
    found = _label_names(row, columns, multiple=problem == "multi_label")
    cure = " Others are given by --config.data.labels=..."
    indices = [label_index(name, names, row.place, known_from, cure) for name in found]
    return indices[0] if problem == "single_label" else tuple(float(n in indices) for n in range(len(names)))


def _label_names(row: Row, columns: Columns, *, multiple: bool) -> list[str]:
    written: Any = row.value(columns.label)
    if multiple:
        return _several(written, columns, row.place)
    if isinstance(written, (list, dict)) or (isinstance(written, str) and looks_like_several(written.strip())):
        raise UserError(
            f"{row.place}: column {columns.label!r} holds {written!r:.200}, expected one label. Texts with several "
            "need data.problem=multi_label."
        )
    if is_missing(written):
        raise UserError(f"{row.place}: the label in column {columns.label!r} is empty. Fill it in or remove the row.")
    return [label_name(written)]


def _several(written: Any, columns: Columns, place: str) -> list[str]:
    if isinstance(written, str):
        listed = parse_list(written, place)
        written = [name for name in written.split(columns.separator) if name.strip()] if listed is None else listed
    if not isinstance(written, list):
        raise UserError(f"{place}: column {columns.label!r} holds {written!r:.200}, expected a list of labels.")
    wrong = [each for each in written if is_missing(each) or isinstance(each, (list, dict))]
    if wrong:
        raise UserError(f"{place}: column {columns.label!r} has {wrong[0]!r:.200} in its list, expected a label.")
    return [label_name(name) for name in written]
