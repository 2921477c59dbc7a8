"""GLUE: where each task's texts and labels stand in its files, and how its answers are handed in.

Layouts are those of the benchmark's own archive (gluebenchmark.com); MRPC is read from Microsoft's files too.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from train.errors import UserError
from train.tasks.examples import Problem, TaskData, TextExample
from train.tasks.tables import Record, first_file, read_tfds, read_tsv

_COLA = ("source", "label", "original", "sentence")
_BINARY = ("0", "1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlueTask:
    """A task of GLUE.

    Attributes:
        folder: its directory in the archive.
        texts: columns of its texts.
        label: column of its label.
        labels: their names, by index; in files they are these names or, where `written` says so, digits.
        written: labels as the files and the submission have them, by index.
        metrics: headline first; those of its kind if empty.
        submission: the file of each test set.
        tfds: config of tfds's glue.
        problem: "regression" for STS-B.
        header: columns of the training and development file where these have no header.
        dev: its development files by set.
        test: its test files by set.
        train: its training files, any of which may be there.
    """

    folder: str
    texts: tuple[str, ...]
    label: str = "label"
    labels: tuple[str, ...]
    written: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    submission: dict[str, str]
    tfds: str
    problem: Problem = "single_label"
    header: tuple[str, ...] | None = None
    train: tuple[str, ...] = ("train.tsv",)
    dev: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: {"dev": ("dev.tsv",)})
    test: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: {"test": ("test.tsv",)})


_ENTAILS = ("entailment", "not_entailment")
_MNLI = GlueTask(
    folder="MNLI",
    texts=("sentence1", "sentence2"),
    label="gold_label",
    labels=("entailment", "neutral", "contradiction"),
    submission={"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"},
    tfds="mnli",
    dev={"matched": ("dev_matched.tsv",), "mismatched": ("dev_mismatched.tsv",)},
    test={"test_matched": ("test_matched.tsv",), "test_mismatched": ("test_mismatched.tsv",)},
)
GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask(
        folder="CoLA",
        texts=("sentence",),
        labels=("unacceptable", "acceptable"),
        written=_BINARY,
        metrics=("matthews", "accuracy"),
        submission={"test": "CoLA.tsv"},
        tfds="cola",
        header=_COLA,
    ),
    "sst2": GlueTask(
        folder="SST-2",
        texts=("sentence",),
        labels=("negative", "positive"),
        written=_BINARY,
        submission={"test": "SST-2.tsv"},
        tfds="sst2",
    ),
    "mrpc": GlueTask(
        folder="MRPC",
        texts=("#1 String", "#2 String"),
        label="Quality",
        labels=("not_equivalent", "equivalent"),
        written=_BINARY,
        metrics=("accuracy_f1", "accuracy", "f1"),
        submission={"test": "MRPC.tsv"},
        tfds="mrpc",
        train=("train.tsv", "msr_paraphrase_train.txt"),
        # Microsoft's files have no development set, so that their test set, which has labels, is scored.
        dev={"dev": ("dev.tsv", "msr_paraphrase_test.txt")},
    ),
    "stsb": GlueTask(
        folder="STS-B",
        texts=("sentence1", "sentence2"),
        label="score",
        labels=("similarity",),
        submission={"test": "STS-B.tsv"},
        tfds="stsb",
        problem="regression",
    ),
    "qqp": GlueTask(
        folder="QQP",
        texts=("question1", "question2"),
        label="is_duplicate",
        labels=("not_duplicate", "duplicate"),
        written=_BINARY,
        metrics=("accuracy_f1", "accuracy", "f1"),
        submission={"test": "QQP.tsv"},
        tfds="qqp",
    ),
    "mnli": _MNLI,
    "qnli": GlueTask(
        folder="QNLI",
        texts=("question", "sentence"),
        labels=_ENTAILS,
        submission={"test": "QNLI.tsv"},
        tfds="qnli",
    ),
    "rte": GlueTask(
        folder="RTE",
        texts=("sentence1", "sentence2"),
        labels=_ENTAILS,
        submission={"test": "RTE.tsv"},
        tfds="rte",
    ),
    "wnli": GlueTask(
        folder="WNLI",
        texts=("sentence1", "sentence2"),
        labels=("not_entailment", "entailment"),
        written=_BINARY,
        submission={"test": "WNLI.tsv"},
        tfds="wnli",
    ),
    # The diagnostic set has neither training nor development examples of its own: those are MNLI's.
    "ax": dataclasses.replace(_MNLI, submission={"test": "AX.tsv"}, test={"test": ("diagnostic.tsv", "AX.tsv")}),
}


def read_glue(task: str, source: str, tfds_dir: str | None = None) -> TaskData:
    """Reads a task's training, development and test examples.

    Args:
        task: a key of GLUE_TASKS.
        source: files:DIR, the archive's directory or the task's own; or tfds:glue[/CONFIG].
        tfds_dir: where tfds sets were prepared.

    Raises:
        UserError: if files are missing, or a row is not as the benchmark has it.
    """
    entry = GLUE_TASKS[task]
    scheme, _, argument = source.partition(":")
    splits = _from_tfds(entry, argument, tfds_dir) if scheme == "tfds" else _from_files(task, entry, Path(argument))
    train, evaluation, test = splits
    return TaskData(
        kind="classification",
        train=train,
        evaluation=evaluation,
        test=test,
        labels=entry.labels,
        problem=entry.problem,
        metrics=entry.metrics,
    )


Splits = tuple[list[TextExample], dict[str, list[TextExample]], dict[str, list[TextExample]]]


def _from_files(task: str, entry: GlueTask, folder: Path) -> Splits:
    if not folder.is_dir():
        raise UserError(f"data.source=files:{folder} is no directory")
    folder = folder / entry.folder if (folder / entry.folder).is_dir() else folder
    train = first_file(folder, entry.train)
    dev = {name: path for name, names in entry.dev.items() if (path := first_file(folder, names))}
    if not dev:
        expected = ", ".join(names[0] for names in entry.dev.values())
        raise UserError(f"{folder} has no development set of {task}: expected {expected}, there or in {entry.folder}/")
    test_places = (folder, folder.parent / "AX", folder.parent / "diagnostic")
    test = {}
    for name, names in entry.test.items():
        path = next((found for place in test_places if (found := first_file(place, names))), None)
        if path is not None:
            test[name] = path
    return (
        list(_examples(entry, read_tsv(train, entry.header))) if train else [],
        {name: list(_examples(entry, read_tsv(path, entry.header))) for name, path in dev.items()},
        {name: list(_unlabelled(entry, read_tsv(path))) for name, path in test.items()},
    )


def _examples(entry: GlueTask, records: Iterator[Record]) -> Iterator[TextExample]:
    for number, record in enumerate(records):
        texts = tuple(record.text(column) for column in entry.texts)
        yield TextExample(id=str(number), texts=texts, label=_label(entry, record))


def _unlabelled(entry: GlueTask, records: Iterator[Record]) -> Iterator[TextExample]:
    for number, record in enumerate(records):
        yield TextExample(id=str(number), texts=tuple(record.text(column) for column in entry.texts))


def _label(entry: GlueTask, record: Record) -> int | float:
    value = record.get(entry.label)
    if entry.problem == "regression":
        try:
            return float(value)
        except ValueError:
            raise UserError(f"{record.where}: {entry.label} is {value!r}, expected a number") from None
    names = entry.written or entry.labels
    if value not in names:
        raise UserError(f"{record.where}: {entry.label} is {value!r}, expected one of {', '.join(names)}")
    return names.index(value)


def _from_tfds(entry: GlueTask, argument: str, tfds_dir: str | None) -> Splits:
    argument = argument if "/" in argument else f"{argument}/{entry.tfds}"
    columns = {"#1 String": "sentence1", "#2 String": "sentence2"}
    texts = tuple(columns.get(column, column) for column in entry.texts)
    if entry.tfds == "mnli":
        texts = ("premise", "hypothesis")

    def read(split: str) -> list[TextExample]:
        examples = []
        for number, record in enumerate(read_tfds(argument, split, tfds_dir)):
            label = record.get("label")
            known = label if label != -1 else None  # what tfds writes for a label that is kept secret
            examples.append(
                TextExample(id=str(number), texts=tuple(record.text(column) for column in texts), label=known)
            )
        return examples

    held_out = {"matched": "validation_matched", "mismatched": "validation_mismatched", "dev": "validation"}
    tests = {name: name for name in entry.test}
    return (
        read("train"),
        {name: read(held_out[name]) for name in entry.dev},
        {name: read(split) for name, split in tests.items()},
    )
