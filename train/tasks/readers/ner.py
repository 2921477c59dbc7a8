"""Reads sentences with a tag per word, as in named entity recognition: CoNLL's columns, JSON lines, or tfds.

Tags are in BIO, or in IOB1 and converted to BIO (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999).
"""

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files.tables import JSON_ENDINGS
from train.data.sources.tfds import class_names, read_examples, text_of
from train.errors import UserError
from train.tasks.examples import TagExample, TaskData
from train.tasks.readers.columns import column_sentences
from train.tasks.readers.folders import set_files, single_file, source_directory
from train.tasks.readers.label_names import KnownLabels, is_missing, label_index, label_name
from train.tasks.readers.lines import read_all
from train.tasks.readers.tables import Row, json_rows, missing_column_error


def to_bio(tags: Sequence[str], location: str) -> tuple[str, ...]:
    """Converts IOB1 to BIO, in which every entity starts with B-.

    In IOB1 an entity starts with I-, unless it directly follows an entity of the same type. BIO is not changed. seqeval
    reads IOB1 only for metrics and does not convert it.

    Args:
        tags: the tags of a sentence, each O, B-TYPE or I-TYPE.
        location: the location of the sentence, for messages.

    Raises:
        UserError: if there is another tag.
    """
    result: list[str] = []
    before = "O"
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        if tag != "O" and not (prefix in ("B", "I") and dash and kind):
            raise UserError(
                f"{location}: the tag {tag!r} is neither O nor B-TYPE nor I-TYPE. Expected tags in BIO or IOB1: "
                "convert others (IOBES, BILOU), or give the column of the tags."
            )
        inside = prefix == "I" and before[2:] == kind
        result.append(tag if tag == "O" or inside else f"B-{kind}")
        before = tag
    return tuple(result)


_ENDINGS = (".txt", ".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", *JSON_ENDINGS)
# The file names of CoNLL-2003 and of WNUT 2017 (Derczynski et al. 2017); names with the name of a split work as well.
FILES = {
    "train": ("eng.train", "wnut17train.conll"),
    "dev": ("eng.testa", "emerging.dev.conll"),
    "test": ("eng.testb", "emerging.test.annotated"),
}
_WORDS, _TAGS = ("tokens", "words"), ("ner_tags", "ner", "tags", "labels")
_Sentence = tuple[tuple[str, ...], tuple[str, ...] | None]
_Placed = tuple[str, _Sentence]
# Features and splits of tfds:conll2003 and tfds:wikiann.
_TFDS_TAGS = ("ner", "ner_tags", "tags")
_TFDS_SPLITS = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}


