"""Contexts with several continuations: RACE and SWAG."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.tasks.examples import ChoiceExample, TaskData
from train.tasks.tables import Record, first_file, read_table

_LETTERS = "ABCD"
_SETS = {"train": ("train",), "dev": ("dev", "val", "validation"), "test": ("test",)}


def read_race(source: str) -> TaskData:
    """Reads RACE: {train,dev,test}/{middle,high}/*.txt, a JSON object of a passage and its questions each.

    Each continuation is the question, a space, and an option (google-research/albert, race_utils.py). The test set has
    its answers beside it, so that it is a held-out set, behind "dev".

    Raises:
        UserError: if directories are missing, or a file is not as the benchmark has it.
    """
    folder = _folder(source)
    folder = folder / "RACE" if (folder / "RACE").is_dir() else folder
    found = {name: _race_files(folder / name) for name in ("train", "dev", "test")}
    if not found["dev"]:
        raise UserError(f"{folder} has no dev/middle/*.txt and dev/high/*.txt, expected RACE as it is distributed")
    sets = {name: [each for path in paths for each in _race_examples(path)] for name, paths in found.items() if paths}
    return TaskData(kind="choices", train=sets.pop("train", []), evaluation=sets)


def read_swag(source: str) -> TaskData:
    """Reads SWAG: {train,val,test} as .csv, .json or .jsonl with sent1, sent2, ending0 to ending3 and label.

    The context is sent1; each continuation is sent2, a space, and an ending (Zellers et al. 2018, arXiv:1808.05326).

    Raises:
        UserError: if files are missing, or a row is not as the benchmark has it.
    """
    folder = _folder(source)
    endings = (".csv", ".jsonl", ".json")
    paths = {
        name: path
        for name, stems in _SETS.items()
        if (path := first_file(folder, tuple(f"{stem}{ending}" for stem in stems for ending in endings)))
    }
    if "dev" not in paths:
        raise UserError(f"{folder} has no val.csv (or .json, .jsonl), which the score is of")
    sets = {
        name: [_swag_example(number, record, labelled=name != "test") for number, record in enumerate(read_table(path))]
        for name, path in paths.items()
    }
    train, test = sets.pop("train", []), sets.pop("test", None)
    return TaskData(kind="choices", train=train, evaluation=sets, test={} if test is None else {"test": test})


def _folder(source: str) -> Path:
    folder = Path(source.partition(":")[2])
    if not folder.is_dir():
        raise UserError(f"data.source={source} is no directory")
    return folder


def _race_files(folder: Path) -> list[Path]:
    def number(path: Path) -> tuple[str, int, str]:
        digits = "".join(filter(str.isdigit, path.stem))
        return path.parent.name, int(digits or 0), path.name

    return sorted((path for path in folder.glob("*/*.txt")), key=number)


def _race_examples(path: Path) -> Iterator[ChoiceExample]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        article, questions = content["article"], content["questions"]
        for number, (question, options, answer) in enumerate(
            zip(questions, content["options"], content["answers"], strict=True)
        ):
            yield ChoiceExample(
                id=f"{path.parent.name}/{path.stem}-{number}",
                context=article,
                choices=tuple(f"{question} {option}" for option in options),
                label=_LETTERS.index(answer),
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no file of RACE: {type(error).__name__}: {error}") from error


def _swag_example(number: int, record: Record, *, labelled: bool) -> ChoiceExample:
    choices = tuple(f"{record.get('sent2')} {record.text(f'ending{index}')}" for index in range(4))
    label = str(record.get("label")) if labelled else "0"
    if label not in "0123" or len(label) != 1:
        raise UserError(f"{record.where}: label is {label!r}, expected 0 to 3")
    known = int(label) if labelled else None
    return ChoiceExample(id=str(number), context=record.text("sent1"), choices=choices, label=known)
