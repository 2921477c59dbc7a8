"""Classification data of the user: labeled texts as TSV, CSV or JSON lines."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
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
from train.tasks.readers.lines import raise_errors, read_all
from train.tasks.readers.tables import Row, missing_column_error, read_rows

# The label of unlabeled examples in the test sets of tfds and Hugging Face.
_UNKNOWN = ("-1", "-1.0")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The columns of the files.

    Attributes:
        text: column of the text.
        text_pair: column of the second text; None if there is none.
        label: column of the label.
        id: column of the id; if None, the id is the number of the row, from 0.
        header: names of the columns of files without a header line.
        separator: separator of several labels in one field.
        fields: separator of the fields of a row, as in `tables.read_rows`.
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
    skip_invalid: bool = False,
) -> TaskData:
    """Reads classification data in the formats of `tables.read_rows`; the evaluation set is "dev".

    Args:
        train: the training file; None if there is only an evaluation file.
        evaluation: the evaluation file.
        evaluation_fraction: share of the rows of `train` to hold out if there is no evaluation file.
        test: the test file; its label column may be missing, empty, or -1 if that is not a label.
        columns: the columns of texts and labels.
        problem: the kind of label; for multi_label, a JSON list, names between separators, or Python's list.
        labels: names of the labels by index. If empty, they are the labels found in `train` (without it, in
            `evaluation`), sorted by value if all are numbers, else by character.
        known: the labels of a model, which are used if `labels` is empty and all labels found are among them.
        skip_invalid: whether rows that cannot be read are dropped, and counted in the notes.

    Raises:
        UserError: with file and line, if a column, text or label is missing, a label is unknown or not a number, an id
            occurs twice, or a line cannot be read; if there are fewer than two labels, or no evaluation set.
    """
    columns = columns or Columns()
    _check_request(evaluation, evaluation_fraction, problem, labels, columns)
    notes, source = list[str](), train if train is not None else evaluation
    tables = {
        name: _Table(Path(path), columns, problem, notes, skip_invalid=skip_invalid)
        for name, path in (("train", train), ("dev", evaluation), ("test", test))
        if path is not None
    }
    names, known_from = tuple(labels) or (columns.label,), "The labels given are"
    if problem != "regression":
        if not labels:
            found = tables["dev" if train is None else "train"].labels()
            names, known_from = _names_of(found, known or KnownLabels(), source, notes)
        _check_names(names, columns, source)

    sets = {name: each.examples(names, known_from, labeled=name != "test") for name, each in tables.items()}
    if evaluation is None:
        training, held_out = _split(sets["train"], evaluation_fraction, train)
    else:
        training, held_out = sets.get("train", []), sets["dev"]
    return TaskData(
        kind="classification",
        train=training,
        evaluation={"dev": held_out},
        test={"test": sets["test"]} if test else {},
        labels=names,
        problem=problem,
        full_sizes={"dev": len(sets["train"])} if evaluation is None else {},
        notes=tuple(notes),
    )


def _names_of(
    found: Sequence[str], known: KnownLabels, source: object, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    """Returns the labels if none are given, and their description in messages."""
    names = tuple(known.choose(found))
    absent = [name for name in names if name not in found]
    if absent:
        notes.append(f"{source} has no example of {', '.join(absent)}, which {known.source} has as labels")
    return names, f"The labels of {known.source if absent else source} are"


def _check_names(names: Sequence[str], columns: Columns, source: object) -> None:
    if len(names) < 2:
        raise UserError(
            f"Expected at least two labels, got {', '.join(map(repr, names)) or 'none'}. Check column "
            f"{columns.label!r} of {source}, or give data.labels if it lacks some."
        )


def _split(
    examples: Sequence[TextExample], share: float, source: object
) -> tuple[list[TextExample], list[TextExample]]:
    """Splits examples by the hash of their texts, so that equal texts stay together and added rows move no other."""
    held_out = [example for example in examples if hash_share(example.texts) < share]
    training = [example for example in examples if hash_share(example.texts) >= share]
    if not held_out or not training:
        raise UserError(
            f"A share of {share} of the {len(examples)} rows of {source} leaves {len(training)} training examples and "
            f"{len(held_out)} evaluation examples. Change the share, or give an evaluation file."
        )
    return training, held_out


def _check_request(
    evaluation: object, fraction: float, problem: Problem, labels: Sequence[str], columns: Columns
) -> None:
    if problem == "multi_label" and not columns.separator:
        raise UserError("data.label_separator is empty, expected the separator of a text's labels, such as ',' or ';'.")
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"data.eval_fraction={fraction}, expected a share of at least 0 and less than 1.")
    if evaluation is None and not fraction:
        raise UserError(
            f"There is no evaluation set: there is no evaluation file, and data.eval_fraction={fraction}. Give an "
            "evaluation file, or a share of the training file."
        )
    if evaluation is not None and fraction:
        raise UserError(
            f"There are two evaluation sets, {evaluation} and data.eval_fraction={fraction} of the training file. "
            "Give one of them."
        )
    if problem == "regression" and len(labels) > 1:
        raise UserError(f"Regression has one label, got {len(labels)} in data.labels: {', '.join(labels)}.")
    if len(set(labels)) < len(labels):
        raise UserError(f"data.labels has a label twice: {', '.join(labels)}.")


def _check_indicators(lists: Sequence[Sequence[str]], columns: Columns, train: object) -> None:
    """Raises if a field holds a 0 or 1 for each label, which would be read as labels named 0 and 1."""
    if {*itertools.chain(*lists)} <= {"0", "1", "0.0", "1.0"} and any(len(set(each)) < len(each) for each in lists):
        raise UserError(
            f"Column {columns.label!r} of {train} has a 0 or 1 for each label, expected the names of the labels."
        )


_SKIP = "data.skip_invalid_rows=true drops such rows"


class _Table:
    """The rows of a file, and the errors of those that cannot be read."""

    def __init__(self, path: Path, columns: Columns, problem: Problem, notes: list[str], *, skip_invalid: bool) -> None:
        """Reads the file.

        Raises:
            UserError: if it cannot be read, or has no column of texts.
        """
        self._path, self._columns, self._notes = path, columns, notes
        self._problem: Problem = problem
        self._skip_invalid = skip_invalid
        self._errors: list[str] = []
        found = read_rows(path, columns.header, separator=columns.fields, notes=notes, errors=self._errors)
        self._rows = list(found)
        if not self._rows:
            raise_errors(self._errors)
        if columns.text not in self._rows[0].fields:
            error = missing_column_error(columns.text, list(self._rows[0].fields), self._rows[0].location)
            raise type(error)(
                f"{error} If the file has no header, give the names of its columns (data.columns.header); if it has "
                "another separator, give data.separator."
            )

    def labels(self) -> tuple[str, ...]:
        """Returns the labels of the rows, sorted.

        Raises:
            UserError: if rows cannot be read, or hold a 0 or 1 for each label.
        """
        multiple, errors = self._problem == "multi_label", [*self._errors]

        def read(row: Row) -> list[str]:
            self._texts(row)  # so that one message lists all rows with errors
            return _label_names(row, self._columns, multiple=multiple)

        lists = read_all(self._rows, read, errors)
        if not self._skip_invalid:
            raise_errors(errors, _SKIP)
        if multiple:
            _check_indicators(lists, self._columns, self._path)
        return sorted_labels(itertools.chain(*lists))

    def examples(self, names: Sequence[str], known_from: str, *, labeled: bool) -> list[TextExample]:
        """Returns the examples.

        Args:
            names: the labels.
            known_from: the description of `names` in messages.
            labeled: whether every row needs a label.

        Raises:
            UserError: if rows cannot be read and are not to be skipped, or no row can be read.
        """
        columns, problem, errors = self._columns, self._problem, self._errors
        seen: set[str] = set()
        # For regression, -1 may be a value, unless every label is -1 or missing.
        is_number = problem == "regression" and not all(map(_is_unknown, self._written()))

        def example(numbered: tuple[int, Row]) -> TextExample:
            number, row = numbered
            texts = self._texts(row)
            identifier = str(number) if columns.id is None else row.name(columns.id)
            if identifier in seen:
                raise UserError(f"{row.location}: the id {identifier!r} occurs twice. Every row needs another id.")
            written = row.fields.get(columns.label)
            known = labeled or not (
                is_missing(written) or (_is_unknown(written) and not is_number and "-1" not in names)
            )
            label = _label(row, columns, problem, names, known_from) if known else None
            seen.add(identifier)
            return TextExample(id=identifier, texts=texts, label=label)

        found = read_all(enumerate(self._rows), example, errors)
        if errors and not (self._skip_invalid and found):
            raise_errors(errors, "" if self._skip_invalid else _SKIP)
        if errors:
            total = len(errors) + len(found)
            self._notes.append(f"{self._path}: {len(errors)} of {total} rows cannot be read: skipped. {errors[0]}")
        return found

    def _texts(self, row: Row) -> tuple[str, ...]:
        columns = (self._columns.text, self._columns.text_pair)
        return tuple(row.text(column) for column in columns if column is not None)

    def _written(self) -> Iterator[Any]:
        return (row.fields.get(self._columns.label) for row in self._rows)


def _is_unknown(written: Any) -> bool:
    """Returns whether a field stands for an unknown label: missing, empty or -1."""
    return is_missing(written) or (not isinstance(written, (list, dict)) and label_name(written) in _UNKNOWN)


def _label(
    row: Row, columns: Columns, problem: Problem, names: Sequence[str], known_from: str
) -> int | float | tuple[float, ...]:
    if problem == "regression":
        return parse_number(row.value(columns.label), row.location)
    found = _label_names(row, columns, multiple=problem == "multi_label")
    cure = " Give others with --config.data.labels=..."
    indices = [label_index(name, names, row.location, known_from, cure) for name in found]
    return indices[0] if problem == "single_label" else tuple(float(n in indices) for n in range(len(names)))


def _label_names(row: Row, columns: Columns, *, multiple: bool) -> list[str]:
    written: Any = row.value(columns.label)
    if multiple:
        return _several(written, columns, row.location)
    if isinstance(written, (list, dict)) or (isinstance(written, str) and looks_like_several(written.strip())):
        raise UserError(
            f"{row.location}: column {columns.label!r} holds {written!r:.200}, expected one label. For several labels "
            "per text, give data.problem=multi_label."
        )
    if is_missing(written):
        raise UserError(
            f"{row.location}: the label in column {columns.label!r} is empty. Fill it in or remove the row."
        )
    return [label_name(written)]


def _several(written: Any, columns: Columns, location: str) -> list[str]:
    if isinstance(written, str):
        listed = parse_list(written, location)
        written = [name for name in written.split(columns.separator) if name.strip()] if listed is None else listed
    if not isinstance(written, list):
        raise UserError(f"{location}: column {columns.label!r} holds {written!r:.200}, expected a list of labels.")
    wrong = [each for each in written if is_missing(each) or isinstance(each, (list, dict))]
    if wrong:
        raise UserError(f"{location}: column {columns.label!r} has {wrong[0]!r:.200} in its list, expected a label.")
    return [label_name(name) for name in written]
