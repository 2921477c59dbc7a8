"""Finds the files of a labeled data set in `files:DIR`, and their split by their names."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files.tables import JSON_ENDINGS, TABLE_ENDINGS
from train.errors import UserError

# Names of the splits, which may be a word of a longer file name (en-train.csv, dev_set.tsv) or have a suffix.
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
# Words in the names of other files that are often in the directory and hold no examples.
_NO_EXAMPLES = frozenset(
    (
        *("readme", "license", "licence", "citation", "changelog", "requirements"),
        *("label", "labels", "classes", "tags", "vocab", "config", "metadata", "info", "infos", "state"),
        *("summary", "results", "predictions", "submission"),
    )
)
_SHOWN = 20


def source_directory(source: str, usage: str) -> Path:
    """Returns the directory of a source `files:DIR`.

    Args:
        source: the option `data.source`.
        usage: the expected sources, for the message.

    Raises:
        UserError: if the source has another form, or the directory does not exist.
    """
    scheme, colon, argument = source.partition(":")
    if scheme != "files" or not colon or not argument:
        raise UserError(f"data source {source!r} cannot be read by this task. Expected {usage}.")
    path = Path(argument)
    if not path.is_dir():
        raise UserError(f"data source {source!r}: there is no directory {path.absolute()}. Expected {usage}.")
    return path


def find_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """Returns the file with one of these names in the first folder that has one; None if there is none.

    Raises:
        UserError: if that folder has two of them.
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
    """Returns the file as `find_file`; a missing file is an error.

    Raises:
        UserError: as `find_file`, or if there is no such file.
    """
    folders, names = tuple(folders), tuple(names)
    found = find_file(folders, names)
    if found is None:
        raise _missing_file(what, folders, " or ".join(names))
    return found


def single_file(source: str) -> Path | None:
    """Returns the file of a source `files:FILE`, which is evaluated as a whole; None for any other source."""
    scheme, _, argument = source.partition(":")
    path = Path(argument)
    return path if scheme == "files" and path.is_file() else None


def _missing_file(what: str, folders: Sequence[Path], expected: str) -> UserError:
    there = [path.name for folder in folders if folder.is_dir() for path in _files(folder)]
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    return UserError(
        f"There is no {what} in {' or '.join(map(str, folders))}. Expected {expected}. Found: {shown or 'no file'}."
    )


def _files(folder: Path) -> list[Path]:
    """Returns the files of a folder, and its folders that are named after an evaluation set."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_file() or set_name(path.name) == "dev")


def set_name(name: str) -> str | None:
    """Returns the split that a file name contains, "train", "dev" or "test"; None if it contains none or two."""
    named = {_SETS[word] for word in _words(name) if word in _SETS}
    return named.pop() if len(named) == 1 else None


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", re.sub(r"held[-_. ]?out", "heldout", name.lower()))


@dataclasses.dataclass(frozen=True, slots=True)
class SetFiles:
    """The files of a directory by split.

    Attributes:
        folder: the directory.
        named: the files of "train", "dev" and "test", as far as they exist.
        others: files that may hold examples but are not read.
    """

    folder: Path
    named: Mapping[str, Path]
    others: tuple[Path, ...]

    def require(self, name: str, what: str) -> Path:
        """Returns the file of a split.

        Raises:
            UserError: if there is none.
        """
        if name not in self.named:
            raise _missing_file(what, [self.folder], f"a name with one of the words {', '.join(_WORDS[name])}")
        return self.named[name]

    def paths(self, what: str, *, training: bool) -> tuple[Path | None, Path, Path | None]:
        """Returns the files of the training, evaluation and test set.

        Args:
            what: the data, for messages.
            training: whether the training file is required. If not, a test file without an evaluation file is the
                evaluation file.

        Raises:
            UserError: if a required file is missing.
        """
        train, dev, test = (self.named.get(name) for name in _WORDS)
        if training:
            train = self.require("train", f"training file{what}")
        elif dev is None:
            dev, test = test, None
        return train, dev or self.require("dev", f"evaluation file{what}"), test


def set_files(folder: Path, endings: Sequence[str], benchmark: Mapping[str, Sequence[str]] | None = None) -> SetFiles:
    """Assigns the files of a directory to splits by their names.

    Of several files of a split, a name of the benchmark precedes a name that is only the split's, and that any other.

    Args:
        folder: the directory.
        endings: the endings of files that can be read.
        benchmark: the file names of the benchmark by split.

    Raises:
        UserError: if two files of a split have the same precedence.
    """
    known = {file: name for name, files in (benchmark or {}).items() for file in files}
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


def own_file(values: Mapping[str, Any], option: str) -> Path | None:
    """Returns the file of `data.eval_source` or `data.test_source`, None if it is not given.

    Raises:
        UserError: if it is not files:FILE, or there is no such file.
    """
    source = values.get(option)
    if source is None:
        return None
    if not values["data.source"].startswith("files:"):
        raise UserError(f"{option}={source} belongs to data.source=files:..., not to {values['data.source']}.")
    scheme, _, argument = source.partition(":")
    if scheme != "files" or not Path(argument).is_file():
        problem = f"there is no file {Path(argument).absolute()}" if scheme == "files" else "expected files:FILE"
        raise UserError(f"{option}={source}: {problem}.")
    return Path(argument)


def table_files(
    source: str,
    eval_fraction: float = 0.0,
    *,
    training: bool = True,
    evaluation: Path | None = None,
    test: Path | None = None,
) -> tuple[Path | None, Path | None, Path | None, tuple[str, ...]]:
    """Returns the training, evaluation and test file of the user's data, and notes.

    Args:
        source: a training file, or a directory with files named after their splits.
        eval_fraction: the share of the training file that is held out if there is no evaluation file, for a note.
        training: whether the training file is required. If not, a test file without an evaluation file is the
            evaluation file.
        evaluation: the evaluation file, if it is given.
        test: the test file, if it is given.

    Raises:
        UserError: if the source does not exist, there is no training file, or there is no evaluation file while another
            file could be meant.
    """
    path = Path(source)
    if path.is_file():
        return path, evaluation, test, ()
    if not path.is_dir():
        raise UserError(f"data.source=files:{source}: there is no file or directory {path.absolute()}.")
    files = set_files(path, (*TABLE_ENDINGS, *JSON_ENDINGS))
    others = [other for other in files.others if not any(map(other.samefile, filter(None, (evaluation, test))))]
    notes = [f"not read: {', '.join(other.name for other in others)}"] if others else []
    if evaluation is not None:
        train = files.require("train", "training file") if training else files.named.get("train")
        return train, evaluation, test or files.named.get("test"), tuple(notes)
    if test is not None:
        files = dataclasses.replace(files, named={**files.named, "test": test}, others=tuple(others))
    if "dev" in files.named or ("train" not in files.named and not training and files.named):
        return *files.paths("", training=training), tuple(notes)
    train = files.require("train", "training file")
    if files.others:
        files.require("dev", f"evaluation file that can be read (files:{train} holds out a share of {train.name})")
    notes.append(f"{path} has no evaluation file: a share of {eval_fraction:g} of {train.name} is held out.")
    return train, None, files.named.get("test"), tuple(notes)
