"""Reads RACE and SWAG: a context and several continuations, of which one is correct."""

import itertools
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flax_lite.files.tables import JSON_ENDINGS
from train.errors import UserError
from train.tasks.examples import ChoiceExample, TaskData
from train.tasks.readers.folders import set_files, single_file, source_directory
from train.tasks.readers.label_names import is_missing, label_index, label_name
from train.tasks.readers.lines import check_surrogates, read_all, read_lines
from train.tasks.readers.tables import Row, missing_column_error, read_rows

_LETTERS = tuple(string.ascii_uppercase)
_LEVELS = ("middle", "high")
_ENDING = "ending"


def read_race(source: str, *, level: Literal["all", "middle", "high"] = "all", training: bool = True) -> TaskData:
    """Reads RACE (Lai et al. 2017, arXiv:1704.04683).

    The context is the article. A choice is the question with every "_" replaced by the option, or, if the question has
    no blank, the question, a space and the option, as in race_utils.py of google-research/albert.

    Args:
        source: `files:DIR`; DIR or `DIR/RACE` holds `{train,dev,test}/{middle,high}/*.txt`, each an article as JSON.
        level: the level of the exams.
        training: whether all three folders are required; if not, dev, or else test, suffices.

    Returns:
        The examples, middle before high, articles in the order of their numbers. Ids such as "middle/1432-0" are the
        article's file and the number of the question. The labels of the test set are public.

    Raises:
        UserError: if a folder is missing, a file is not an article with questions, options and answers, or questions
            have different numbers of options.
    """
    root = source_directory(source, "'files:DIR' with RACE's folders train, dev and test in DIR or DIR/RACE")
    root = root / "RACE" if (root / "RACE").is_dir() else root
    levels = _LEVELS if level == "all" else (level,)
    names = ("train", "dev", "test")
    present = [name for name in names if training or (root / name).is_dir()]
    first = next((name for name in ("dev", "test") if name in present), "dev")
    sets = {name: _articles(root / name, levels) for name in dict.fromkeys([*present, first])}
    _check_alike({str(root / name): examples for name, examples in sets.items()})
    return TaskData(
        kind="choices",
        train=sets.get("train", []),
        evaluation={"dev": sets[first]},
        test={"test": sets["test"]} if "test" in sets and first == "dev" else {},
    )


def read_swag(source: str, *, training: bool = True) -> TaskData:
    """Reads SWAG (Zellers et al. 2018, arXiv:1808.05326).

    The context is `sent1`; a choice is `sent2`, the start of a sentence, a space and an ending. The number of endings
    may differ from SWAG's four.

    Args:
        source: `files:DIR` with train, val and test files, CSV as published or JSON lines. `test` may be missing, or
            have no column `label`, or -1 there.
        training: whether a training set is required; if not, the evaluation file suffices, in its directory or by
            itself (`files:FILE`).

    Returns:
        The examples; ids are the numbers of the rows.

    Raises:
        UserError: if a file or a column is missing, a text is empty, a label is not the number of an ending, or rows
            have different numbers of endings.
    """
    usage = "'files:DIR' with SWAG's files in DIR: train.csv, val.csv, test.csv, or .jsonl"
    paths = (None, None if training else single_file(source), None)
    if paths[1] is None:
        paths = set_files(source_directory(source, usage), (".csv", *JSON_ENDINGS)).paths(" of SWAG", training=training)
    notes: list[str] = []
    train, dev, test = (
        _swag_file(path, notes, labeled=labeled) if path else []
        for path, labeled in zip(paths, (True, True, False), strict=True)
    )
    _check_alike({str(path): examples for path, examples in zip(paths, (train, dev, test), strict=True)})
    tests = {"test": test} if test else {}
    return TaskData(kind="choices", train=train, evaluation={"dev": dev}, test=tests, notes=tuple(notes))


def _swag_file(path: Path, notes: list[str], *, labeled: bool) -> list[ChoiceExample]:
    rows = enumerate(read_rows(path, notes=notes))
    return read_all(rows, lambda numbered: _swag(str(numbered[0]), numbered[1], labeled=labeled))