def read_ner(
    source: str,
    *,
    word_column: int | None = None,
    tag_column: int | None = None,
    labels: Sequence[str] = (),
    known: KnownLabels | None = None,
    tfds_dir: str | None = None,
    training: bool = True,
    evaluation: Path | None = None,
    test: Path | None = None,
) -> TaskData:
    """Reads sentences with a tag for each word; ids are their numbers.

    Files of columns have the format of `columns.column_sentences`. JSON lines have one object per sentence, with the
    words in `tokens` or `words` and the tags in `ner_tags`, `ner`, `tags` or `labels`, as names or indices of `labels`;
    sentences without words are skipped and counted. An empty word is [UNK] to a model and keeps its tag. IOB1 is
    converted to BIO.

    Args:
        source: `files:DIR` with one file per split, named after it; `test` may be missing, or have no tags. Or
            `tfds:NAME[/CONFIG]` with the words in `tokens` and the tags in `ner`, `ner_tags` or `tags`, such as
            `tfds:conll2003/conll2003` or `tfds:wikiann/en`.
        word_column: column of the word, from 0, negative from the end; the first if None, unless it numbers the words.
        tag_column: column of the tag; the last if None.
        labels: the tags in the order of their indices. If empty, they are the tags of the training and evaluation sets,
            O first, then sorted by character.
        known: the tags of a model, which are used if `labels` is empty and all tags found are among them.
        tfds_dir: directory of the prepared tfds data sets; the default of tfds if None.
        training: whether a training set is required; if not, the evaluation file suffices, in its directory or by
            itself (`files:FILE`).
        evaluation: the evaluation file, if it is not to be found by its name; `source` may then be a training file.
        test: the test file, if it is not to be found by its name.

    Raises:
        UserError: if a file or a column is missing, a tag is not BIO, or a tag occurs in the test set only.
    """
    notes: list[str] = []
    if source.startswith("tfds:"):
        sentences = _of_tfds(source.removeprefix("tfds:"), tfds_dir)
    else:
        paths = zip(FILES, _paths(source, training, evaluation, test), strict=True)
        read = functools.partial(_sentences, word=word_column, tag=tag_column, labels=labels, notes=notes)
        sentences = {name: read(path) if path else [] for name, path in paths}
    found = _labels(tags for name in ("train", "dev") for _, (_, tags) in sentences[name])
    names = tuple(labels) or (known or KnownLabels()).choose(found)
    examples = {
        name: read_all(
            enumerate(found), lambda numbered, name=name: _example(str(numbered[0]), *numbered[1], names, name)
        )
        for name, found in sentences.items()
    }
    return TaskData(
        kind="tags",
        train=examples["train"],
        evaluation={"dev": examples["dev"]},
        test={"test": examples["test"]} if examples["test"] else {},
        labels=names,
        notes=tuple(notes),
    )


def _paths(
    source: str, training: bool, evaluation: Path | None, test: Path | None
) -> tuple[Path | None, Path | None, Path | None]:
    """Returns the files of the training, evaluation and test set."""
    alone = single_file(source)
    if alone and evaluation is not None:
        return alone, evaluation, test
    if alone and not training:
        return None, alone, test
    usage = "'files:DIR' with files such as eng.train, train.conll, dev.jsonl in DIR, or 'tfds:conll2003/conll2003'"
    files = set_files(source_directory(source, usage), _ENDINGS, FILES)
    given = {name: path for name, path in (("dev", evaluation), ("test", test)) if path}
    return dataclasses.replace(files, named={**files.named, **given}).paths("", training=training)


def _of_tfds(name: str, data_dir: str | None) -> dict[str, list[_Placed]]:
    tags = {column: class_names(name, column, data_dir) for column in _TFDS_TAGS}
    column = next((column for column, names in tags.items() if names), None)
    if column is None:
        raise UserError(f"tfds:{name} has no tags: none of the features {', '.join(_TFDS_TAGS)} is a list of classes.")
    sentences = {
        split: next(
            (found for each in splits if (found := _tfds_split(name, each, data_dir, column, tags[column]))), []
        )
        for split, splits in _TFDS_SPLITS.items()
    }
    for split in ("train", "dev"):
        if not sentences[split]:
            raise UserError(f"tfds:{name} has no example of the split {_TFDS_SPLITS[split][0]}. Prepare it again.")
    return sentences


def _tfds_split(name: str, split: str, data_dir: str | None, column: str, names: Sequence[str]) -> list[_Placed]:
    return [
        _tfds_sentence(example, column, names, f"tfds:{name}:{split}, example {number}")
        for number, example in enumerate(read_examples(name, split, data_dir) or ())
        if example.get("tokens") != []  # WikiANN has some empty sentences
    ]


def _tfds_sentence(example: dict[str, Any], column: str, names: Sequence[str], location: str) -> _Placed:
    if "tokens" not in example:
        raise missing_column_error("tokens", list(example), location)
    words = _strings([text_of(word, location) for word in example["tokens"]], location)
    tags = tuple(_tag_name(int(tag), names, location) for tag in example[column])
    if len(tags) != len(words):
        raise UserError(f"{location} has {len(words)} words and {len(tags)} tags. Prepare the data set again.")
    return location, (words, to_bio(tags, location))


