"""Reads XNLI, natural language inference in fifteen languages (Conneau et al. 2018, arXiv:1809.05053)."""

from pathlib import Path

from train.errors import UserError
from train.options.schema import nearest
from train.tasks.examples import TaskData, TextExample
from train.tasks.readers.folders import find_file, require_file, single_file, source_directory
from train.tasks.readers.label_names import label_index
from train.tasks.readers.lines import read_all
from train.tasks.readers.tables import Row, tsv_rows

LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
LABELS = ("entailment", "neutral", "contradiction")
# The translated training files spell the last label differently from the evaluation files.
_SPELLED = {"contradictory": "contradiction"}
_USAGE = "'files:DIR' with the unpacked folders XNLI-1.0 and XNLI-MT-1.0 in DIR, or with their files"


def read_xnli(
    source: str, *, language: str = "en", train_language: str | None = None, training: bool = True
) -> TaskData:
    """Reads XNLI in one language.

    The training file, a translation, is `multinli.train.LANGUAGE.tsv`. The evaluation set `xnli.dev.tsv` and the test
    set `xnli.test.tsv`, whose labels are public, hold all languages. Files are found in DIR, `DIR/XNLI-1.0` and
    `DIR/XNLI-MT-1.0/multinli`.

    Args:
        source: `files:DIR`.
        language: language of the evaluation and test sets.
        train_language: language of the training set; `language` if None. "en" with another `language` is the zero-shot
            setting.
        training: whether a training set is required; if not, the evaluation file suffices, in its directory or by
            itself (`files:FILE`).

    Returns:
        The examples; `train` and `test` are empty if their files are missing. Ids are the numbers of the pairs.

    Raises:
        UserError: if a language is unknown, a file or column is missing, or a row is invalid.
    """
    train_language = train_language or language
    for each in (language, train_language):
        if each not in LANGUAGES:
            raise UserError(f"XNLI has no language {each!r}{nearest(each, LANGUAGES)}. It has: {' '.join(LANGUAGES)}.")
    if not training and (file := single_file(source)):
        return TaskData(
            kind="classification", train=(), evaluation={"dev": _in_language(file, language)}, labels=LABELS
        )
    root = source_directory(source, _USAGE)
    folders = (root, root / "XNLI-1.0", root / "XNLI-MT-1.0" / "multinli")
    train = find_file(folders, [f"multinli.train.{train_language}.tsv"])
    dev, test = find_file(folders, ["xnli.dev.tsv"]), find_file(folders, ["xnli.test.tsv"])
    if dev is None and not training:
        dev, test = test, None
    dev = dev or require_file(folders, ["xnli.dev.tsv"], "evaluation file of XNLI")
    return TaskData(
        kind="classification",
        train=read_all(enumerate(tsv_rows(train)), lambda numbered: _translated(*numbered)) if train else (),
        evaluation={"dev": _in_language(dev, language)},
        test={"test": _in_language(test, language)} if test else {},
        labels=LABELS,
    )


def _translated(number: int, row: Row) -> TextExample:
    return _example(str(number), row, ("premise", "hypo"), "label")


def _in_language(path: Path, language: str) -> list[TextExample]:
    rows = (row for row in tsv_rows(path) if row.value("language") == language)
    examples = read_all(rows, lambda row: _example(row.name("pairID"), row, ("sentence1", "sentence2"), "gold_label"))
    if not examples:
        raise UserError(f"{path} holds no row of the language {language!r}.")
    return examples


def _example(identifier: str, row: Row, columns: tuple[str, str], label: str) -> TextExample:
    written = row.name(label)
    return TextExample(
        id=identifier,
        # Some translations are empty.
        texts=tuple(row.text(column, may_be_empty=True) for column in columns),
        label=label_index(_SPELLED.get(written, written), LABELS, row.location, "The labels of XNLI"),
    )
