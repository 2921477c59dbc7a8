"""Words with tags: CoNLL's columns, and JSON lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from train.errors import UserError
from train.tasks.examples import TagExample, TaskData
from train.tasks.tables import first_file, read_lines, read_table, read_tfds

# CoNLL-2003's own names, those of its usual copies, and WNUT 2017's.
_FILES = {
    "train": ("train.txt", "train.conll", "train.jsonl", "train.json", "eng.train", "wnut17train.conll"),
    "dev": (
        *("dev.txt", "dev.conll", "dev.jsonl", "dev.json", "valid.txt", "valid.conll", "validation.json"),
        *("eng.testa", "emerging.dev.conll"),
    ),
    "test": ("test.txt", "test.conll", "test.jsonl", "test.json", "eng.testb", "emerging.test.annotated"),
}
_WORD_KEYS, _TAG_KEYS = ("tokens", "words"), ("ner_tags", "tags", "ner")
_OUTSIDE = "O"

Sentence = tuple[tuple[str, ...], tuple[str, ...]]


def read_ner(source: str, tfds_dir: str | None = None) -> TaskData:
    """Reads sentences of tagged words; tags are turned into BIO, labels are those found, "O" first, then sorted.

    A test file has its tags beside it in these benchmarks: it is a held-out set of its own, behind "dev".

    Args:
        source: files:DIR or tfds:NAME.
        tfds_dir: where tfds sets were prepared.

    Raises:
        UserError: if files are missing, or a line is not as the format has it.
    """
    scheme, _, argument = source.partition(":")
    if scheme == "tfds":
        names = {"train": "train", "dev": "validation" if "conll" not in argument else "dev", "test": "test"}
        sets = {name: list(_from_tfds(argument, split, tfds_dir)) for name, split in names.items()}
    else:
        sets = _from_files(Path(argument))
    for sentences in sets.values():
        sentences[:] = [(words, bio(tags)) for words, tags in sentences]
    found = {tag for sentences in sets.values() for _, tags in sentences for tag in tags}
    labels = (_OUTSIDE, *sorted(found - {_OUTSIDE}))
    index = {label: number for number, label in enumerate(labels)}
    examples = {
        name: [
            TagExample(id=str(number), words=words, tags=tuple(map(index.__getitem__, tags)))
            for number, (words, tags) in enumerate(sentences)
        ]
        for name, sentences in sets.items()
    }
    train = examples.pop("train", [])
    return TaskData(kind="tags", train=train, evaluation=examples, labels=labels)


def bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags in which every entity begins with B-: I- at the start of an entity (IOB1 of CoNLL-2003) becomes B-."""
    result, before = [], _OUTSIDE
    for tag in tags:
        continues = before != _OUTSIDE and before[2:] == tag[2:]
        result.append(f"B-{tag[2:]}" if tag.startswith("I-") and not continues else tag)
        before = tag
    return tuple(result)


def read_conll(path: Path) -> Iterator[Sentence]:
    """Sentences of a file with a word a line, its tag in the last column, and empty lines between sentences.

    Columns are separated by tabs, where there are any, else by spaces. Lines that begin with -DOCSTART- are left out.

    Raises:
        UserError: if a line has no second column, or a tag is none of BIO.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, line in read_lines(path):
        if not line.strip():
            if words:
                yield tuple(words), tuple(tags)
            words, tags = [], []
            continue
        fields = line.split("\t") if "\t" in line else line.split(" ")
        if fields[0] == "-DOCSTART-":
            continue
        if len(fields) < 2 or not fields[0]:
            raise UserError(f"{path}, line {number} is {line!r}, expected a word and its tag")
        words.append(fields[0])
        tags.append(_checked(fields[-1].strip(), f"{path}, line {number}"))
    if words:
        yield tuple(words), tuple(tags)


def _from_files(folder: Path) -> dict[str, list[Sentence]]:
    if not folder.is_dir():
        raise UserError(f"data.source=files:{folder} is no directory")
    paths = {name: path for name, names in _FILES.items() if (path := first_file(folder, names))}
    if not {"dev", "test"} & paths.keys():
        raise UserError(f"{folder} has no held-out sentences: expected one of {', '.join(_FILES['dev'])}")
    return {
        name: list(_from_json(path) if path.suffix in (".json", ".jsonl") else read_conll(path))
        for name, path in paths.items()
    }


def _from_json(path: Path) -> Iterator[Sentence]:
    for record in read_table(path):
        columns = [next((key for key in keys if key in record.values), keys[0]) for keys in (_WORD_KEYS, _TAG_KEYS)]
        words, tags = (record.get(column) for column in columns)
        if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags) or not words:
            raise UserError(f"{record.where}: expected as many {columns[1]} as {columns[0]}, and at least one")
        yield tuple(map(str, words)), tuple(_checked(str(tag), record.where) for tag in tags)


def _from_tfds(argument: str, split: str, tfds_dir: str | None) -> Iterator[Sentence]:
    from train.data.sources.tfds import label_names

    names = None
    for record in read_tfds(argument, split, tfds_dir):
        key = next((key for key in _TAG_KEYS if key in record.values), _TAG_KEYS[0])
        words = record.get(next((name for name in _WORD_KEYS if name in record.values), _WORD_KEYS[0]))
        names = names or label_names(argument, key, tfds_dir)
        yield tuple(words), tuple(names[tag] for tag in record.get(key))


def _checked(tag: str, where: str) -> str:
    if tag != _OUTSIDE and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
        raise UserError(f"{where}: the tag {tag!r} is none of O, B-TYPE and I-TYPE")
    return tag
