"""Reads SQuAD 1.1 and 2.0 from their files (articles of paragraphs with questions) or from tfds."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax_lite.question_answering.answers import find_answer
from train.data.sources.tfds import read_examples, text_of
from train.errors import UserError
from train.tasks.examples import Answer, SpanExample, TaskData
from train.tasks.readers.folders import set_files
from train.tasks.readers.label_names import label_name
from train.tasks.readers.lines import read_all, read_object
from train.tasks.scores.squad_metric import Version

_FILES: Mapping[Version, tuple[str, str]] = {
    "v1": ("train-v1.1.json", "dev-v1.1.json"),
    "v2": ("train-v2.0.json", "dev-v2.0.json"),
}
# The size of train-v2.0.json is 42 MB.
_MAX_BYTES = 2**30
_NAMES = {str: "a text", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}

Article = list[SpanExample]


def read_squad(
    source: str,
    version: Version,
    *,
    eval_articles: int | None = None,
    tfds_dir: str | None = None,
    training: bool = True,
    evaluation: Path | None = None,
) -> TaskData:
    """Reads questions with their contexts and answers.

    Args:
        source: `tfds:squad/v1.1`, `tfds:squad/v2.0` or a data set with their features; or a directory with
            train-v1.1.json and dev-v1.1.json (or v2.0), or files named after their splits, or one of them; or a file.
        version: "v1", in which every question has an answer, or "v2".
        eval_articles: number of articles at the end of a single file that are held out; a sixth by default. Articles
            are not split, because questions share contexts.
        tfds_dir: directory of the prepared tfds data sets; the default of tfds if None.
        training: whether a training set is required. If not, a single file, or the dev file, is the evaluation set as a
            whole, unless `eval_articles` is given.
        evaluation: the evaluation file, if it is not to be found by its name.

    Raises:
        UserError: if a file cannot be read or does not have SQuAD's format, a training answer does not occur in its
            context, or `eval_articles` is not possible.
    """
    if source.startswith("tfds:"):
        return _read_tfds(source.removeprefix("tfds:"), version, eval_articles, tfds_dir)
    train_path, dev_path = _paths(Path(source), version, split=training or eval_articles is not None)
    if evaluation is not None:
        train_path, dev_path = train_path if training else None, evaluation
    if train_path == dev_path:
        train, held_out_articles = _split(dev_path, _read(dev_path, version), eval_articles)
    else:
        if eval_articles is not None:
            raise UserError(
                f"data.eval_articles={eval_articles}, but {dev_path} has the evaluation questions: remove the option"
            )
        train = _read(train_path, version) if train_path else []
        held_out_articles = _read(dev_path, version)
    training_questions = list(_flatten(train_path or dev_path, train))
    _check_answers(train_path or dev_path, training_questions)
    held_out = list(_flatten(dev_path, held_out_articles))
    full_sizes = {"dev": len(training_questions) + len(held_out)} if train_path == dev_path else {}
    return TaskData(kind="spans", train=training_questions, evaluation={"dev": held_out}, full_sizes=full_sizes)


def _read_tfds(name: str, version: Version, eval_articles: int | None, data_dir: str | None) -> TaskData:
    if eval_articles is not None:
        raise UserError(
            f"data.eval_articles={eval_articles}, but tfds:{name} has the evaluation questions: remove the option"
        )
    questions = {
        split: [
            _tfds_question(example, version, f"tfds:{name}:{split}, example {number}")
            for number, example in enumerate(read_examples(name, split, data_dir) or ())
        ]
        for split in ("train", "validation")
    }
    for split, found in questions.items():
        if not found:
            raise UserError(f"tfds:{name} has no example of the split {split}. Prepare it again.")
    train, evaluation = (
        list(_flatten(f"tfds:{name}:{split}", [questions[split]])) for split in ("train", "validation")
    )
    _check_answers(f"tfds:{name}", train)
    return TaskData(kind="spans", train=train, evaluation={"dev": evaluation})


def _tfds_question(example: Mapping[str, Any], version: Version, location: str) -> SpanExample:
    texts = {
        key: text_of(example[key], location)
        for key in ("id", "question", "context")
        if isinstance(example.get(key), bytes)
    }
    answers = example.get("answers")
    if not isinstance(answers, Mapping) or set(answers) != {"text", "answer_start"}:
        raise UserError(f"{location} has no answers with text and answer_start; it has {', '.join(example)}")
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    question = {
        **texts,
        "answers": [{"text": text_of(text, location), "answer_start": int(start)} for text, start in pairs],
    }
    if "is_impossible" in example:
        question["is_impossible"] = bool(example["is_impossible"])
    return _question(question, _text(question, "context", location), version, location)


def _paths(source: Path, version: Version, *, split: bool) -> tuple[Path | None, Path]:
    """Returns the training file, if any, and the evaluation file; they are the same if one file is split.

    Args:
        source: a file or a directory.
        version: the version of SQuAD in the file names.
        split: whether a single file is split, instead of being the evaluation file as a whole.
    """
    if not source.is_dir():
        return source if split else None, source
    other_version = {name for version_, names in _FILES.items() if version_ != version for name in names}
    benchmark = {name: [file] for name, file in zip(("train", "dev"), _FILES[version], strict=True)}
    named = set_files(source, (".json",), benchmark).named
    train, dev = (
        named[name] if name in named and named[name].name not in other_version else None for name in benchmark
    )
    if dev is not None:
        return dev if train is None and split else train, dev
    if train is None:
        raise UserError(f"{source} has neither {' nor '.join(_FILES[version])}; give a directory with them, or a file")
    return train, train


def _split(path: object, articles: Sequence[Article], count: int | None) -> tuple[Sequence[Article], Sequence[Article]]:
    if count is None:
        count = max(1, len(articles) // 6)
    if not 1 <= count <= len(articles):
        raise UserError(
            f"data.eval_articles={count}, but {path} has {len(articles)} articles; give 1 to {len(articles)}"
        )
    return articles[:-count], articles[-count:]


def _read(path: Path, version: Version) -> list[Article]:
    content = read_object(path, _MAX_BYTES)
    articles = [list(_asked(article, where)) for where, article in _items(content, "data", str(path), "article")]
    if not any(articles):
        raise UserError(f"{path} has no questions")
    questions = read_all(itertools.chain(*articles), lambda asked: _question(asked[1], asked[0], version, asked[2]))
    found = iter(questions)
    return [list(itertools.islice(found, len(article))) for article in articles]


def _asked(article: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    """Yields (context, question as written, place) for each question of an article."""
    for location, paragraph in _items(article, "paragraphs", where, "paragraph"):
        context = _text(paragraph, "context", location)
        yield from ((context, qa, at) for at, qa in _items(paragraph, "qas", location, "question"))


def _question(qa: Any, context: str, version: Version, where: str) -> SpanExample:
    answers = tuple(_answer(answer, context, at) for at, answer in _items(qa, "answers", where, "answer"))
    # In files without this key, a question without answers is impossible.
    impossible = _field(qa, "is_impossible", bool, where) if "is_impossible" in qa else not answers
    if impossible and version == "v1":
        raise UserError(f"{where} has no answer, which v1 does not allow: read the file as v2")
    if impossible == bool(answers):
        raise UserError(f"{where} has {len(answers)} answers, but is_impossible is {str(impossible).lower()}")
    return SpanExample(
        id=_identifier(qa, where), question=_text(qa, "question", where), context=context, answers=answers
    )


def _identifier(qa: Any, where: str) -> str:
    """Returns the id; some annotation tools write it as a number."""
    is_number = isinstance(qa.get("id"), int) and not isinstance(qa["id"], bool)
    return label_name(qa["id"]) if is_number else _text(qa, "id", where)


def _answer(answer: Any, context: str, where: str) -> Answer:
    text, start = _text(answer, "text", where), _field(answer, "answer_start", int, where)
    if not 0 <= start < len(context):
        raise UserError(f"{where} starts at character {start} of a context of {len(context)} characters")
    return Answer(text, start)


def _items(values: Any, key: str, where: str, name: str) -> Iterator[tuple[str, Any]]:
    """Yields the items of a list with their places for messages."""
    for number, item in enumerate(_field(values, key, list, where), 1):
        yield f"{where}, {name} {number}", item


def _text(values: Any, key: str, where: str) -> str:
    text = _field(values, key, str, where)
    if not text.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return text


def _field(values: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"{where} is {_shown(values)}, expected an object with {key!r}")
    if key not in values:
        raise UserError(f"{where} has no {key!r}; it has {', '.join(map(repr, values)) or 'nothing'}")
    # isinstance would accept true as an int.
    if type(values[key]) is not kind:
        raise UserError(f"{where}: {key!r} is {_shown(values[key])}, expected {_NAMES[kind]}")
    return values[key]


def _shown(value: Any) -> str:
    return _NAMES[type(value)] if isinstance(value, dict | list) else repr(value)[:60]


def _flatten(path: Path | str, articles: Iterable[Article]) -> Iterator[SpanExample]:
    """Yields all questions; their ids have to be unique, because they identify the predictions."""
    seen = set()
    for example in (example for article in articles for example in article):
        if example.id in seen:
            raise UserError(f"{path} has two questions with the id {example.id!r}")
        seen.add(example.id)
        yield example


def _check_answers(path: Path | str, examples: Sequence[SpanExample]) -> None:
    def check(example: SpanExample) -> None:
        for answer in example.answers:
            if find_answer(example.context, answer.text, answer.start) is None:
                raise UserError(f"{path}: the answer {answer.text[:60]!r} to {example.id} is not in its context")

    read_all(examples, check)