def _labels(tags: Iterable[tuple[str, ...] | None]) -> tuple[str, ...]:
    return ("O", *sorted({tag for sentence in tags for tag in sentence or ()} - {"O"}))


def _example(identifier: str, location: str, sentence: _Sentence, labels: Sequence[str], split: str) -> TagExample:
    words, tags = sentence
    if tags is None:
        if split != "test":
            raise UserError(f"{location}: the sentence has no tags. Only the test set may have none.")
        return TagExample(id=identifier, words=words)
    indices = tuple(label_index(tag, labels, location, "The tags are") for tag in tags)
    return TagExample(id=identifier, words=words, tags=indices)


def _sentences(path: Path, word: int | None, tag: int | None, labels: Sequence[str], notes: list[str]) -> list[_Placed]:
    if path.suffix.lower() in JSON_ENDINGS:
        rows = list(json_rows(path))
        kept = [row for row in rows if row.value(_key(row, _WORDS) or _WORDS[0]) != []]
        if len(kept) < len(rows):
            notes.append(f"{path} has {len(rows) - len(kept)} sentence(s) without words: skipped.")
        read = read_all(kept, lambda row: (row.location, _of_row(row, labels)))
    else:
        read = read_all(column_sentences(path, word, tag), lambda found: (found[0], _of_columns(*found, labels)))
    found = read_all(read, lambda placed: (placed[0], _in_bio(*placed)))
    if not found:
        raise UserError(f"{path} holds no sentence. Is it complete, and the right file?")
    return found


def _in_bio(location: str, sentence: _Sentence) -> _Sentence:
    words, tags = sentence
    return words, None if tags is None else to_bio(tags, location)


def _of_columns(location: str, rows: Sequence[tuple[str, str | None]], labels: Sequence[str]) -> _Sentence:
    words, tags = tuple(word for word, _ in rows), [tag for _, tag in rows if tag is not None]
    if all(tag == "_" for tag in tags):  # unknown, as in the test sets of MultiCoNER
        return words, None
    return words, tuple(_tag_name(tag, labels, location) for tag in tags)


def _key(row: Row, keys: Sequence[str]) -> str | None:
    return next((key for key in keys if key in row.fields), None)


def _of_row(row: Row, labels: Sequence[str]) -> _Sentence:
    words = _strings(row.value(_key(row, _WORDS) or _WORDS[0]), row.location)
    tag_key = _key(row, _TAGS)
    if tag_key is None or is_missing(row.fields[tag_key]):
        return words, None
    tags = row.fields[tag_key]
    if not isinstance(tags, list) or len(tags) != len(words):
        got = f"{len(tags)} tags" if isinstance(tags, list) else f"{tags!r:.200}"
        raise UserError(f"{row.location}: expected a list of {len(words)} tags, one for each word, got {got}.")
    if all(tag == -1 for tag in tags):  # unknown
        return words, None
    return words, tuple(_tag_name(tag, labels, row.location) for tag in tags)


def _strings(value: Any, location: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{location}: expected a list of words, got {value!r:.200}.")
    for number, word in enumerate(value, 1):
        if not isinstance(word, str):
            raise UserError(f"{location}: word {number} of {len(value)} is {word!r:.200}, expected a text.")
    return tuple(value)


def _tag_name(tag: Any, labels: Sequence[str], location: str) -> str:
    """Returns the name of a tag, which may be written as its index."""
    is_index = isinstance(tag, int) and not isinstance(tag, bool)
    if not is_index:
        name = label_name(tag)
        if not re.fullmatch(r"-?\d+", name) or name in labels:
            return name
        tag = int(name)
    if not 0 <= tag < len(labels):
        raise UserError(
            f"{location}: the tag {tag} is an index, but {len(labels)} labels are given. Give the names of all tags in "
            "the order of their indices: --config.data.labels=O,B-PER,I-PER,..."
        )
    return labels[tag]