def _swag(identifier: str, row: Row, *, labeled: bool) -> ChoiceExample:
    endings = _endings(row)
    written = row.value("label") if labeled else row.fields.get("label")
    label = None
    if labeled or not (is_missing(written) or label_name(written) == "-1"):
        numbers = tuple(map(str, range(len(endings))))
        label = label_index(label_name(written), numbers, row.location, "The numbers of its endings are")
    beginning = row.text("sent2")
    choices = tuple(f"{beginning} {row.text(ending)}" for ending in endings)
    return ChoiceExample(id=identifier, context=row.text("sent1"), choices=choices, label=label)


def _endings(row: Row) -> list[str]:
    """Returns the columns of the endings."""
    numbers = {name.removeprefix(_ENDING) for name in row.fields if name.startswith(_ENDING)}
    numbers = {number for number in numbers if number.isdecimal()}
    for number in range(max(2, len(numbers))):
        if str(number) not in numbers:
            raise missing_column_error(f"{_ENDING}{number}", list(row.fields), row.location)
    return [f"{_ENDING}{number}" for number in range(len(numbers))]


def _check_alike(sets: Mapping[str, Sequence[ChoiceExample]]) -> None:
    """Raises if examples have different numbers of choices, because a batch has one number for all."""
    first = next((example for examples in sets.values() for example in examples), None)
    for location, examples in sets.items():
        for example in examples:
            if first and len(example.choices) != len(first.choices):
                raise UserError(
                    f"{location}, example {example.id} has {len(example.choices)} choices, but example {first.id} of "
                    f"the first set has {len(first.choices)}: all examples need the same number."
                )


def _articles(folder: Path, levels: tuple[str, ...]) -> list[ChoiceExample]:
    found: list[tuple[Path, str]] = []
    for level in levels:
        files = sorted((folder / level).glob("*.txt"), key=lambda path: (len(path.stem), path.stem))
        if not files:
            raise UserError(f"There is no article of RACE in {folder / level}. Expected files named NUMBER.txt.")
        found += [(path, level) for path in files]
    return list(itertools.chain(*read_all(found, lambda placed: list(_questions(*placed)))))


def _questions(path: Path, level: str) -> Iterator[ChoiceExample]:
    article = _json(path)
    questions, options, answers = (_entries(article, key, path) for key in ("questions", "options", "answers"))
    if not len(questions) == len(options) == len(answers):
        raise UserError(
            f"{path} has {len(questions)} questions, {len(options)} lists of options and {len(answers)} answers: "
            "expected one of each per question."
        )
    context = _text(article.get("article"), f"{path}: the article")
    for number, (question, written, answer) in enumerate(zip(questions, options, answers, strict=True)):
        location = f"{path}, question {number}"
        choices = _choices(_text(question, f"{location}: the question"), written, location)
        yield ChoiceExample(
            id=f"{level}/{path.stem}-{number}",
            context=context,
            choices=choices,
            label=label_index(label_name(answer), _LETTERS[: len(choices)], location, "The answers are"),
        )


def _choices(question: str, options: Any, location: str) -> tuple[str, ...]:
    if not isinstance(options, list) or not 2 <= len(options) <= len(_LETTERS):
        raise UserError(f"{location}: expected a list of 2 to {len(_LETTERS)} options, got {options!r:.200}.")
    # RACE has some empty options.
    texts = [_text(option, f"{location}: an option") for option in options]
    return tuple(question.replace("_", text) if "_" in question else f"{question} {text}".strip() for text in texts)


def _json(path: Path) -> dict[str, Any]:
    written = "\n".join(line for _, line in read_lines(path))
    try:
        value = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}). Expected an article of RACE.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a JSON {type(value).__name__}, expected an article of RACE: an object.")
    check_surrogates(value, written, str(path))
    return value


def _entries(article: dict[str, Any], key: str, path: Path) -> list[Any]:
    if not isinstance(article.get(key), list):
        raise UserError(
            f"{path} has no list {key!r}. Expected an article of RACE, with questions, options and answers."
        )
    return article[key]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{what} is {value!r}, expected a text.")
    return value.strip()
