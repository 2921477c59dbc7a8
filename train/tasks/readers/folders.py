"""Where the files of a labeled data set stand: `files:DIR`, and their names in it."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from train.errors import UserError
from train.tasks.readers.tables import JSON_ENDINGS, TABLE_ENDINGS

# What people call a set; alone, as one word of a longer name (en-train.csv, dev_set.tsv), or in the plural.
_WORDS = {
    "train": ("train", "training", "trn"),
    "dev": (
        *("dev", "devel", "development", "val", "valid", "validation", "validate"),
        *("eval", "evaluation", "heldout", "holdout", "testa"),
    ),
    "test": ("test", "testing", "tst", "testb"),
}
_SETS = {
    f"{word}{ending}": name
    for name, words in _WORDS.items()
    for word in words
    for ending in ("", "s", "set", "sets", "data", "split", "file")
}
# Words in the names of files that often lie beside tables and hold no examples.
_NO_EXAMPLES = frozenset(
    (
        *("readme", "license", "licence", "citation", "changelog", "requirements"),
        *("label", "labels", "classes", "tags", "vocab", "config", "metadata", "info", "infos", "state"),
        *("summary", "results", "predictions", "submission"),
    )
)
_SHOWN = 20


def source_directory(source: str, usage: str) -> Path:
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
    path = Path(argument)
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
        UserError: also if it is not, naming what was looked for and what is there.
    """
    folders, names = tuple(folders), tuple(names)
    found = find_file(folders, names)
    if found is None:
        raise _absent(what, folders, " or ".join(names))
    return found


def single_file(source: str) -> Path | None:
    """The file that `files:FILE` names, which an evaluation scores whole; None where it names anything else."""
    scheme, _, argument = source.partition(":")
    path = Path(argument)
    return path if scheme == "files" and path.is_file() else None


def _absent(what: str, folders: Sequence[Path], expected: str) -> UserError:
    there = [path.name for folder in folders if folder.is_dir() for path in _files(folder)]
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    return UserError(
        f"There is no {what} in {' or '.join(map(str, folders))}. Expected {expected}. Found: {shown or 'no file'}."
    )


def _files(folder: Path) -> list[Path]:
    """What is in a folder: its files, and folders that are named after a held-out set."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_file() or set_name(path.name) == "dev")


def set_name(name: str) -> str | None:
    """The set that a file is of by its name, "train", "dev" or "test"; None where it names none, or two."""
    named = {_SETS[word] for word in _words(name) if word in _SETS}
    return named.pop() if len(named) == 1 else None


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", re.sub(r"held[-_. ]?out", "heldout", name.lower()))


@dataclasses.dataclass(frozen=True, slots=True)
class SetFiles:
    """The files of a directory by the set that they are of.

    Attributes:
        folder: the directory.
        named: "train", "dev" and "test", as far as they are there.
        others: files that might hold examples and are not read.
    """

    folder: Path
    named: Mapping[str, Path]
    others: tuple[Path, ...]

    def require(self, name: str, what: str) -> Path:
        """The file of a set that has to be there.

        Raises:
            UserError: if it is not, naming what is there.
        """
        if name not in self.named:
            raise _absent(what, [self.folder], f"a name with one of the words {', '.join(_WORDS[name])}")
        return self.named[name]

    def paths(self, what: str, *, training: bool) -> tuple[Path | None, Path, Path | None]:
        """The files of the training, evaluation and test set.

        Args:
            what: the data, for a message.
            training: whether there has to be the first. Where not, and where there is only the third, that is the
                second.

        Raises:
            UserError: if a file is missing that has to be there.
        """
        train, dev, test = (self.named.get(name) for name in _WORDS)
        if training:
            train = self.require("train", f"training file{what}")
        elif dev is None:
            dev, test = test, None
        return train, dev or self.require("dev", f"evaluation file{what}"), test


def set_files(folder: Path, endings: Sequence[str], own: Mapping[str, Sequence[str]] | None = None) -> SetFiles:
    """Which file of a directory is which set, by names alone: the one place that knows what a held-out file is called.

    Of several files of a set, the one with a name of the benchmark's own, or else with nothing but the set's name in
    it, is read.

    Args:
        folder: the directory.
        endings: of the files that can be read.
        own: names of the benchmark's own, by set.

    Raises:
        UserError: if it is not clear which of two files is a set.
    """
    own = own or {}
    known = {file: name for name, files in own.items() for file in files}
    ranked: dict[str, list[tuple[int, Path]]] = {}
    others = []
    for path in _files(folder):
        name = known.get(path.name) or set_name(path.name)
        readable = path.is_file() and (path.name in known or path.suffix.lower() in endings)
        if name and readable:
            exact = path.stem.lower() in _SETS
            ranked.setdefault(name, []).append((0 if path.name in known else 1 if exact else 2, path))
        elif name == "dev" or (readable and _NO_EXAMPLES.isdisjoint(_words(path.name))):
            others.append(path)
    named = {}
    for name, found in ranked.items():
        (rank, best), *more = sorted(found)
        if more and more[0][0] == rank:
            raise UserError(
                f"{folder} holds both {best.name} and {more[0][1].name}, which are read as the same set. Keep one."
            )
        named[name] = best
        others += [path for _, path in more]
    return SetFiles(folder, named, tuple(sorted(others)))


def table_files(
    source: str, eval_fraction: float = 0.0, *, training: bool = True
) -> tuple[Path | None, Path | None, Path | None, tuple[str, ...]]:
    """The training, evaluation and test file of a user's own data, and notes; the second and third may be missing.

    Args:
        source: a file to learn from, or a directory with files named after their sets.
        training: whether the first has to be there. Where not, the others are enough, and a test file alone is the
            evaluation file.
        eval_fraction: the share of the first that is held out where there is no second, for a note.

    Raises:
        UserError: if there is nothing of that name, no training file, or no evaluation file where one of the others may
            be meant to be.
    """
    path = Path(source)
    if path.is_file():
        return path, None, None, ()
    if not path.is_dir():
        raise UserError(f"data.source=files:{source}: there is neither a file nor a directory {path.absolute()}.")
    files = set_files(path, (*TABLE_ENDINGS, *JSON_ENDINGS))
    notes = [f"not read: {', '.join(other.name for other in files.others)}"] if files.others else []
    if "dev" in files.named or ("train" not in files.named and not training and files.named):
        return *files.paths("", training=training), tuple(notes)
    train = files.require("train", "training file")
    if files.others:
        files.require("dev", f"evaluation file that can be read (files:{train} holds out a share of {train.name})")
    notes.append(f"{path} has no evaluation file: a share of {eval_fraction:g} of {train.name} is held out.")
    return train, None, files.named.get("test"), tuple(notes)
