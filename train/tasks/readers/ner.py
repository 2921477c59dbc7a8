"""Named entities: files of words and tags, in columns as of CoNLL or as JSON lines, or a set of tfds.

Tags are BIO, or IOB1 and made BIO (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from train.data.sources.tfds import class_names, read_examples, text_of
from train.errors import UserError
from train.tasks.examples import TagExample, TaskData
from train.tasks.readers.folders import folder_of, set_files, single_file
from train.tasks.readers.label_names import index_of, name_of
from train.tasks.readers.tables import json_rows, lines_of, missing_column


def to_bio(tags: Sequence[str], place: str) -> tuple[str, ...]:
    """The same entities in BIO, in which each begins with B-.

    In IOB1 an entity begins with I- unless it touches one of the same type before it. Valid BIO stays as it is.

    Args:
        tags: of a sentence, each O, B-TYPE or I-TYPE.
        place: where the sentence stands, for a message.

    Raises:
        UserError: for any other tag.
    """
    result: list[str] = []
    before = "O"
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        if tag != "O" and not (prefix in ("B", "I") and dash and kind):
            raise UserError(
                f"{place}: the tag {tag!r} is neither O nor B-TYPE nor I-TYPE. Expected tags in BIO or IOB1: convert "
                "others (IOBES, BILOU), or choose the column of the tags."
            )
        inside = prefix == "I" and before[2:] == kind
        result.append(tag if tag == "O" or inside else f"B-{kind}")
        before = tag
    return tuple(result)


_ENDINGS = (".txt", ".conll", ".bio", ".tsv", ".jsonl", ".json")
# Beside these: CoNLL-2003's own names, and those of WNUT 2017 (Derczynski et al. 2017).
FILES = {
    "train": ("eng.train", "wnut17train.conll", *(f"train{ending}" for ending in _ENDINGS)),
    "dev": (
        "eng.testa",
        "emerging.dev.conll",
        *(f"{name}{ending}" for name in ("dev", "valid", "validation") for ending in _ENDINGS),
    ),
    "test": ("eng.testb", "emerging.test.annotated", *(f"test{ending}" for ending in _ENDINGS)),
}
_WORDS, _TAGS = ("tokens", "words"), ("ner_tags", "ner", "tags", "labels")
_Sentence = tuple[tuple[str, ...], tuple[str, ...] | None]
_Placed = tuple[str, _Sentence]
# Of tfds:conll2003 and tfds:wikiann.
_TFDS_TAGS = ("ner", "ner_tags", "tags")
_TFDS_SPLITS = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}


def read_ner(
    source: str,
    *,
    word_column: int = 0,
    tag_column: int = -1,
    labels: Sequence[str] = (),
    tfds_dir: str | None = None,
    training: bool = True,
) -> TaskData:
    """Reads sentences with a tag for each word.

    A file of columns has a word a line and a blank line between sentences; columns stand between tabs where the line
    has one, else between spaces; lines that begin with -DOCSTART- are left out. In JSON lines, an object a sentence,
    the words are `tokens` or `words` and the tags `ner_tags`, `ner`, `tags` or `labels`, names, or indices of `labels`.
    Tags in IOB1, where B- only parts entities that touch, become BIO.

    Args:
        source: `files:DIR` with one file of `FILES` for each set; `test` may be missing, and have no tags. Or
            `tfds:NAME[/CONFIG]` with the words in `tokens` and the tags, whose names it has, in `ner`, `ner_tags` or
            `tags`: `tfds:conll2003/conll2003`, `tfds:wikiann/en`.
        word_column: of the word, from 0; from the end if negative.
        tag_column: of the tag.
        labels: the tags in the order of their indices; those found in the training and evaluation sets, O first and
            then by character, if none are given.
        tfds_dir: where a tfds set was prepared; tfds's own default if None.
        training: whether there has to be a training set; where not, the held-out file is enough, in its directory or by
            itself (`files:FILE`).

    Returns:
        Its examples; an id is the number of the sentence.

    Raises:
        UserError: if a file or a column is missing, a tag is not BIO, or one of the test set stands nowhere else.
    """
    if source.startswith("tfds:"):
        sentences = _of_tfds(source.removeprefix("tfds:"), tfds_dir)
    else:
        sentences = _of_files(source, lambda path: list(_sentences(path, word_column, tag_column, labels)), training)
    names = tuple(labels) or _labels(tags for name in ("train", "dev") for _, (_, tags) in sentences[name])
    examples = {
        name: [_example(str(number), place, sentence, names, name) for number, (place, sentence) in enumerate(found)]
        for name, found in sentences.items()
    }
    return TaskData(
        kind="tags",
        train=examples["train"],
        evaluation={"dev": examples["dev"]},
        test={"test": examples["test"]} if examples["test"] else {},
        labels=names,
    )


def _of_files(source: str, read: Callable[[Path], list[_Placed]], training: bool) -> dict[str, list[_Placed]]:
    if not training and (alone := single_file(source)):
        return {"train": [], "dev": read(alone), "test": []}
    usage = f"'files:DIR' with files such as {', '.join(FILES['train'][:3])} in DIR, or 'tfds:conll2003/conll2003'"
    files = set_files((folder_of(source, usage),), FILES, "", training=training)
    return {name: read(path) if path else [] for name, path in zip(FILES, files, strict=True)}


def _of_tfds(name: str, data_dir: str | None) -> dict[str, list[_Placed]]:
    tags = {column: class_names(name, column, data_dir) for column in _TFDS_TAGS}
    column = next((column for column, names in tags.items() if names), None)
    if column is None:
        raise UserError(f"tfds:{name} has no tags of words: none of {', '.join(_TFDS_TAGS)} is a list of classes.")
    sentences = {
        split: next(
            (found for each in splits if (found := _tfds_split(name, each, data_dir, column, tags[column]))), []
        )
        for split, splits in _TFDS_SPLITS.items()
    }
    for split in ("train", "dev"):
        if not sentences[split]:
            raise UserError(f"tfds:{name} has no example of a {_TFDS_SPLITS[split][0]} split: prepare the set again.")
    return sentences


def _tfds_split(name: str, split: str, data_dir: str | None, column: str, names: Sequence[str]) -> list[_Placed]:
    return [
        _tfds_sentence(example, column, names, f"tfds:{name}:{split}, example {number}")
        for number, example in enumerate(read_examples(name, split, data_dir) or ())
        if example.get("tokens") != []  # WikiANN has some
    ]


def _tfds_sentence(example: dict[str, Any], column: str, names: Sequence[str], place: str) -> _Placed:
    if "tokens" not in example:
        raise missing_column("tokens", list(example), place)
    words = _strings([text_of(word, place) for word in example["tokens"]], place)
    tags = tuple(_tag_name(int(tag), names, place) for tag in example[column])
    if len(tags) != len(words):
        raise UserError(f"{place} has {len(words)} words and {len(tags)} tags. Prepare the set again.")
    return place, (words, to_bio(tags, place))


def _labels(tags: Iterable[tuple[str, ...] | None]) -> tuple[str, ...]:
    return ("O", *sorted({tag for sentence in tags for tag in sentence or ()} - {"O"}))


def _example(identifier: str, place: str, sentence: _Sentence, labels: Sequence[str], split: str) -> TagExample:
    words, tags = sentence
    if tags is None:
        if split != "test":
            raise UserError(f"{place}: the sentence has no tags. Only the test set may have none.")
        return TagExample(id=identifier, words=words)
    indices = tuple(index_of(tag, labels, place, "The tags are") for tag in tags)
    return TagExample(id=identifier, words=words, tags=indices)


def _sentences(path: Path, word: int, tag: int, labels: Sequence[str]) -> Iterator[tuple[str, _Sentence]]:
    found = False
    read = _json_sentences(path, labels) if path.suffix in (".jsonl", ".json") else _column_sentences(path, word, tag)
    for place, (words, tags) in read:
        found = True
        yield place, (words, None if tags is None else to_bio(tags, place))
    if not found:
        raise UserError(f"{path} holds no sentence: is it whole, and the right file?")


def _column_sentences(path: Path, word: int, tag: int) -> Iterator[tuple[str, _Sentence]]:
    rows: list[list[str]] = []
    number = 0
    for number, line in lines_of(path):
        if line.strip() and not line.startswith("-DOCSTART-"):
            rows.append(_fields(line))
            _check_columns(f"{path}, line {number}", rows, word, tag)
        elif rows:
            yield f"{path}, line {number - len(rows)}", _of_columns(rows, word, tag)
            rows = []
    if rows:
        yield f"{path}, line {number - len(rows) + 1}", _of_columns(rows, word, tag)


def _fields(line: str) -> list[str]:
    # Words may hold other white space, a no-break space for one.
    fields = line.rstrip("\t ").split("\t") if "\t" in line else line.split(" ")
    return [field for field in fields if field]


def _check_columns(place: str, rows: list[list[str]], word: int, tag: int) -> None:
    fields = rows[-1]
    if len(fields) != len(rows[0]):
        raise UserError(f"{place} has {len(fields)} column(s), the sentence's first line {len(rows[0])}.")
    for column, what in ((word, "word"), (tag, "tag")):
        if not -len(fields) <= column < len(fields) and len(fields) > 1:
            raise UserError(f"{place} has {len(fields)} columns, the {what} is looked for in column {column} (from 0).")


def _of_columns(rows: list[list[str]], word: int, tag: int) -> _Sentence:
    if len(rows[0]) == 1:
        return tuple(row[0] for row in rows), None
    return tuple(row[word] for row in rows), tuple(row[tag] for row in rows)


def _json_sentences(path: Path, labels: Sequence[str]) -> Iterator[tuple[str, _Sentence]]:
    for row in json_rows(path):
        word_key, tag_key = (next((key for key in keys if key in row.fields), None) for keys in (_WORDS, _TAGS))
        words = _strings(row.value(word_key or _WORDS[0]), row.place)
        if tag_key is None:
            yield row.place, (words, None)
            continue
        tags = row.fields[tag_key]
        if not isinstance(tags, list) or len(tags) != len(words):
            raise UserError(f"{row.place}: expected a list of {len(words)} tags, one for each word, got {tags!r:.200}.")
        yield row.place, (words, tuple(_tag_name(tag, labels, row.place) for tag in tags))


def _strings(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise UserError(f"{place}: expected a list of words, got {value!r:.200}.")
    return tuple(value)


def _tag_name(tag: Any, labels: Sequence[str], place: str) -> str:
    if not isinstance(tag, int):
        return name_of(tag)
    if not 0 <= tag < len(labels):
        raise UserError(
            f"{place}: the tag {tag} is an index, and {len(labels)} labels are given. Give the names of all tags in "
            "the order of their indices."
        )
    return labels[tag]
