"""XNLI: entailment in fifteen languages, trained on MultiNLI in one of them."""

from collections.abc import Iterator
from pathlib import Path

from train.errors import UserError
from train.tasks.examples import TaskData, TextExample
from train.tasks.tables import first_file, read_tsv

_LABELS = ("entailment", "neutral", "contradiction")
_CONTRADICTION = {"contradictory": "contradiction"}  # as the machine-translated training files have it


def read_xnli(source: str, language: str) -> TaskData:
    """Reads a language's development and test sets, and its machine-translated training set where it is there.

    Layout: xnli.dev.tsv and xnli.test.tsv (XNLI-1.0), multinli.train.LANGUAGE.tsv (XNLI-MT-1.0). Both held-out sets
    have labels.

    Raises:
        UserError: if files are missing, there is no such language, or a row is not as the benchmark has it.
    """
    folder = Path(source.partition(":")[2])
    places = (folder, folder / "XNLI-1.0")
    dev = next((path for place in places if (path := first_file(place, ("xnli.dev.tsv",)))), None)
    if dev is None:
        raise UserError(f"{folder} has no xnli.dev.tsv, there or in XNLI-1.0/")
    test = first_file(dev.parent, ("xnli.test.tsv",))
    evaluation = {"dev": list(_held_out(dev, language))}
    if not evaluation["dev"]:
        spoken = sorted({record.get("language") for record in read_tsv(dev)})
        raise UserError(f"{dev} has no language {language!r}; it has {', '.join(spoken)}")
    if test is not None:
        evaluation["test"] = list(_held_out(test, language))
    name = f"multinli.train.{language}.tsv"
    train_places = (folder, folder / "multinli", folder / "XNLI-MT-1.0" / "multinli")
    train = next((path for place in train_places if (path := first_file(place, (name,)))), None)
    return TaskData(
        kind="classification",
        train=list(_translated(train)) if train else [],
        evaluation=evaluation,
        labels=_LABELS,
    )


def _held_out(path: Path, language: str) -> Iterator[TextExample]:
    for record in read_tsv(path):
        if record.get("language") == language:
            texts = (record.text("sentence1"), record.text("sentence2"))
            yield TextExample(
                id=record.get("pairID"), texts=texts, label=_index(record.get("gold_label"), record.where)
            )


def _translated(path: Path) -> Iterator[TextExample]:
    for number, record in enumerate(read_tsv(path)):
        label = str(record.get("label"))
        label = _CONTRADICTION.get(label, label)
        texts = (record.text("premise"), record.text("hypo"))
        yield TextExample(id=str(number), texts=texts, label=_index(label, record.where))


def _index(label: str, where: str) -> int:
    if label not in _LABELS:
        raise UserError(f"{where}: the label is {label!r}, expected one of {', '.join(_LABELS)}")
    return _LABELS.index(label)
