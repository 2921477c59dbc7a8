"""Where the files of a labelled data set stand: `files:DIR`, and their names in it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from train.errors import UserError

_TABLE_ENDINGS = (".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".txt")
_TABLES = {"train": ("train",), "evaluation": ("dev", "valid", "validation", "eval"), "test": ("test",)}


def folder_of(source: str, usage: str) -> Path:
    """The directory that `files:DIR` names.

    Args:
        source: as in `data.source`.
        usage: what else there is, or how to write it, for the message.

    Raises:
        UserError: if it is written otherwise or no such directory exists.
    """
    scheme, colon, argument = source.partition(":")
    if scheme != "files" or not colon or not argument:
        raise UserError(f"data source {source!r} cannot be read by this task. Expected {usage}.")
    path = Path(argument).expanduser()
    if not path.is_dir():
        raise UserError(f"data source {source!r}: there is no directory {path.absolute()}. Expected {usage}.")
    return path


def find_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The one file of these names in the first of the folders that holds any; None where there is none.

    Raises:
        UserError: if that folder holds two, and so it is not clear which is meant.
    """
    names = tuple(names)
    for folder in folders:
        found = [folder / name for name in names if (folder / name).is_file()]
        if len(found) > 1:
            raise UserError(
                f"{folder} holds both {found[0].name} and {found[1].name}, which are read as the same set. Keep one."
            )
        if found:
            return found[0]
    return None


def require_file(folders: Iterable[Path], names: Iterable[str], what: str) -> Path:
    """As `find_file`, where the file has to be there.

    Raises:
        UserError: also if it is not, naming what was looked for.
    """
    folders, names = tuple(folders), tuple(names)
    found = find_file(folders, names)
    if found is None:
        raise UserError(f"There is no {what} in {' or '.join(map(str, folders))}. Expected {' or '.join(names)}.")
    return found


def single_file(source: str) -> Path | None:
    """The file that `files:FILE` names, which an evaluation scores whole; None where it names anything else."""
    scheme, _, argument = source.partition(":")
    path = Path(argument).expanduser()
    return path if scheme == "files" and path.is_file() else None


def set_files(
    folders: Iterable[Path], names: Mapping[str, Iterable[str]], what: str, *, training: bool
) -> tuple[Path | None, Path, Path | None]:
    """The files of the training, evaluation and test set.

    Args:
        folders: where to look.
        names: of "train", "dev" and "test".
        what: the data, for a message.
        training: whether there have to be the first two. Where not, the second has to be there, and where there is only
            the third, that is the second.

    Raises:
        UserError: if a file is missing that has to be there, or it is not clear which is meant.
    """
    folders = tuple(folders)
    train = find_file(folders, names["train"])
    if training and train is None:
        require_file(folders, names["train"], f"training file{what}")
    dev, test = find_file(folders, names["dev"]), find_file(folders, names["test"])
    if dev is None and not training:
        dev, test = test, None
    return train, dev or require_file(folders, names["dev"], f"evaluation file{what}"), test


def table_files(source: str, *, training: bool = True) -> tuple[Path | None, Path | None, Path | None]:
    """The training, evaluation and test file of a user's own data; the last two may be missing.

    Args:
        source: a file to learn from, or a directory with files named train, dev (or valid, validation, eval) and test.
        training: whether the first has to be there. Where not, the others are enough, and a test file alone is the
            evaluation file.

    Raises:
        UserError: if there is nothing of that name, or no training file.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path, None, None
    if not path.is_dir():
        raise UserError(f"data.source=files:{source}: there is neither a file nor a directory {path.absolute()}.")
    names = {name: [f"{stem}{end}" for stem in stems for end in _TABLE_ENDINGS] for name, stems in _TABLES.items()}
    train, evaluation, test = (find_file([path], names[name]) for name in ("train", "evaluation", "test"))
    if train is None and evaluation is None and not training:
        evaluation, test = test, None
    if train is None and (training or evaluation is None):
        require_file([path], names["train"], "training file")
    return train, evaluation, test
