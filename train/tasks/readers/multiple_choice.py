"""RACE and SWAG: a context and several continuations, of which one is right."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from train.errors import UserError
from train.tasks.examples import ChoiceExample, TaskData
from train.tasks.readers.folders import folder_of, set_files, single_file
from train.tasks.readers.label_names import index_of, name_of
from train.tasks.readers.tables import Row, lines_of, read_rows

_LETTERS = ("A", "B", "C", "D")
_NUMBERS = ("0", "1", "2", "3")
_LEVELS = ("middle", "high")
_SWAG_FILES = {
    "train": ("train.csv", "train.jsonl", "train.json"),
    "dev": ("val.csv", "val.jsonl", "val.json", "dev.csv", "dev.jsonl", "dev.json"),
    "test": ("test.csv", "test.jsonl", "test.json"),
}
_ENDINGS = ("ending0", "ending1", "ending2", "ending3")


def read_race(source: str, *, level: Literal["all", "middle", "high"] = "all", training: bool = True) -> TaskData:
    """Reads RACE (Lai et al. 2017, arXiv:1704.04683).

    The context is the article. A choice is the question with the option in the place of every "_", or, where the
    question has no blank, the question, a space and the option, as google-research/albert's race_utils.py does.

    Args:
        source: `files:DIR`; DIR or `DIR/RACE` holds `{train,dev,test}/{middle,high}/*.txt`, each an article as JSON.
        level: which of the two exams.
        training: whether all three folders have to be there; where not, dev, else test, is enough.

    Returns:
        Its examples, middle before high, articles in the order of their numbers; ids such as "middle/1432-0", the
        article's file and the number of the question. The labels of the test set are public.

    Raises:
        UserError: if a folder is missing, or a file is no article with questions, four options and an answer to each.
    """
    root = folder_of(source, "'files:DIR' with RACE's folders train, dev and test in DIR or DIR/RACE")
    root = root / "RACE" if (root / "RACE").is_dir() else root
    levels = _LEVELS if level == "all" else (level,)
    names = ("train", "dev", "test")
    there = [name for name in names if training or (root / name).is_dir()]
    first = next((name for name in ("dev", "test") if name in there), "dev")
    sets = {name: list(_articles(root / name, levels)) for name in dict.fromkeys([*there, first])}
    return TaskData(
        kind="choices",
        train=sets.get("train", []),
        evaluation={"dev": sets[first]},
        test={"test": sets["test"]} if "test" in sets and first == "dev" else {},
    )


def read_swag(source: str, *, training: bool = True) -> TaskData:
    """Reads SWAG (Zellers et al. 2018, arXiv:1808.05326).

    The context is `sent1`; a choice is `sent2`, which begins its sentence, a space and an ending.

    Args:
        source: `files:DIR` with train, val and test files, CSV as SWAG's own or a JSON object a line. `test` may be
            missing, and have no column `label`.
        training: whether there has to be a training set; where not, the held-out file is enough, in its directory or by
            itself (`files:FILE`).

    Returns:
        Its examples; an id is the row's number.

    Raises:
        UserError: if a file or a column is missing, a text is empty, or a label is not 0 to 3.
    """
    usage = f"'files:DIR' with SWAG's files in DIR: {', '.join(_SWAG_FILES['train'])} and so on"
    if not training and (alone := single_file(source)):
        train, dev, test = None, alone, None
    else:
        train, dev, test = set_files((folder_of(source, usage),), _SWAG_FILES, " of SWAG", training=training)
    return TaskData(
        kind="choices",
        train=[_swag(str(number), row) for number, row in enumerate(read_rows(train))] if train else [],
        evaluation={"dev": [_swag(str(number), row) for number, row in enumerate(read_rows(dev))]},
        test={"test": [_swag(str(n), row, labelled=False) for n, row in enumerate(read_rows(test))]} if test else {},
    )


def _swag(identifier: str, row: Row, *, labelled: bool = True) -> ChoiceExample:
    beginning = row.text("sent2")
    label = None
    if labelled or "label" in row.fields:
        label = index_of(name_of(row.value("label")), _NUMBERS, row.place, "The labels of SWAG")
    choices = tuple(f"{beginning} {row.text(ending)}" for ending in _ENDINGS)
    return ChoiceExample(id=identifier, context=row.text("sent1"), choices=choices, label=label)


def _articles(folder: Path, levels: tuple[str, ...]) -> Iterator[ChoiceExample]:
    for level in levels:
        files = sorted((folder / level).glob("*.txt"), key=lambda path: (len(path.stem), path.stem))
        if not files:
            raise UserError(f"There is no article of RACE in {folder / level}. Expected files named NUMBER.txt.")
        for path in files:
            yield from _questions(path, level)


def _questions(path: Path, level: str) -> Iterator[ChoiceExample]:
    article = _json(path)
    questions, options, answers = (_entries(article, key, path) for key in ("questions", "options", "answers"))
    if not len(questions) == len(options) == len(answers):
        raise UserError(
            f"{path} has {len(questions)} questions, {len(options)} lists of options and {len(answers)} answers: "
            "expected one of each to a question."
        )
    context = _text(article.get("article"), f"{path}: the article")
    for number, (question, choices, answer) in enumerate(zip(questions, options, answers, strict=True)):
        place = f"{path}, question {number}"
        yield ChoiceExample(
            id=f"{level}/{path.stem}-{number}",
            context=context,
            choices=_choices(_text(question, f"{place}: the question"), choices, place),
            label=index_of(name_of(answer), _LETTERS, place, "The answers are"),
        )


def _choices(question: str, options: Any, place: str) -> tuple[str, ...]:
    if not isinstance(options, list) or len(options) != len(_LETTERS):
        raise UserError(f"{place}: expected {len(_LETTERS)} options, got {options!r}.")
    # An option may be empty: RACE has some.
    texts = [_text(option, f"{place}: an option") for option in options]
    return tuple(question.replace("_", text) if "_" in question else f"{question} {text}".strip() for text in texts)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads("\n".join(line for _, line in lines_of(path)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}). Expected an article of RACE.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a JSON {type(value).__name__}, expected an article of RACE: an object.")
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
