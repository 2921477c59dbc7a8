"""Writes examples of the user's own Python objects into files that the readers of the tasks read.

An object is a list of dictionaries, a pandas DataFrame or a `datasets.Dataset` of Hugging Face. Neither package is
imported: an object is recognized by its attributes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train.errors import UserError

# Tasks whose examples are rows, by the ending of their files.
_ENDINGS = {
    **dict.fromkeys(("classify", "sentences", "ner", "swag"), ".jsonl"),
    **dict.fromkeys(("squad_v1", "squad_v2"), ".json"),
}


def write_objects(task: str, sets: Mapping[str, Any], folder: Path) -> str:
    """Writes sets of examples as files; returns the `data.source` of them.

    Args:
        task: the task.
        sets: the objects of "train", "dev" and "test", without those that are not given.
        folder: an empty directory.

    Raises:
        UserError: if the task does not read rows, or an object is not one of those that can be read.
    """
    if task not in _ENDINGS:
        raise UserError(f"examples as Python objects are for the tasks {', '.join(_ENDINGS)}, not for {task}")
    for name, data in sets.items():
        rows = rows_of(data, name)
        path = folder / f"{name}{_ENDINGS[task]}"
        if path.suffix == ".json":
            path.write_text(json.dumps(_squad(rows)), encoding="utf-8")
        else:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
    only = next(iter(sets)) if len(sets) == 1 else None
    return f"files:{folder / f'{only}{_ENDINGS[task]}' if only else folder}"


def rows_of(data: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of an object, with plain Python values; indices of a dataset's labels become their names.

    Raises:
        UserError: if the object is not one of those that can be read, or has no row.
    """
    labels = {column: names for column, feature in _features(data).items() if (names := _names(feature))}
    rows: Iterable[Any] = data.to_dict("records") if hasattr(data, "to_dict") and hasattr(data, "iloc") else data
    number = -1
    if not isinstance(rows, (str, bytes, Mapping)) and isinstance(rows, Iterable):
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise UserError(f"{name}: row {number} is {row!r:.100}, expected a dictionary of columns")
            yield {str(key): _named(_plain(value), labels.get(str(key))) for key, value in row.items()}
    if number < 0:
        raise UserError(
            f"{name} is a {type(data).__name__} without rows, expected a list of dictionaries, a pandas DataFrame, or "
            "one split of a datasets.DatasetDict"
        )


def _features(data: Any) -> Mapping[str, Any]:
    features = getattr(data, "features", None)
    return features if isinstance(features, Mapping) else {}


def _names(feature: Any) -> list[str] | None:
    """Returns the names of a ClassLabel, or of a sequence of them."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _named(value: Any, names: list[str] | None) -> Any:
    if isinstance(value, list) and names:
        return [_named(each, names) for each in value]
    if names and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value  # -1 is an unknown label


def _plain(value: Any) -> Any:
    """Returns a value with NumPy's arrays and numbers as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _squad(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns SQuAD's nested form of the rows of `datasets`: id, title, context, question, answers.

    Questions of one title are one article, in the order of the rows.
    """
    articles: dict[str, list[dict[str, Any]]] = {}
    for number, row in enumerate(rows):
        question = {"id": row.get("id", str(number)), **{key: row[key] for key in ("question",) if key in row}}
        answers = row.get("answers")
        if isinstance(answers, dict) and {"text", "answer_start"} <= answers.keys():
            pairs = zip(answers["text"], answers["answer_start"], strict=True)
            answers = [{"text": text, "answer_start": start} for text, start in pairs]
        question["answers"] = answers
        question["is_impossible"] = row.get("is_impossible", answers == [])
        paragraph = {"context": row.get("context"), "qas": [question]}
        articles.setdefault(str(row.get("title", number)), []).append(paragraph)
    return {"data": [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]}
